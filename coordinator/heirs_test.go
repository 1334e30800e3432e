package coordinator_test

import (
	"fmt"
	"testing"

	"muster/coordinator"
	"muster/fsm"
)

// Each voter says with its renewals which entries it reads, so that the leader writes none that would stop one of an earlier build.
// A voter that has not said anything reads none of the newer ones; one that is down is not asked.
func TestVotersSayWhatTheyRead(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	l := g.leader()
	all := func() error {
		if reads := coordinator.Reads(l.Coordinator); reads != fsm.Version {
			return fmt.Errorf("version %d", reads)
		}
		return nil
	}
	g.eventually("all have said so", all)
	for _, n := range g.nodes {
		if n == l {
			continue
		}
		session := n.Session()
		n.kill()
		coordinator.Forget(l.Coordinator, session)
		if reads := coordinator.Reads(l.Coordinator); l.View().Up(n.id) && reads != 0 {
			t.Errorf("a voter that said nothing counts for version %d", reads)
		}
		g.eventually("without the one that is down", all)
		break
	}
}
