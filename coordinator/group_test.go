package coordinator_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"muster/coordinator"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// patience bounds every wait for something that will happen. It is long for a machine that does other things as well.
const patience = 20 * time.Second

// quick are times that let a test see several leases pass.
func quick() coordinator.Times {
	return coordinator.Times{Lease: time.Second, Heartbeat: 250 * time.Millisecond, CommitTimeout: 10 * time.Millisecond}
}

// group is a set of nodes in this process, over real loopback sockets, with copies that are kept in memory.
type group struct {
	t        *testing.T
	root     string // of the data directories
	seeds    []string
	nodes    map[shard.NodeID]*node
	hosts    []shard.Spec
	change   func(*coordinator.Config) // for startAll; may be nil
	patience time.Duration
}

// node is one node. Its directory, address and copies stay when it is stopped.
type node struct {
	g         *group
	id        shard.NodeID
	path      string
	addr      string
	copies    *copies
	directory *coordinator.Directory
	port      *transport.Port
	ice       *ice // nil: it never stands still
	*coordinator.Coordinator
	served sync.WaitGroup
}

// No node leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newGroup prepares n founding nodes, n1 and so on, without starting any. Most of a group's time is waiting for
// leases and elections, so groups run beside each other.
func newGroup(t *testing.T, n int, hosts ...shard.Spec) *group {
	t.Helper()
	t.Parallel()
	return newLoneGroup(t, n, hosts...)
}

// newLoneGroup is newGroup for a test that keeps the machine busy: beside it groups would lose their leaders and leases.
func newLoneGroup(t *testing.T, n int, hosts ...shard.Spec) *group {
	t.Helper()
	root := t.TempDir() // removed after the nodes are gone
	g := &group{t: t, root: root, nodes: map[shard.NodeID]*node{}, hosts: hosts, patience: patience}
	t.Cleanup(func() {
		for _, n := range g.nodes {
			n.kill()
		}
	})
	for i := range n {
		x := g.add(shard.NodeID(fmt.Sprintf("n%d", i+1)))
		g.seeds = append(g.seeds, x.addr)
	}
	return g
}

// add prepares one more node. It is no seed.
func (g *group) add(id shard.NodeID) *node {
	g.t.Helper()
	n := &node{g: g, id: id, path: filepath.Join(g.root, string(id)), addr: freeAddr(g.t)}
	n.copies = newCopies(n)
	g.nodes[id] = n
	return n
}

var addrs atomic.Uint32

// freeAddr is an address of this machine that nobody else uses: each has a loopback address of its own, so that no
// outgoing connection takes the port before a node listens, or while it is down.
func freeAddr(t *testing.T) string {
	t.Helper()
	n := addrs.Add(1)
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+os.Getpid()%250, 1+n/250, 1+n%250))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// config is what the node starts with.
func (n *node) config() coordinator.Config {
	return coordinator.Config{
		Node: n.id, Addr: n.addr, Directory: n.directory, Port: n.port, Seeds: n.g.seeds, Hosts: n.g.hosts, Times: quick(),
		Logger: testLog(n.id), OnView: n.copies.update, Seal: n.copies.seal,
	}
}

// testLog shows what happens when MUSTER_TEST_LOG is set.
func testLog(id shard.NodeID) hclog.Logger {
	level := hclog.LevelFromString(os.Getenv("MUSTER_TEST_LOG"))
	if level == hclog.NoLevel {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: string(id), Level: level, Output: os.Stderr})
}

// open makes the node's parts and lets the port serve. Change may alter the configuration.
func (n *node) open(change func(*coordinator.Config)) error {
	var err error
	if n.directory, err = coordinator.OpenDirectory(n.path); err != nil {
		return err
	}
	at := transport.Config{Node: n.id, Bind: n.addr, Advertise: n.addr}
	if n.ice != nil {
		l, err := net.Listen("tcp", n.addr)
		if err != nil {
			n.directory.Close()
			return err
		}
		at.Listener, at.Dialer = iced{l, n.ice}, n.ice.dial
	}
	if n.port, err = transport.Listen(at); err != nil {
		n.directory.Close()
		return err
	}
	cfg := n.config()
	if change != nil {
		change(&cfg)
	}
	if n.Coordinator, err = coordinator.New(cfg); err != nil {
		n.release()
		return err
	}
	wire.RegisterPeerServer(n.port.Server(), n.copies)
	n.copies.attach(n.Coordinator)
	port := n.port
	n.served.Go(func() { port.Serve() })
	return nil
}

