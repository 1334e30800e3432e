package coordinator_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"muster/coordinator"
	"muster/shard"
)

var account = shard.Spec{Name: "account", Shards: 8, Replicas: 2, MinAcks: 1, AckTimeout: shard.DefaultAckTimeout}

// Three nodes that know each other's addresses form one group, register, and see each other.
func TestThreeNodesFormAGroup(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	g.everyMap("all are up", up("n1", "n2", "n3"))
	g.leader()
	group := g.nodes["n1"].View().Group
	for _, n := range g.nodes {
		if v := n.View(); v.Group != group || group == "" {
			t.Errorf("%s is in group %q, n1 in %q", n.id, v.Group, group)
		}
		if s := n.Session(); s == 0 || n.View().Members[n.id].Session != s {
			t.Errorf("%s has session %d, the map says %d", n.id, s, n.View().Members[n.id].Session)
		}
	}
	for _, n := range g.nodes {
		n.stop()
	}
}

// A type's shards get copies on the nodes, a primary each, and become active.
func TestShardsBecomeActive(t *testing.T) {
	g := newGroup(t, 3, account)
	g.startAll()
	g.everyMap("every shard is active", active("account"))
}

// The leader dies. Another takes over before the sessions of the others run out, the dead node's session expires, and
// its shards get primaries among the rest.
func TestLeaderDies(t *testing.T) {
	g := newGroup(t, 3, account)
	g.startAll()
	g.everyMap("every shard is active", active("account"))
	dead := g.leader()
	before := map[shard.NodeID]shard.SessionID{}
	for _, n := range g.nodes {
		before[n.id] = n.Session()
	}
	var rest []shard.NodeID
	for id := range g.nodes {
		if id != dead.id {
			rest = append(rest, id)
		}
	}
	dead.kill()
	started := time.Now()
	g.leader()
	led := time.Since(started)
	g.everyMap("the dead node's session is over", up(rest...))
	g.everyMap("every shard is active again", active("account"))
	t.Logf("a new leader after %s, every shard served after %s; lease %s", led, time.Since(started), quick().Lease)
	for _, id := range rest {
		if now := g.nodes[id].Session(); now != before[id] {
			t.Errorf("session of %s was %d and is %d: a change of leader cost it", id, before[id], now)
		}
	}

	// It comes back as a new process of the same directory, under a new session, with its vote.
	if err := dead.start(nil); err != nil {
		t.Fatal(err)
	}
	if !dead.Voter() || dead.Session() <= before[dead.id] {
		t.Errorf("came back with session %d after %d, voter %t", dead.Session(), before[dead.id], dead.Voter())
	}
	g.everyMap("all are up", up("n1", "n2", "n3"))
}

// A node that leaves gives up on shards that do not go, but only when it has looked so often: not because the clock has gone on, as it does
// while a process is stopped.
func TestLeavingTakesLooks(t *testing.T) {
	g := newGroup(t, 3, account)
	g.startAll()
	g.everyMap("every shard is active", active("account"))
	leaves := g.nodes[g.nodes["n1"].View().Types["account"].Placements[0].Node]
	looks, done := make(chan time.Time), make(chan error, 1)
	go func() { done <- coordinator.AwaitMoves(t.Context(), leaves.Coordinator, looks) }()
	select {
	case err := <-done:
		t.Fatalf("it gave up without a look: %v", err)
	case <-time.After(2500 * time.Millisecond):
	}
	for n := 0; ; n++ {
		select {
		case looks <- time.Now():
			continue
		case err := <-done:
			if err != nil || n < coordinator.LeaveLooks {
				t.Errorf("it gave up after %d looks: %v", n, err)
			}
		}
		return
	}
}

// All nodes die and come back by themselves: the group is the same, every process has a new session, every shard is
// served in a higher epoch.
func TestEveryNodeRestarts(t *testing.T) {
	g := newGroup(t, 3, account)
	g.startAll()
	g.everyMap("every shard is active", active("account"))
	old := g.nodes["n1"].View()
	for _, n := range g.nodes {
		n.kill()
	}
	g.startAll()
	g.everyMap("every shard is active again", active("account"))
	now := g.nodes["n1"].View()
	if now.Group != old.Group {
		t.Errorf("group %s became %s", old.Group, now.Group)
	}
	for id, m := range now.Members {
		if m.Session <= old.Members[id].Session || m.Directory != old.Members[id].Directory {
			t.Errorf("%s: session %d after %d, directory %s after %s", id, m.Session, old.Members[id].Session, m.Directory, old.Members[id].Directory)
		}
	}
	for i, p := range now.Types["account"].Placements {
		if p.Epoch <= old.Types["account"].Placements[i].Epoch {
			t.Errorf("shard %d: epoch %d after %d", i, p.Epoch, old.Types["account"].Placements[i].Epoch)
		}
	}
}

