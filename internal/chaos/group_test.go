package chaos_test

import (
	"cmp"
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/client"
	"muster/internal/chaos"
	"muster/node"
	"muster/shard"
)

var (
	rounds = flag.Int("chaos.rounds", 1, "how often each fault is repeated")
	length = flag.Duration("chaos.for", 10*time.Second, "how long the scenarios run that have a length")
	every  = flag.Bool("chaos.every", false, "also the scenarios that are too long for a run of all tests")
	seed   = flag.Uint64("chaos.seed", uint64(time.Now().UnixNano()), "which process is hurt when; the schedule of the machine is not repeated")
)

const (
	clients = 16
	serving = 5 * time.Second // each shard must confirm again within this after a kill

	// lively is how many entries per second are load enough to show something. In a run of all tests other packages have the machine as well, and
	// the disk: there no more is asked for, and of the scenarios that wait for a hundred entries nothing.
	lively = 100
)

// long leaves a scenario to make chaos: all of them take four minutes.
func long(t *testing.T) {
	t.Helper()
	if !*every {
		t.Skip("SKIPPED, too long for a run of all tests: make chaos RUN=" + t.Name())
	}
}

func TestMain(m *testing.M) {
	chaos.RunNode()
	os.Exit(m.Run())
}

// group is some running processes and the driver, a member that hosts nothing.
type group struct {
	t       *testing.T
	nodes   []*chaos.Process
	network *chaos.Network // nil: nodes dial each other directly
	driver  *node.Node
	choose  *rand.Rand
	load    *chaos.Load
}

func form(t *testing.T, l chaos.Layout) *group { return start(t, l, nil) }

// formOn is form with a network that can be cut.
func formOn(t *testing.T, l chaos.Layout) *group {
	t.Helper()
	n, err := chaos.NewNetwork()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	l.Network = n.Addr()
	return start(t, l, n)
}

func start(t *testing.T, l chaos.Layout, network *chaos.Network) *group {
	t.Helper()
	t.Logf("this run: go test ./internal/chaos -count=1 -v -run '^%s$' -args -chaos.rounds=%d -chaos.for=%s -chaos.seed=%d",
		t.Name(), *rounds, *length, *seed)
	dir := t.TempDir()
	nodes, err := chaos.Processes(dir, l)
	if err != nil {
		t.Fatal(err)
	}
	g := &group{t: t, nodes: nodes, network: network, choose: rand.New(rand.NewPCG(*seed, 1))}
	t.Cleanup(g.end)
	for i, p := range nodes {
		if network != nil {
			network.Name(p.Addr, p.ID)
		}
		if i < len(nodes)-l.Late {
			g.must(p.Start())
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c := node.Config{ID: "driver", Addr: "127.0.0.1:0", Dir: filepath.Join(dir, "driver"), Seeds: nodes[0].Seeds}
	if network != nil {
		c.Tuning.Dialer = chaos.Through(network.Addr(), "driver")
	}
	c.Tuning.Times.Lease = l.Lease
	g.driver, err = node.Start(ctx, c)
	g.must(err)
	g.eventually(20*time.Second, "every shard serves", g.allServe)
	g.eventually(60*time.Second, "every node has its share of the shards", g.settled)
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
	if !within(limit, holds) {
		g.t.Fatalf("not within %s: %s", limit, what)
	}
}

// within reports whether something comes true in time.
func within(limit time.Duration, holds func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			return false
		case <-poll.C:
		}
	}
	return true
}

// lasting waits for a time that is itself what is tested, such as a fault's.
func lasting(d time.Duration) { <-time.After(d) }

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
func (g *group) underLoad(p chaos.Plan, hurt func()) {
	g.t.Helper()
	if p.Clients == 0 {
		p.Clients = clients
	}
	g.load = chaos.Start(g.driver, p)
	began := time.Now()
	g.eventually(10*time.Second, "100 entries are confirmed", func() bool { return g.load.Confirmed() >= 100 })
	if per := float64(g.load.Confirmed()) / time.Since(began).Seconds(); *every && per < lively {
		g.t.Errorf("invalid run: only %.0f confirmed entries per second before the first fault", per)
	}
	hurt()
	g.verify()
}

// verify ends the load and holds what was told against what is there.
func (g *group) verify() (entries []chaos.Entry) {
	g.t.Helper()
	entries, sights := g.load.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	books, err := chaos.Books(ctx, g.driver, entries)
	g.must(err)
	fates, problems := map[chaos.Fate]int{}, map[string]int{}
	for _, e := range entries {
		fates[e.Fate]++
		if e.Fate != chaos.Confirmed {
			problems[e.Problem[:min(len(e.Problem), 100)]]++
		}
	}
	g.t.Logf("%d confirmed, %d called not applied, %d unknown; %d reads; %d books",
		fates[chaos.Confirmed], fates[chaos.Absent], fates[chaos.Uncertain], len(sights), len(books))
	for problem, n := range problems {
		g.t.Logf("%d times: %s", n, problem)
	}
	lies := chaos.Check(entries, sights, books)
	for _, lie := range lies[:min(len(lies), 20)] {
		g.t.Error(lie)
	}
	if len(lies) > 20 {
		g.t.Errorf("and %d more", len(lies)-20)
	}
	return entries
}

