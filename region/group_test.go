package region_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/entity"
	"muster/journal"
	"muster/region"
	"muster/shard"
	"muster/transport"
)

// A group is some regions in one process, with real journals and real sockets, and a control plane that is one struct:
// it forms and activates shards as reports come in, and everything else a test does by hand.
type group struct {
	t     testing.TB
	nodes []*node
	types []entity.Definition

	mu       sync.Mutex
	view     *shard.View
	sessions shard.SessionID
	copies   shard.CopyID
	watcher  func(shard.Report)
	deaf     shard.ReportKind // reports of this kind are not acted upon

	favourite shard.NodeID // wins ties in elections
	inTwo     atomic.Bool  // what is handed over is activated when it is established, not at once
	reports   chan shard.Report
}

// A node is one region with its journal and port, and its own view of the control plane: region.Directory.
type node struct {
	group     *group
	id        shard.NodeID
	dir       string
	directory shard.DirectoryID
	session   atomic.Uint64
	looks     atomic.Int64 // at session
	lease     atomic.Int64
	options   journal.Options
	limits    region.Limits
	stale     *shard.View // the first map that the node's next life sees, if not nil
	stranger  func()      // called when the region is up and the group does not know its session yet, if not nil
	broken    bool        // its disk fails, and may say so when the journal is closed

	wires   wires
	journal *journal.Journal
	port    *transport.Port
	region  *region.Region
	up      bool
}

func (n *node) Session() shard.SessionID {
	n.looks.Add(1)
	return shard.SessionID(n.session.Load())
}
func (n *node) DirectoryID() shard.DirectoryID { return n.directory }
func (n *node) LeaseUntil() time.Duration      { return time.Duration(n.lease.Load()) }
func (n *node) Report(r shard.Report) {
	select {
	case n.group.reports <- r:
	default: // it is repeated
	}
}

const forever = time.Hour

// now is the clock that leases are counted on in tests.
var began = time.Now()

func now() time.Duration { return time.Since(began) + forever }

func newGroup(t testing.TB, size int, types ...entity.Definition) *group {
	return newGroupOf(t, size, func(*node) {}, types...)
}

// newGroupOf has each node prepared before it starts.
func newGroupOf(t testing.TB, size int, prepare func(*node), types ...entity.Definition) *group {
	g := &group{t: t, types: entity.Types(types...), view: shard.NewView(), reports: make(chan shard.Report, 1024)}
	d := &shard.Delta{Index: 1, Group: "group"}
	for _, def := range types {
		d.Types = append(d.Types, def.Spec())
	}
	g.view, _ = g.view.With(d)
	for i := range size {
		id := shard.NodeID(fmt.Sprintf("n%d", i+1))
		n := &node{group: g, id: id, dir: t.TempDir(), directory: shard.DirectoryID("dir-" + id)}
		g.nodes = append(g.nodes, n)
		prepare(n)
		n.start()
	}
	done := make(chan struct{})
	go g.coordinate(done)
	t.Cleanup(func() {
		close(done)
		for _, n := range g.nodes {
			n.stop()
		}
	})
	return g
}

// shortLog is so short that every test of some length runs over compactions, on primaries and replicas.
const shortLog = 40

// logLength is what a node of a test has as its limit; benchmarks run with what users get.
func logLength(t testing.TB) int {
	if _, bench := t.(*testing.B); bench {
		return 0
	}
	return shortLog
}

// start begins a new life of the node: a new session, on the same directory.
func (n *node) start() {
	g, t := n.group, n.group.t
	t.Helper()
	var err error
	logs := region.NewLogs()
	n.options.Directory, n.options.Reader = n.directory, logs.Reader
	n.limits.Log = cmp.Or(n.limits.Log, logLength(t))
	if n.journal, err = journal.Open(filepath.Join(n.dir, "journal"), n.options); err != nil {
		t.Fatal(err)
	}
	if n.port, err = transport.Listen(transport.Config{Node: n.id, Bind: "127.0.0.1:0", Dialer: n.wires.dial}); err != nil {
		t.Fatal(err)
	}
	n.port.SetGroup("group")
	var log hclog.Logger
	if os.Getenv("REGION_LOG") != "" {
		log = hclog.New(&hclog.LoggerOptions{Name: string(n.id), Level: hclog.Debug})
	}
	n.region, err = region.New(region.Config{
		Node: n.id, Journal: n.journal, Logs: logs, Port: n.port, Types: g.types, Directory: n, Logger: log, Clock: now, Limits: n.limits,
	})
	if err != nil {
		t.Fatal(err)
	}
	n.region.Register(n.port.Server())
	go n.port.Serve()
	n.lease.Store(int64(now() + forever))
	g.mu.Lock()
	g.sessions++
	session := g.sessions
	g.mu.Unlock()
	n.session.Store(uint64(session))
	if n.stale != nil {
		n.region.Update(n.stale)
	}
	if n.stranger != nil {
		n.stranger()
	}
	n.turn(true)
	g.change(func(d *shard.Delta) {
		d.Members = []shard.Member{{ID: n.id, Addr: n.port.Addr(), Directory: n.directory, Session: session}}
		d.Sessions = []shard.Session{{ID: session, Node: n.id, Directory: n.directory}}
	})
}