// A node that is no seed joins as a member without a vote, follows the map, hosts shards, and comes back after a stop.
func TestMemberJoins(t *testing.T) {
	g := newGroup(t, 3, account)
	g.startAll()
	m := g.add("m1")
	for range 2 {
		if err := m.start(nil); err != nil {
			t.Fatal(err)
		}
		if m.Voter() || m.View().Members["m1"].Voter {
			t.Error("a member that joined later has a vote")
		}
		g.everyMap("all are up", up("n1", "n2", "n3", "m1"))
		g.everyMap("every shard is active", active("account"))
		m.stop()
		g.everyMap("the member has left", up("n1", "n2", "n3"))
	}
}

// A voter comes back at another address: it registers through any node it finds, and Raft then finds it.
func TestVoterMoves(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	moved := g.nodes["n2"]
	moved.kill()
	moved.addr = freeAddr(t)
	if err := moved.start(nil); err != nil {
		t.Fatal(err)
	}
	if !moved.Voter() || moved.View().Members["n2"].Addr != moved.addr {
		t.Errorf("voter %t, the map says %s, it is at %s", moved.Voter(), moved.View().Members["n2"].Addr, moved.addr)
	}
	for id, n := range g.nodes {
		if id != "n2" && n != g.leader() {
			n.kill() // now its vote counts
			break
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := moved.Require(ctx, 1); err != nil {
		t.Error(err)
	}
}

// A node that was away while the others dropped the log it needs is sent their state; after that everybody restarts from
// snapshots. Nothing is lost either way, and a linearizable question is answered though the log is empty.
func TestStateTravelsInSnapshots(t *testing.T) {
	g := newGroup(t, 3, account)
	g.startAll()
	g.everyMap("every shard is active", active("account"))
	away := g.nodes["n3"]
	g.outdate(away)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if found, err := g.nodes["n2"].Inspect(ctx, true); err != nil || found.View.Required != 19 {
		t.Errorf("after the log was dropped: %+v, %v", found, err)
	}
	g.startAll()
	g.everyMap("every shard is active again", active("account"))
	if err := coordinator.Compact(away.Coordinator); err != nil {
		t.Fatal(err)
	}
	for _, n := range g.nodes {
		n.kill()
	}
	g.startAll()
	g.everyMap("all are up", up("n1", "n2", "n3"))
	g.everyMap("every shard is active", active("account"))
	if got := away.View().Required; got != 19 {
		t.Errorf("required quorum %d, want 19", got)
	}
}

// A node is killed while it is sent the group's state: half of the snapshot is on its disk; or all of it, and the log still is the
// one before, which ends far below. Started again it has the group's state, and goes on from there, now and after another start.
func TestKilledWhileAStateArrives(t *testing.T) {
	for what, leave := range map[string]func(t *testing.T, from, to string){
		"half is there": func(t *testing.T, from, to string) {
			copied(t, from, to+".tmp")
			state := filepath.Join(to+".tmp", "state.bin")
			if info, err := os.Stat(state); err != nil || os.Truncate(state, info.Size()/2) != nil {
				t.Fatal("no state to cut short")
			}
		},
		"all is there": copied,
	} {
		t.Run(what, func(t *testing.T) {
			g := newGroup(t, 3, account)
			g.startAll()
			g.everyMap("every shard is active", active("account"))
			away := g.nodes["n3"]
			source := g.outdate(away)
			taken, err := filepath.Glob(filepath.Join(source.path, "raft", "snapshots", "*-*-*"))
			if err != nil || len(taken) == 0 {
				t.Fatalf("no snapshot: %v", err)
			}
			newest := slices.Max(taken)
			leave(t, newest, filepath.Join(away.path, "raft", "snapshots", filepath.Base(newest)))
			for range 2 {
				if err := away.start(nil); err != nil {
					t.Fatal(err)
				}
				g.everyMap("the state is there", func(v *shard.View) error {
					if v.Required != 19 || !v.Up(away.id) {
						return fmt.Errorf("required quorum %d at %d", v.Required, v.Index)
					}
					return nil
				})
				g.eventually("it takes part in Raft", func() error {
					if applied, all := coordinator.Applied(away.Coordinator), source.View().Index; applied < all {
						return fmt.Errorf("it has applied %d of %d", applied, all)
					}
					return nil
				})
				away.kill()
			}
		})
	}
}

// outdate kills a voter, and has the others drop the log that it lacks. It returns their leader.
func (g *group) outdate(away *node) (leader *node) {
	g.t.Helper()
	away.kill()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	leader = g.leader()
	for i := range 20 {
		if err := leader.Require(ctx, i); err != nil {
			g.t.Fatal(err)
		}
	}
	for _, n := range g.nodes {
		if n == away {
			continue
		}
		if err := coordinator.Compact(n.Coordinator); err != nil {
			g.t.Fatal(err)
		}
	}
	return leader
}

func copied(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
