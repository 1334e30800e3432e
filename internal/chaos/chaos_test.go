package chaos_test

import (
	"cmp"
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"muster/client"
	"muster/entity"
	"muster/internal/chaos"
	"muster/node"
	"muster/shard"
)

var (
	rounds = flag.Int("chaos.rounds", 1, "how many kills")
	seed   = flag.Uint64("chaos.seed", uint64(time.Now().UnixNano()), "which process is killed when; the schedule of the machine is not repeated")
)

const (
	clients = 16
	serving = 5 * time.Second // each shard must confirm again within this after a kill
)

func TestMain(m *testing.M) {
	chaos.RunNode()
	os.Exit(m.Run())
}

// group is three running processes and the driver, a member that hosts nothing.
type group struct {
	t      *testing.T
	nodes  []*chaos.Process
	driver *node.Node
	choose *rand.Rand
}

func form(t *testing.T) *group {
	t.Helper()
	t.Logf("this run: go test ./internal/chaos -run '%s' -chaos.rounds=%d -chaos.seed=%d", t.Name(), *rounds, *seed)
	dir := t.TempDir()
	nodes, err := chaos.Processes(dir, 3)
	if err != nil {
		t.Fatal(err)
	}
	g := &group{t: t, nodes: nodes, choose: rand.New(rand.NewPCG(*seed, 1))}
	t.Cleanup(g.end)
	for _, p := range nodes {
		g.must(p.Start())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	g.driver, err = node.Start(ctx, node.Config{ID: "driver", Addr: "127.0.0.1:0", Dir: filepath.Join(dir, "driver"), Seeds: nodes[0].Seeds})
	g.must(err)
	g.eventually(20*time.Second, "every shard serves", g.allServe)
	return g
}

func (g *group) end() {
	if g.driver != nil {
		g.driver.Kill()
	}
	for _, p := range g.nodes {
		if p.Running() {
			_ = p.Signal(syscall.SIGCONT)
			_ = p.Kill()
		}
		if g.t.Failed() {
			g.keepLog(p)
		}
	}
}

func (g *group) keepLog(p *chaos.Process) {
	text, err := os.ReadFile(p.Log())
	if err == nil {
		g.t.Logf("---- log of %s, the last of %d bytes\n%s", p.ID, len(text), text[max(0, len(text)-6000):])
	}
}

func (g *group) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *group) eventually(limit time.Duration, what string, holds func() bool) {
	g.t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			g.t.Fatalf("not within %s: %s", limit, what)
		case <-poll.C:
		}
	}
}

// allServe asks one entity in each shard a question that changes nothing.
func (g *group) allServe() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	asked := map[shard.Number]bool{}
	for i := 0; len(asked) < chaos.Shards; i++ {
		id := shard.EntityID(rune('A' + i))
		n := shard.Of(id, chaos.Shards)
		if asked[n] {
			continue
		}
		asked[n] = true
		if _, err := chaos.ReadBook.Ask(ctx, g.driver, id, chaos.Read{}); err != nil {
			return false
		}
	}
	return true
}

// underLoad runs hurt while clients enter ids, then reads every book and reports each lie.
func (g *group) underLoad(limit time.Duration, hurt func(l *chaos.Load)) {
	g.t.Helper()
	load := chaos.Start(g.driver, clients, limit)
	began := time.Now()
	g.eventually(10*time.Second, "100 entries are confirmed", func() bool { return load.Confirmed() >= 100 })
	if per := float64(load.Confirmed()) / time.Since(began).Seconds(); per < 100 {
		g.t.Errorf("invalid run: only %.0f confirmed entries per second before the first fault", per)
	}
	hurt(load)
	entries := load.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	books, err := chaos.Books(ctx, g.driver, entries)
	g.must(err)
	fates := map[chaos.Fate]int{}
	for _, e := range entries {
		fates[e.Fate]++
	}
	g.t.Logf("%d confirmed, %d called not applied, %d unknown", fates[chaos.Confirmed], fates[chaos.Absent], fates[chaos.Uncertain])
	for _, lie := range chaos.Check(entries, books) {
		g.t.Error(lie)
	}
}

// One process after the other is killed under load, the Raft leader among them, and started again. No confirmed entry may
// be missing or doubled, every shard must confirm again within five seconds, and the restarted node must catch up.
func TestKill(t *testing.T) {
	g := form(t)
	g.underLoad(30*time.Second, func(load *chaos.Load) {
		for round := range *rounds {
			victim := g.victim(round)
			leader := g.driver.Inspect().Leader
			before := time.Now()
			g.must(victim.Kill())
			killed := time.Now()
			g.eventually(serving, "every shard confirms again after the kill of "+victim.ID, func() bool {
				_, back := load.Outage(before, killed)
				return back
			})
			outage, _ := load.Outage(before, killed)
			g.must(victim.Start())
			g.eventually(20*time.Second, victim.ID+" has caught up", func() bool { return g.caughtUp(victim) })
			t.Logf("round %d: killed %s (leader: %t), longest outage of a shard %s", round+1, victim.ID, shard.NodeID(victim.ID) == leader, outage.Round(time.Millisecond))
		}
	})
}

