package coordinator_test

import (
	"testing"
	"time"

	"muster/coordinator"
	"muster/shard"
)

// A node is admitted when it answers at the address it gives: not where nobody listens, where a stranger does, or another member, be that the
// leader. Whoever starts it hears the address and why. A known node may move to another address.
func TestNobodyIsAdmittedUnseen(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	g.everyMap("all are up", up("n1", "n2", "n3"))
	leader := g.leader()
	other := g.nodes["n1"]
	if other == leader {
		other = g.nodes["n2"]
	}
	at := func(addr string) func(*coordinator.Config) {
		return func(c *coordinator.Config) {
			c.Addr, c.Times.Lease, c.Times.Renew = addr, 300*time.Millisecond, 100*time.Millisecond
		}
	}
	nobody := freeAddr(t)
	late := g.add("n4")
	refused(t, late.start(at(nobody)), shard.CodeUnreachable, "the leader, reaches nobody at "+nobody+", the address of node n4", "refused")
	refused(t, late.start(at(other.addr)), shard.CodeUnreachable, "at "+other.addr+", the address of node n4, node "+string(other.id)+" answers")
	refused(t, late.start(at(leader.addr)), shard.CodeInUse, "address "+leader.addr+" is that of node "+string(leader.id)+", which leads the group")
	if m, known := leader.View().Members["n4"]; known {
		t.Errorf("it is a member: %+v", m)
	}
	if err := late.start(nil); err != nil {
		t.Fatal(err)
	}
	g.everyMap("n4 is up", up("n1", "n2", "n3", "n4"))
	late.stop()
	late.addr = freeAddr(t)
	if err := late.start(nil); err != nil {
		t.Fatal(err)
	}
	g.everyMap("n4 is up elsewhere", up("n1", "n2", "n3", "n4"))
}
