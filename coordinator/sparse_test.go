package coordinator

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// What Raft says again and again of one peer is said once in a while, with how often it was withheld; of another peer, in other words, and
// of nobody it is said at once.
func TestRaftRepeatsItselfSparsely(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	log := newSparse(hclog.New(&hclog.LoggerOptions{Output: &out, DisableTime: true}), func() time.Time { return now })
	lines := func() int { return strings.Count(out.String(), "\n") }
	for range 90 { // three a second
		log.Error("failed to heartbeat to", "peer", "n2", "error", errors.New("refused"))
		now = now.Add(sparseEvery / 100)
	}
	if lines() != 1 {
		t.Errorf("%d lines for one:\n%s", lines(), out.String())
	}
	now = now.Add(sparseEvery / 10)
	log.Error("failed to heartbeat to", "peer", "n2", "error", errors.New("refused"))
	if lines() != 2 || !strings.Contains(out.String(), "withheld=89") {
		t.Errorf("after %s:\n%s", sparseEvery, out.String())
	}
	log.Error("failed to heartbeat to", "peer", "n3", "error", errors.New("refused"))
	log.Warn("failed to contact", "server-id", "n2", "time", time.Second)
	log.Warn("raft is odd")
	log.Warn("raft is odd")
	if lines() != 6 {
		t.Errorf("another peer, other words, or nobody's:\n%s", out.String())
	}
	for i := range 10 * sparseKinds {
		log.Error("failed to heartbeat to", "peer", i)
	}
	if len(log.said) > sparseKinds {
		t.Errorf("%d are remembered", len(log.said))
	}
}
