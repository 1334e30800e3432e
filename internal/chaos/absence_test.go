package chaos_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/client"
	"muster/internal/chaos"
	"muster/shard"
)

const rebuild = 3 * time.Second // instead of a minute

// A process is killed and stays away for longer than the rebuild delay: the third copies are made elsewhere. It comes back: the
// copies it has left over are removed, it gets its share with no more new copies than that takes, and then nothing moves.
func TestAbsence(t *testing.T) {
	long(t)
	g := form(t, chaos.Layout{Nodes: 4, Voters: 3, Rebuild: rebuild})
	g.underLoad(chaos.Plan{Rate: writeRate / 2}, func() {
		for round := range *rounds {
			victim := g.victim(round)
			held := g.holds(victim)
			g.must(victim.Kill())
			killed := time.Now()
			outage := g.serves(serving, "after the kill of "+victim.ID, killed)
			g.eventually(60*time.Second, "every third copy is made elsewhere", func() bool { return g.holds(victim) == 0 && g.whole() })
			rebuilt := time.Since(killed)
			if held == 0 || rebuilt < rebuild {
				t.Errorf("invalid run: %d copies of %s were replaced after %s", held, victim.ID, rebuilt)
			}
			minted := g.newest()
			g.must(victim.Start())
			back := time.Now()
			g.eventually(90*time.Second, victim.ID+" has its share again", func() bool { return g.settled() && g.caughtUp(victim) })
			t.Logf("round %d: %s with %d copies was away: longest outage %s, rebuilt after %s; share back after %s with %d new copies",
				round+1, victim.ID, held, outage, rebuilt.Round(time.Millisecond), time.Since(back).Round(time.Millisecond), g.newest()-minted)
			share := shard.CopyID(chaos.Shards * 3 / len(g.nodes))
			if made := g.newest() - minted; made > share+share/20+1 {
				t.Errorf("%d copies were made to give %s its share of %d", made, victim.ID, share)
			}
			g.quiet()
		}
	})
}

// holds counts the copies that the map has on a node, learners too.
func (g *group) holds(p *chaos.Process) (n int) {
	for _, s := range g.placements() {
		for _, c := range s.Copies {
			if c.Node == shard.NodeID(p.ID) {
				n++
			}
		}
		for _, l := range s.Learners {
			if l.Copy.Node == shard.NodeID(p.ID) {
				n++
			}
		}
	}
	return n
}

// newest is the highest copy id ever minted that is still there, learners included. Ids only rise.
func (g *group) newest() (id shard.CopyID) {
	for _, s := range g.placements() {
		for _, c := range s.Copies {
			id = max(id, c.ID)
		}
		for _, l := range s.Learners {
			id = max(id, l.Copy.ID)
		}
	}
	return id
}

// quiet fails when anything moves in the time that several plans take.
func (g *group) quiet() {
	g.t.Helper()
	before := g.versions()
	lasting(5 * time.Second)
	after := g.versions()
	for id, v := range after {
		if v != before[id] {
			g.t.Errorf("%s moved from epoch.version %v to %v although everything was at rest", id, before[id], v)
		}
	}
}

func (g *group) versions() map[shard.ID][2]uint64 {
	all := map[shard.ID][2]uint64{}
	for _, s := range g.placements() {
		all[s.Shard] = [2]uint64{uint64(s.Epoch), uint64(s.Version)}
	}
	return all
}

// The data directory of a killed process is removed and the process started again under its name. It joins as a new machine, is
// filled, and takes its share. Then the same while another process is killed: a shard that has one copy left waits for
// the killed one, because what the empty directory says is no answer; and when that is back, everything confirmed is there.
func TestWiped(t *testing.T) {
	g := form(t, chaos.Layout{Nodes: 5, Rebuild: rebuild})
	g.underLoad(chaos.Plan{Rate: writeRate / 2}, func() {
		for range *rounds {
			first := g.nodes[g.choose.IntN(len(g.nodes))]
			g.wipe(first)
			g.eventually(60*time.Second, first.ID+" is filled", func() bool { return g.whole() && g.caughtUp(first) })
			g.serves(serving, "after the return of "+first.ID, time.Now())

			g.eventually(60*time.Second, "there are shards with copies on two nodes", g.settled)
			second := g.nodes[g.choose.IntN(len(g.nodes))]
			third := g.neighbour(second)
			alone := g.both(second, third)
			if len(alone) == 0 {
				t.Errorf("invalid run: no shard has copies on both %s and %s", second.ID, third.ID)
			}
			g.must(third.Kill())
			g.wipe(second)
			g.eventually(60*time.Second, second.ID+" is a member again", func() bool { return g.registered(second) })
			lasting(rebuild)
			g.must(third.Start())
			back := time.Now()
			outage := g.serves(away, "after the return of "+third.ID, back)
			g.eventually(90*time.Second, "every shard has its copies again", func() bool { return g.whole() && g.caughtUp(second) && g.caughtUp(third) })
			t.Logf("%s was wiped; then %s, while %s was down, which left %d shards with one copy: they served %s after its return",
				first.ID, second.ID, third.ID, len(alone), outage)
		}
	})
}

// wipe kills a process, removes its data and starts it again.
func (g *group) wipe(p *chaos.Process) {
	g.t.Helper()
	g.must(p.Kill())
	g.must(os.RemoveAll(p.Dir))
	g.must(p.Start())
}

// registered reports whether the map shows a live session of the process.
func (g *group) registered(p *chaos.Process) bool {
	m, ok := g.driver.View().Members[shard.NodeID(p.ID)]
	return ok && g.driver.View().Up(m.ID)
}