// victim is in turn the Raft leader, the owner of the most shards, and anybody: a node that leads nothing is a poor one.
func (g *group) victim(round int) *chaos.Process {
	state := g.driver.Inspect()
	owned := map[shard.NodeID]int{}
	for _, p := range state.View.Types["book"].Placements {
		owned[p.Node]++
	}
	leader := slices.IndexFunc(g.nodes, func(p *chaos.Process) bool { return shard.NodeID(p.ID) == state.Leader })
	switch {
	case round%3 == 0 && leader >= 0:
		return g.nodes[leader]
	case round%3 == 1:
		return slices.MaxFunc(g.nodes, func(a, b *chaos.Process) int {
			return cmp.Compare(owned[shard.NodeID(a.ID)], owned[shard.NodeID(b.ID)])
		})
	default:
		return g.nodes[g.choose.IntN(len(g.nodes))]
	}
}

// caughtUp reports whether the process hosts a copy of every shard that holds all that was confirmed a moment ago.
func (g *group) caughtUp(p *chaos.Process) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	confirmed := map[shard.ID]shard.LSN{}
	for _, other := range g.nodes {
		if other == p {
			continue
		}
		for _, h := range hostedBy(ctx, other) {
			confirmed[h.Shard] = max(confirmed[h.Shard], h.Confirmed)
		}
	}
	hosted := hostedBy(ctx, p)
	if len(hosted) != chaos.Shards {
		return false
	}
	for _, h := range hosted {
		if h.Durable < confirmed[h.Shard] {
			return false
		}
	}
	return true
}

// hostedBy asks a process which copies it hosts; none when it does not answer.
func hostedBy(ctx context.Context, p *chaos.Process) []client.Hosted {
	c, err := client.Connect(ctx, p.Addr)
	if err != nil {
		return nil
	}
	defer c.Close()
	state, err := c.Inspect(ctx)
	if err != nil {
		return nil
	}
	return state.Hosted
}

// Everybody is killed at once and started again: every confirmed entry must be there.
func TestKillAll(t *testing.T) {
	g := form(t)
	g.underLoad(30*time.Second, func(load *chaos.Load) {
		for _, p := range g.nodes {
			g.must(p.Signal(syscall.SIGKILL))
		}
		killed := time.Now()
		for _, p := range g.nodes {
			g.must(p.Await())
			g.must(p.Start())
		}
		g.eventually(15*time.Second, "every shard confirms again", func() bool {
			_, back := load.Outage(killed, time.Now().Add(-time.Second))
			return back && time.Since(killed) > 2*time.Second
		})
	})
}

// With both replicas stopped and min_acks=1 a caller must hear that the outcome is unknown after ack_timeout, never ok. When they
// go on, so does everybody else.
func TestStoppedReplicas(t *testing.T) {
	g := form(t)
	const id = shard.EntityID("stopped")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	began := time.Now()
	if _, err := chaos.EnterBook.Ask(ctx, g.driver, id, chaos.Enter{ID: "before"}); err != nil {
		t.Fatal(err)
	}
	if prompt := time.Since(began); prompt > time.Second {
		t.Errorf("with prompt replicas the answer took %s", prompt)
	}
	state, err := g.driver.State(ctx)
	g.must(err)
	where, _ := state.View.Locate("book", id)
	owner := state.View.Placement(where).Node
	for _, p := range g.nodes {
		if shard.NodeID(p.ID) != owner {
			g.must(p.Signal(syscall.SIGSTOP))
		}
	}
	began = time.Now()
	place, err := chaos.EnterBook.Ask(ctx, g.driver, id, chaos.Enter{ID: "alone"})
	if fault := shard.As(err); fault == nil || fault.Outcome != shard.Unknown || fault.Code != shard.CodeUnconfirmed {
		t.Errorf("after %s: place %d, error %v; want outcome unknown", time.Since(began), place, err)
	}
	for _, p := range g.nodes {
		g.must(p.Signal(syscall.SIGCONT))
	}
	g.eventually(15*time.Second, "every shard serves", g.allServe)
	ids, err := chaos.ReadBook.Ask(ctx, g.driver, id, chaos.Read{})
	if err != nil || len(ids) == 0 || ids[0] != "before" || len(ids) > 2 {
		t.Errorf("the book holds %q, %v", ids, err)
	}
}

var _ entity.Sender = (*node.Node)(nil)
