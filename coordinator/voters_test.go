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

// hasty has a voter replaced soon after its lease. Raft's times are the product's: these tests assert that nobody loses the lead,
// and a busy machine must not take it.
func hasty(c *coordinator.Config) {
	c.Times.ReplaceVoter, c.Times.CatchUp, c.Times.Heartbeat = 300*time.Millisecond, 5*time.Second, 500*time.Millisecond
}

// startHastily starts the nodes that are not up.
func (g *group) startHastily() {
	g.change = hasty
	g.startAll()
}

// keepsLead returns a check that the leader has led on since. It does not count when the test was kept from running for half the time
// that a leader may go without hearing from the others: that costs the lead by itself.
func (g *group) keepsLead(leads *node) (check func()) {
	_, _, term := leads.Leader()
	ctx, cancel := context.WithCancel(g.t.Context())
	var c coordinator.Config
	hasty(&c)
	most, stood := time.Duration(0), make(chan time.Duration, 1)
	go func() {
		defer func() { stood <- most }()
		for last := time.Now(); ; last = time.Now() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(5 * time.Millisecond):
				most = max(most, time.Since(last))
			}
		}
	}()
	return func() {
		g.t.Helper()
		cancel()
		longest := <-stood
		if _, _, now := leads.Leader(); now == term {
			return
		} else if longest < c.Times.Heartbeat*2/5 {
			g.t.Errorf("term %d became %d: a change of voters cost the lead", term, now)
		}
		g.t.Logf("the test stood still for %s, and the lead was lost", longest)
	}
}

// voters waits until exactly the named nodes, in the directories they have, are Raft's voters, know it, and are shown so.
func (g *group) voters(ids ...shard.NodeID) {
	g.t.Helper()
	var want []string
	for _, id := range ids {
		want = append(want, fmt.Sprintf("%s@%s", id, g.nodes[id].directory.ID()))
	}
	slices.Sort(want)
	g.eventually(fmt.Sprintf("the voters are %s", ids), func() error {
		for id, n := range g.nodes {
			if n.Coordinator == nil {
				continue
			}
			votes := slices.Contains(ids, id)
			if n.Voter() != votes || n.View().Members[id].Voter != votes {
				return fmt.Errorf("%s runs Raft: %t, its map says %t", id, n.Voter(), n.View().Members[id].Voter)
			}
			if have := coordinator.Servers(n.Coordinator); votes && !slices.Equal(have, want) {
				return fmt.Errorf("%s has servers %s", id, have)
			}
		}
		return nil
	})
}

// works has the group commit something, asked through each node.
func (g *group) works() {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, n := range g.nodes {
		if n.Coordinator != nil {
			if err := n.Require(ctx, 1); err != nil {
				g.t.Fatalf("through %s: %v", n.id, err)
			}
		}
	}
}

// follower is a running voter that does not lead.
func (g *group) follower() *node {
	g.t.Helper()
	leads := g.leader()
	for _, id := range []shard.NodeID{"n3", "n2", "n1"} {
		if n := g.nodes[id]; n != leads && n.Coordinator != nil {
			return n
		}
	}
	g.t.Fatal("no follower is up")
	return nil
}

// A voter loses its directory and comes back under its id and address. The one that voted is dismissed, the node votes again as
// another, and the leader leads on throughout. That the vote counts is shown by the death of the leader.
func TestWipedVoterVotesAgain(t *testing.T) {
	g := newGroup(t, 3, account)
	g.startHastily()
	g.voters("n1", "n2", "n3")
	wiped, leads := g.follower(), g.leader()
	led := g.keepsLead(leads)
	before := wiped.directory.ID()
	wiped.kill()
	if err := os.RemoveAll(wiped.path); err != nil {
		t.Fatal(err)
	}
	if err := coordinator.Compact(leads.Coordinator); err != nil { // so that it has to be sent a snapshot
		t.Fatal(err)
	}
	g.startHastily()
	if wiped.directory.ID() == before {
		t.Fatal("the directory was not wiped")
	}
	g.voters("n1", "n2", "n3")
	led()
	leads.kill()
	g.leader()
	g.works()
	wiped.kill()
	if err := wiped.start(hasty); err != nil { // there is no leader until it votes
		t.Fatal(err)
	}
	g.leader()
	g.works()
}