// look has a client of each node read through that node, over connections that no cut touches.
func (g *group) look(nodes ...*chaos.Process) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, p := range nodes {
		c, err := client.Connect(ctx, p.Addr)
		g.must(err)
		g.t.Cleanup(func() { c.Close() })
		g.load.Look(p.ID, c)
	}
}

// placements are the shards as the driver's map shows them, none of them nil.
func (g *group) placements() []*shard.Placement {
	return slices.DeleteFunc(slices.Clone(g.driver.View().Types["book"].Placements), func(p *shard.Placement) bool { return p == nil })
}

// leads counts the shards that a node leads.
func (g *group) leads(p *chaos.Process) (n int) {
	for _, s := range g.placements() {
		if s.Node == shard.NodeID(p.ID) {
			n++
		}
	}
	return n
}

// whole reports whether each shard is served with a full set of ready copies on nodes that are up, and nothing is under way.
func (g *group) whole() bool {
	all := g.placements()
	for _, s := range all {
		bad := func(c shard.Copy) bool { return c.State != shard.CopyReady || !g.driver.View().Up(c.Node) }
		if s.Status != shard.Active || len(s.Learners) > 0 || s.Wished() || len(s.Copies) != 3 || slices.ContainsFunc(s.Copies, bad) {
			return false
		}
	}
	return len(all) == chaos.Shards
}

// settled reports whether the group is whole and each node that is up leads its share.
func (g *group) settled() bool {
	up := slices.DeleteFunc(slices.Clone(g.nodes), func(p *chaos.Process) bool { return !p.Running() })
	return g.whole() && !slices.ContainsFunc(up, func(p *chaos.Process) bool { return g.leads(p) < chaos.Shards/len(up) })
}

// leader is the node that leads the group, nil when the driver knows none.
func (g *group) leader() *chaos.Process {
	id := g.driver.Inspect().Leader
	i := slices.IndexFunc(g.nodes, func(p *chaos.Process) bool { return shard.NodeID(p.ID) == id })
	if i < 0 {
		return nil
	}
	return g.nodes[i]
}

// owner waits until there is a leader, and one of the first n nodes leads shards and not the group; it is the one that leads most.
func (g *group) owner(n int) (owner *chaos.Process) {
	g.t.Helper()
	g.eventually(60*time.Second, "a node leads shards and not the group", func() bool {
		leader := g.leader()
		rest := slices.DeleteFunc(slices.Clone(g.nodes[:n]), func(p *chaos.Process) bool { return p == leader })
		g.choose.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
		owner = slices.MaxFunc(rest, func(a, b *chaos.Process) int { return cmp.Compare(g.leads(a), g.leads(b)) })
		return leader != nil && g.leads(owner) > 0
	})
	return owner
}

// victim is in turn the Raft leader, the owner of the most shards, and anybody: a node that leads nothing is a poor one.
func (g *group) victim(round int) *chaos.Process {
	leader := g.leader()
	switch {
	case round%3 == 0 && leader != nil:
		return leader
	case round%3 == 1:
		return slices.MaxFunc(g.nodes, func(a, b *chaos.Process) int { return cmp.Compare(g.leads(a), g.leads(b)) })
	default:
		return g.nodes[g.choose.IntN(len(g.nodes))]
	}
}

// caughtUp reports whether the process holds all that was confirmed a moment ago of each shard that has a copy there, and
// nothing else.
func (g *group) caughtUp(p *chaos.Process) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	confirmed, copies := map[shard.ID]shard.LSN{}, 0
	for _, s := range g.placements() {
		if slices.ContainsFunc(s.Copies, func(c shard.Copy) bool { return c.Node == shard.NodeID(p.ID) && c.State == shard.CopyReady }) {
			copies++
		}
	}
	for _, other := range g.nodes {
		if other == p || !other.Running() {
			continue
		}
		for _, h := range hostedBy(ctx, other) {
			confirmed[h.Shard] = max(confirmed[h.Shard], h.Confirmed)
		}
	}
	hosted := hostedBy(ctx, p)
	return copies > 0 && len(hosted) == copies && !slices.ContainsFunc(hosted, func(h client.Hosted) bool { return h.Durable < confirmed[h.Shard] })
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

// serves waits until every shard has confirmed something that was not answered before the moment, and returns the longest outage.
func (g *group) serves(limit time.Duration, what string, since time.Time) time.Duration {
	g.t.Helper()
	if !within(limit, func() bool { _, back := g.load.Outage(since, since.Add(time.Millisecond)); return back }) {
		g.t.Errorf("not within %s: every shard confirms again %s", limit, what)
		for _, s := range g.placements() {
			g.t.Logf("%s: %v epoch %d, primary %s, %d copies, reason %v", s.Shard, s.Status, s.Epoch, s.Node, len(s.Copies), s.Cause)
		}
	}
	outage, _ := g.load.Outage(since, since)
	return outage.Round(time.Millisecond)
}

// some are the numbers of few of the things that a test can do, drawn, in a run of one round, and else of all of them in order.
func (g *group) some(few, all int) []int {
	if *rounds == 1 {
		return g.choose.Perm(all)[:few]
	}
	numbers := make([]int, all)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}

// processState is the letter that the system gives: T for a stopped process.
func processState(p *chaos.Process) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/stat")
	if err != nil {
		return err.Error()
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	return fields[0]
}