// turn says whether the node is up, and returns whether it was: reports are carried out meanwhile.
func (n *node) turn(up bool) (was bool) {
	n.group.mu.Lock()
	defer n.group.mu.Unlock()
	was, n.up = n.up, up
	return was
}

// stop ends the node's process, orderly or not: nobody is told.
func (n *node) stop() {
	if !n.turn(false) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	gone, stop := context.WithCancel(ctx)
	stop()
	n.region.Close(gone)
	if err := n.port.Close(ctx); err != nil {
		n.group.t.Errorf("close port of %s: %v", n.id, err)
	}
	if err := n.region.Close(ctx); err != nil {
		stacks := make([]byte, 1<<20)
		n.group.t.Errorf("close region of %s: %v\n%s", n.id, err, stacks[:runtime.Stack(stacks, true)])
	}
	if err := n.journal.Close(); err != nil && !n.broken {
		n.group.t.Errorf("close journal of %s: %v", n.id, err)
	}
}

// change applies one delta everywhere.
func (g *group) change(fill func(d *shard.Delta)) {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	d := &shard.Delta{Index: g.view.Index + 1, LastSession: g.sessions}
	fill(d)
	v, err := g.view.With(d)
	if err != nil {
		g.t.Fatal(err)
	}
	g.view = v
	for _, n := range g.nodes {
		if n.up {
			n.region.Update(v)
		}
	}
}

// since makes a change that was decided by what the placement was, and none when it is not that any more.
func since(was *shard.Placement, change func(p *shard.Placement)) func(p *shard.Placement) {
	return func(p *shard.Placement) {
		if p.Epoch == was.Epoch && p.Version == was.Version && p.Status == was.Status {
			change(p)
		}
	}
}

// edit changes one placement.
func (g *group) edit(id shard.ID, edit func(p *shard.Placement)) {
	g.t.Helper()
	g.change(func(d *shard.Delta) {
		p := shard.Placement{Shard: id}
		if old := g.view.Placement(id); old != nil {
			p = *old
		}
		p.Changed = d.Index
		edit(&p)
		if err := p.Check(); err != nil {
			g.t.Fatal(err)
		}
		d.Placements = append(d.Placements, p)
	})
}

// place forms a shard; the first node is its preferred owner.
func (g *group) place(id shard.ID, nodes ...int) {
	g.t.Helper()
	spec := g.spec(id.Type)
	if spec.Volatile {
		g.edit(id, func(p *shard.Placement) {
			n := g.nodes[nodes[0]]
			p.Status, p.Epoch, p.Node, p.Session = shard.Establishing, p.Epoch+1, n.id, n.Session()
		})
		return
	}
	g.edit(id, func(p *shard.Placement) {
		p.Status, p.WriteQuorum = shard.Forming, spec.WriteQuorum()
		for _, i := range nodes {
			g.copies++
			p.Copies = append(p.Copies, shard.Copy{ID: g.copies, Node: g.nodes[i].id, Directory: g.nodes[i].directory, State: shard.CopyMinted})
		}
	})
}

// placeAll forms every shard of a type, owners taking turns, and waits until all serve.
func (g *group) placeAll(t shard.TypeName) {
	g.t.Helper()
	spec := g.spec(t)
	for i := range spec.Shards {
		var nodes []int
		for k := range spec.Replicas + 1 {
			nodes = append(nodes, (int(i)+k)%len(g.nodes))
		}
		g.place(shard.ID{Type: t, Number: shard.Number(i)}, nodes...)
	}
	for i := range spec.Shards {
		g.await(shard.ID{Type: t, Number: shard.Number(i)}, shard.Active)
	}
}

// coordinate does what the coordinator does about reports, until done.
func (g *group) coordinate(done <-chan struct{}) {
	for {
		select {
		case r := <-g.reports:
			g.reported(r)
		case <-done:
			return
		}
	}
}

func (g *group) reported(r shard.Report) {
	g.mu.Lock()
	watcher, deaf := g.watcher, g.deaf
	g.mu.Unlock()
	if watcher != nil {
		watcher(r)
	}
	p := g.placement(r.Shard)
	if p == nil || r.Kind == deaf || g.moved(p, r) {
		return
	}
	switch {
	case r.Kind == shard.ReportReady && p.Status == shard.Forming:
		g.edit(r.Shard, func(p *shard.Placement) { ready(g, p, r.Copy) })
	case r.Kind == shard.ReportEstablished && p.Status == shard.Establishing && r.Epoch == p.Epoch:
		g.edit(r.Shard, since(p, activated))
	}
}