// A voter is gone for good: a member takes its seat. The old voter comes back and finds that it is a member now; when a voter
// goes again it is given a seat anew, in the same process and with its old log.
func TestMemberReplacesVoter(t *testing.T) {
	g := newGroup(t, 3, account)
	g.add("m1")
	g.startHastily()
	g.voters("n1", "n2", "n3")
	lost, leads := g.follower(), g.leader()
	led := g.keepsLead(leads)
	lost.kill()
	ids := []shard.NodeID{"m1", leads.id, other(leads.id, lost.id)}
	g.voters(ids...)
	led()
	g.works()

	g.startHastily()
	g.voters(ids...)
	g.everyMap("all are up", up("n1", "n2", "n3", "m1"))

	m := g.nodes["m1"]
	m.kill()
	if err := m.start(hasty); err != nil {
		t.Fatal(err)
	}
	g.voters(ids...)

	leads = g.leader()
	leads.kill()
	g.leader()
	g.works()
	rest := slices.DeleteFunc(append(ids, lost.id), func(id shard.NodeID) bool { return id == leads.id })
	g.voters(rest...)
	g.works()
}

// other is the third of n1, n2 and n3.
func other(a, b shard.NodeID) shard.NodeID {
	for _, id := range []shard.NodeID{"n1", "n2", "n3"} {
		if id != a && id != b {
			return id
		}
	}
	return ""
}

// A leader that has been paused for long finds that it has no seat any more: another leads, and asks it to leave. It leads on by its own view until
// that is done, and may be asking copies for promises at that moment.
func TestLeaderThatLosesItsSeatSeals(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	g.everyMap("all are up", up("n1", "n2", "n3"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := coordinator.SealWithoutSeat(ctx, g.leader().Coordinator, g.follower().id); err != nil {
		t.Error(err)
	}
}

// A member that was asked to run Raft, and then not for too long, runs it no more: without a leader's word that is of no use. One that was asked
// again since keeps its seat, and one that has caught up and taken it does whatever the leader says: the group may count on that vote.
func TestNewcomerKeepsASeatThatIsAskedFor(t *testing.T) {
	const long = time.Hour
	g := newGroup(t, 1)
	g.change = func(c *coordinator.Config) { c.Times.CatchUp = long }
	m := g.add("m1")
	g.startAll()
	g.everyMap("both are up", up("n1", "m1"))
	g.nodes["n1"].kill() // nobody else decides about the seat
	for _, c := range []struct {
		name        string
		asked       time.Duration
		fills       bool
		over, stays bool
	}{
		{"asked again", long / 2, false, false, true},
		{"asked for no more", 2 * long, false, true, false},
		{"taken", 2 * long, true, true, true},
	} {
		seat, err := coordinator.OpenSeat(m.Coordinator)
		if err == nil && c.fills {
			err = seat.Fill()
		}
		if err != nil {
			t.Fatal(err)
		}
		seat.Asked(c.asked)
		if over, err := seat.Look(); err != nil || over != c.over || seat.Runs() != c.stays || m.Voter() != c.fills {
			t.Errorf("%s: a newcomer no more: %t, %v; Raft runs: %t, as a voter: %t", c.name, over, err, seat.Runs(), m.Voter())
		}
	}
}

// A seat that could not be given up, as its directory could not note it, is given up by the next look.
func TestNewcomerIsLookedAtAgain(t *testing.T) {
	const long = time.Hour
	g := newGroup(t, 1)
	g.change = func(c *coordinator.Config) { c.Times.CatchUp = long }
	m := g.add("m1")
	g.startAll()
	g.everyMap("both are up", up("n1", "m1"))
	g.nodes["n1"].kill()
	seat, err := coordinator.OpenSeat(m.Coordinator)
	if err != nil {
		t.Fatal(err)
	}
	seat.Asked(2 * long)
	inTheWay := filepath.Join(m.path, "identity.json.new")
	if err := os.Mkdir(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	if over, err := seat.Look(); over || err == nil || !seat.Runs() {
		t.Errorf("the directory cannot note it: a newcomer no more: %t, %v; Raft runs: %t", over, err, seat.Runs())
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	if over, err := seat.Look(); !over || err != nil || seat.Runs() {
		t.Errorf("a newcomer no more: %t, %v; Raft runs: %t", over, err, seat.Runs())
	}
}
