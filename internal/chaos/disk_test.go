package chaos_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"muster/internal/chaos"
)

// hungDisk is how soon others serve the shards of a node whose disk hangs.
const hungDisk = 10 * time.Second

// The disk of the node that leads most shards hangs, has no room, or fails to sync, for the journal and for Raft's log. The
// system itself says so, to a process that knows nothing of the test. The node stops and says why, others take over within 10 s, no
// caller hears more than is true, and the node comes back.
func TestBlockedDisk(t *testing.T) {
	long(t)
	tracer, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED, AND WITH IT ALL TESTS OF REAL PROCESSES WITH A BAD DISK: there is no strace to inject faults with")
	}
	faults := []struct{ name, file, inject, says string }{
		{"the journal hangs", "journal.db", "fdatasync:delay_enter=60000000", "hangs in the disk"},
		{"the journal cannot sync", "journal.db", "fdatasync:error=EIO", "input/output error"},
		{"the journal has no room", "journal.db", "pwrite64:error=ENOSPC", "no space left"},
		{"Raft's log hangs", "raft/log.bolt", "fdatasync:delay_enter=60000000", "the disk hangs"},
		{"Raft's log has no room", "raft/log.bolt", "pwrite64:error=ENOSPC", "no space left"},
	}
	g := form(t, chaos.Layout{Nodes: 3})
	g.underLoad(chaos.Plan{}, func() {
		for range *rounds {
			for _, i := range g.some(2, len(faults)) {
				f := faults[i]
				g.badDisk(tracer, f.name, f.file, f.inject, f.says)
			}
		}
	})
}

func (g *group) badDisk(tracer, name, file, inject, says string) {
	g.t.Helper()
	victim := g.victim(1)
	led := g.leads(victim)
	path := filepath.Join(victim.Dir, file)
	call, _, _ := strings.Cut(inject, ":")
	trace := exec.Command(tracer, "-f", "-q", "-p", strconv.Itoa(victim.PID()), "-P", path, "-e", "signal=none", "-e", "trace="+call, "-e", "inject="+inject)
	var seen bytes.Buffer
	trace.Stderr = &seen
	began := time.Now()
	if err := trace.Start(); err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = trace.Process.Kill(); _ = trace.Wait() }()
	err := victim.Gone(2 * hungDisk) // the system lets go of a process in a hung call only when the tracer does
	took := time.Since(began)
	g.serves(serving, victim.ID+": "+name, time.Now())
	outage, _ := g.load.Outage(began, began)
	_ = trace.Process.Kill()
	_ = trace.Wait()
	if victim.Running() { // its directory is locked until it is gone
		g.must(victim.Await())
	}
	switch log, readErr := os.ReadFile(victim.Log()); {
	case readErr != nil:
		g.t.Fatal(readErr)
	case strings.Contains(seen.String(), "Operation not permitted"):
		g.t.Skipf("SKIPPED, AND WITH IT ALL TESTS OF REAL PROCESSES WITH A BAD DISK: strace may not attach: %s", seen.String())
	case !strings.Contains(seen.String(), call+"("):
		g.t.Errorf("invalid run: no fault was injected (%s): %s", name, seen.String())
	case err == nil || !strings.Contains(string(log), says):
		g.t.Errorf("%s: the node ended with %v and did not say %q", name, err, says)
	}
	if outage > hungDisk {
		g.t.Errorf("%s: some shard was not served for %s", name, outage)
	}
	g.must(victim.Start())
	g.eventually(60*time.Second, victim.ID+" is back with its copies", func() bool { return g.whole() && g.caughtUp(victim) })
	g.t.Logf("%s on %s, with %d shards: it stopped after %s, longest outage of a shard %s", name, victim.ID, led, took.Round(time.Millisecond), outage.Round(time.Millisecond))
}