// both lists the shards with copies on both nodes.
func (g *group) both(a, b *chaos.Process) (ids []shard.ID) {
	for _, s := range g.placements() {
		on := func(p *chaos.Process) bool {
			return slices.ContainsFunc(s.Copies, func(c shard.Copy) bool { return c.Node == shard.NodeID(p.ID) })
		}
		if on(a) && on(b) {
			ids = append(ids, s.Shard)
		}
	}
	return ids
}

// neighbour is the node that shares the most shards with p.
func (g *group) neighbour(p *chaos.Process) *chaos.Process {
	rest := slices.DeleteFunc(slices.Clone(g.nodes), func(o *chaos.Process) bool { return o == p })
	return slices.MaxFunc(rest, func(a, b *chaos.Process) int { return len(g.both(p, a)) - len(g.both(p, b)) })
}

// A node is drained under load: it ends with no copy, no command fails on the way, and it may leave. When one more is down and
// nobody could take the place of its copies, a drain is refused and names the shards that could not be written.
func TestDrain(t *testing.T) {
	long(t)
	g := form(t, chaos.Layout{Nodes: 4, Voters: 3, Rebuild: rebuild})
	g.load = chaos.Start(g.driver, chaos.Plan{Clients: clients, Rate: writeRate / 2})
	g.eventually(10*time.Second, "100 entries are confirmed", func() bool { return g.load.Confirmed() >= 100 })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := g.client(ctx)

	leaves := g.nodes[3]
	held, began := g.holds(leaves), time.Now()
	g.drain(ctx, c, leaves)
	g.eventually(60*time.Second, leaves.ID+" is empty", func() bool { return g.holds(leaves) == 0 && g.whole() && len(hostedBy(ctx, leaves)) == 0 })
	t.Logf("%s with %d copies was empty after %s", leaves.ID, held, time.Since(began).Round(time.Millisecond))
	g.must(leaves.Stop())
	if held == 0 {
		t.Error("invalid run: there was nothing to drain")
	}

	down := g.nodes[g.choose.IntN(3)]
	g.must(down.Kill())
	g.serves(serving, "after the kill of "+down.ID, time.Now())
	stays := g.nodes[(slices.Index(g.nodes, down)+1)%3]
	_, err := c.Drain(ctx, shard.NodeID(stays.ID), true)
	if fault := shard.As(err); fault == nil || fault.Code != shard.CodeConflict || !strings.Contains(fault.Error(), "book/") {
		t.Errorf("the drain of %s with %s down: %v; want a refusal that names shards", stays.ID, down.ID, err)
	} else {
		t.Logf("with %s down: %v", down.ID, err)
	}
	g.must(down.Start())
	g.eventually(60*time.Second, down.ID+" is back", g.whole)
	for _, e := range g.verify() {
		if e.Fate != chaos.Confirmed {
			t.Errorf("%s in book %s failed after %s: %s", e.ID, e.Book, e.Ended.Sub(e.Began).Round(time.Millisecond), e.Problem)
		}
	}
}

func (g *group) drain(ctx context.Context, c *client.Client, p *chaos.Process) {
	g.t.Helper()
	_, err := c.Drain(ctx, shard.NodeID(p.ID), true)
	g.must(err)
}

// One of five processes is stopped. The shards that have no copy there do not notice: the p99 of their confirmations is at most
// twice what it was in the same run before.
func TestFrozen(t *testing.T) {
	long(t)
	g := form(t, chaos.Layout{Nodes: 5, Voters: 3})
	g.underLoad(chaos.Plan{Clients: 2 * clients, Rate: writeRate / 2}, func() {
		for range *rounds {
			whom := []func() *chaos.Process{g.leader, func() *chaos.Process { return g.owner(3) }, func() *chaos.Process { return g.nodes[4] }}
			for _, i := range g.some(1, len(whom)) {
				g.freeze(whom[i]())
			}
		}
	})
}

// confirming lasts a third of the run, or until there are enough confirmations since then to judge.
func (g *group) confirming(since time.Time, of func(shard.Number) bool) {
	g.t.Helper()
	lasting(*length / 3)
	g.eventually(60*time.Second, fmt.Sprintf("%d commands are confirmed", judged), func() bool {
		return len(g.load.Latencies(since, time.Now(), of)) >= judged
	})
}

// judged is how many confirmations a p99 has to be of, before the freeze and meanwhile, to be compared: of fewer it is the luck of a
// few syncs of a disk that all processes share.
const judged = 500

func (g *group) freeze(p *chaos.Process) {
	g.t.Helper()
	apart := map[shard.Number]bool{}
	for _, s := range g.placements() {
		apart[s.Shard.Number] = !slices.ContainsFunc(s.Copies, func(c shard.Copy) bool { return c.Node == shard.NodeID(p.ID) })
	}
	of := func(n shard.Number) bool { return apart[n] }
	began := time.Now()
	g.confirming(began, of)
	g.must(p.Freeze())
	stopped := time.Now()
	g.confirming(stopped, of)
	before, during := g.load.Latencies(began, stopped, of), g.load.Latencies(stopped, time.Now(), of)
	g.must(p.Signal(syscall.SIGCONT))
	was, is := before[len(before)*99/100], during[len(during)*99/100]
	g.t.Logf("%s was stopped: p99 of the shards without a copy there %s before (%d), %s meanwhile (%d)", p.ID, was, len(before), is, len(during))
	if is > 2*was {
		g.t.Errorf("p99 of the shards that %s has no copy of rose from %s to %s", p.ID, was, is)
	}
	g.eventually(60*time.Second, "every shard has its copies again", g.whole)
}