func activated(p *shard.Placement) {
	p.Status, p.ActiveEpoch, p.ActivePrimary = shard.Active, p.Epoch, p.Primary
	p.ActiveSession, p.ActiveNode = p.Session, p.Node
}

func ready(g *group, p *shard.Placement, id shard.CopyID) {
	copies, all := make([]shard.Copy, len(p.Copies)), true
	copy(copies, p.Copies)
	for i := range copies {
		if copies[i].ID == id {
			copies[i].State = shard.CopyReady
		}
		all = all && copies[i].State == shard.CopyReady
	}
	p.Copies = copies
	if all {
		elect(g, p, copies[0])
	}
}

// lost notes which copies are gone. A shard whose primary's is has none any more, and learners are let go of.
func lost(p *shard.Placement, gone func(shard.Copy) bool) {
	p.Copies = slices.Clone(p.Copies)
	for i := range p.Copies {
		if c := &p.Copies[i]; c.State != shard.CopyLost && gone(*c) {
			c.State = shard.CopyLost
			p.Version++
			if c.ID == p.Primary {
				p.Epoch, p.Status, p.Primary, p.Node, p.Session = p.Epoch+1, shard.Recovering, 0, "", 0
				p.HandTo, p.HandNode = 0, ""
			}
		}
	}
	before := len(p.Learners)
	p.Learners = slices.DeleteFunc(slices.Clone(p.Learners), func(l shard.Learner) bool { return gone(l.Copy) })
	if len(p.Learners) < before {
		p.Version++
	}
}

func elect(g *group, p *shard.Placement, c shard.Copy) {
	if p.Status == shard.Forming {
		p.Epoch++
	}
	p.Status, p.Primary, p.Node = shard.Establishing, c.ID, c.Node
	p.Session = g.view.Members[c.Node].Session
}

// watch lets a test see every report.
func (g *group) watch(see func(shard.Report)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watcher = see
}

func (g *group) placement(id shard.ID) *shard.Placement {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.view.Placement(id)
}

// spec returns the type's, which no change of the map touches.
func (g *group) spec(of shard.TypeName) shard.Spec {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.view.Types[of].Spec
}

// shardOf returns the shard that holds an entity.
func (g *group) shardOf(of shard.TypeName, e entity.ID) shard.ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	id, _ := g.view.Locate(of, e)
	return id
}

// recover runs a failover by hand: a new epoch, Seal to whoever is up, and the most advanced copy elected.
func (g *group) recover(id shard.ID) {
	g.t.Helper()
	g.edit(id, func(p *shard.Placement) {
		p.Epoch, p.Status, p.Primary, p.Node, p.Session = p.Epoch+1, shard.Recovering, 0, "", 0
	})
	p := g.placement(id)
	var best shard.Sealed
	answered := 0
	for _, c := range p.Copies {
		n := g.node(c.Node)
		if !n.up || c.State == shard.CopyLost {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		sealed := n.region.Seal(ctx, []shard.SealItem{{Shard: id, Copy: c.ID, Epoch: p.Epoch}})
		cancel()
		if len(sealed) != 1 || sealed[0].Fault != nil {
			g.t.Fatalf("seal copy %d on %s: %+v", c.ID, c.Node, sealed)
		}
		answered++
		if order := sealed[0].Last.Compare(best.Last); best.Copy == 0 || order > 0 || order == 0 && c.Node == g.favourite {
			best = sealed[0]
		}
	}
	if answered < p.RecoveryQuorum() {
		g.t.Fatalf("%d copies of %s answered, %d are needed", answered, id, p.RecoveryQuorum())
	}
	g.edit(id, func(p *shard.Placement) {
		c, _ := p.Copy(best.Copy)
		elect(g, p, c)
	})
}

// lead makes the node's copy the primary, by seals and an election in which it ties with the best.
func (g *group) lead(id shard.ID, n *node) {
	g.t.Helper()
	for g.placement(id).Node != n.id {
		other := g.node(g.placement(id).Node)
		until(g.t, "copies are level", func() bool {
			return hosted(g.t, n, id).Durable == hosted(g.t, other, id).Last
		})
		g.prefer(n)
		g.recover(id)
		g.await(id, shard.Active)
	}
}

// prefer makes the node win ties.
func (g *group) prefer(n *node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.favourite = n.id
}

func (g *group) node(id shard.NodeID) *node {
	for _, n := range g.nodes {
		if n.id == id {
			return n
		}
	}
	g.t.Fatalf("no node %s", id)
	return nil
}

// await waits until the shard has the status.
func (g *group) await(id shard.ID, s shard.Status) {
	g.t.Helper()
	until(g.t, fmt.Sprintf("%s is %s", id, s), func() bool {
		p := g.placement(id)
		return p != nil && p.Status == s
	})
}

// until waits for a condition that other goroutines bring about.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("still not: %s", what)
		}
	}
}
