package coordinator_test

import (
	"fmt"
	"testing"

	"muster/coordinator"
	"muster/fsm"
)

// Each voter says with its renewals which entries it reads, so that the leader writes none that would stop one of an earlier build.
// A voter that has not said anything, or is down, reads none of the newer ones. What all read comes into force, for good.
func TestVotersSayWhatTheyRead(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	all := func() error { // by whoever leads now: the lead may be lost on a busy machine
		if reads := coordinator.Reads(g.leader().Coordinator); reads != fsm.Version {
			return fmt.Errorf("version %d", reads)
		}
		return nil
	}
	g.eventually("all have said so", all)
	g.eventually("the rules are in force", func() error {
		if v := coordinator.GroupVersion(g.leader().Coordinator); v != fsm.Version {
			return fmt.Errorf("version %d", v)
		}
		return nil
	})
	l := g.leader()
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
		g.eventually("one that is down may read nothing", func() error {
			if reads := coordinator.Reads(g.leader().Coordinator); reads != 0 {
				return fmt.Errorf("version %d", reads)
			}
			return nil
		})
		if err := n.start(nil); err != nil {
			t.Fatal(err)
		}
		g.eventually("all have said so again", all)
		break
	}
}