// start brings the node up, or fails as it failed, leaving nothing behind.
func (n *node) start(change func(*coordinator.Config)) error {
	if err := n.open(change); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), n.g.patience)
	defer cancel()
	err := n.Start(ctx)
	if err != nil {
		n.kill()
	}
	return err
}

func (n *node) release() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n.port.Close(ctx)
	n.served.Wait()
	n.directory.Close()
	n.port, n.directory, n.Coordinator = nil, nil, nil
}

// kill stops the node as a crash would.
func (n *node) kill() {
	if n.Coordinator == nil {
		return
	}
	n.copies.attach(nil)
	n.Kill()
	n.release()
}

// stop takes the node out in good order.
func (n *node) stop() {
	n.g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		n.g.t.Errorf("close %s: %v", n.id, err)
	}
	n.copies.attach(nil)
	n.release()
}

// startAll starts the nodes together.
func (g *group) startAll() {
	g.t.Helper()
	var all sync.WaitGroup
	for _, n := range g.nodes {
		if n.Coordinator != nil {
			continue
		}
		all.Go(func() {
			if err := n.start(g.change); err != nil {
				g.t.Errorf("start %s: %v", n.id, err)
			}
		})
	}
	all.Wait()
	if g.t.Failed() {
		g.t.FailNow()
	}
}

// others are all nodes but one, in no order.
func (g *group) others(but *node) []*node {
	var all []*node
	for _, n := range g.nodes {
		if n != but {
			all = append(all, n)
		}
	}
	return all
}

// leader waits until the running nodes agree on a leader among them.
func (g *group) leader() *node {
	g.t.Helper()
	var found *node
	g.eventually("the nodes agree on a leader", func() error {
		found = nil
		for _, n := range g.nodes {
			if n.Coordinator == nil {
				continue
			}
			id, _, _ := n.Leader()
			switch l := g.nodes[id]; {
			case l == nil || l.Coordinator == nil:
				return fmt.Errorf("%s knows leader %q", n.id, id)
			case found != nil && found != l:
				return fmt.Errorf("%s knows leader %s, another knows %s", n.id, id, found.id)
			default:
				found = l
			}
		}
		return nil
	})
	return found
}

// underOneLeader checks what depends on who leads, and checks it again when the lead has changed meanwhile.
func (g *group) underOneLeader(check func(leader *node) error) {
	g.t.Helper()
	g.eventually("a leader leads for as long as it takes", func() error {
		leader := g.leader()
		_, _, term := leader.Leader()
		fault := check(leader)
		if _, _, now := g.leader().Leader(); now != term {
			return fmt.Errorf("term %d became %d", term, now)
		}
		if fault != nil {
			g.t.Error(fault)
		}
		return nil
	})
}

// eventually polls until the condition holds.
func (g *group) eventually(what string, condition func() error) {
	g.t.Helper()
	deadline := time.After(g.patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			g.t.Fatalf("not in %s: %s: %v", g.patience, what, err)
		}
	}
}

// everyMap waits until the map of every running node satisfies the condition.
func (g *group) everyMap(what string, condition func(*shard.View) error) {
	g.t.Helper()
	g.eventually(what, func() error {
		for _, n := range g.nodes {
			if n.Coordinator == nil {
				continue
			}
			if err := condition(n.View()); err != nil {
				return fmt.Errorf("on %s: %w", n.id, err)
			}
		}
		return nil
	})
}

// up says that exactly the named members are up.
func up(ids ...shard.NodeID) func(*shard.View) error {
	return func(v *shard.View) error {
		want := map[shard.NodeID]bool{}
		for _, id := range ids {
			want[id] = true
			if !v.Up(id) {
				return fmt.Errorf("%s is not up at %d", id, v.Index)
			}
		}
		for id := range v.Members {
			if v.Up(id) && !want[id] {
				return fmt.Errorf("%s is up at %d", id, v.Index)
			}
		}
		return nil
	}
}

// active says that every shard of the type is served by a live session.
func active(name shard.TypeName) func(*shard.View) error {
	return func(v *shard.View) error {
		t := v.Types[name]
		if t == nil {
			return fmt.Errorf("type %s is unknown at %d", name, v.Index)
		}
		for i, p := range t.Placements {
			if p == nil || p.Status != shard.Active || v.Ended(p.Session) {
				return fmt.Errorf("shard %d is not active at %d: %+v", i, v.Index, p)
			}
		}
		return nil
	}
}
