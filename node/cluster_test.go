package node_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/entity"
	"muster/node"
	"muster/shard"
)

// patience is what a test waits for anything before it fails.
const patience = 30 * time.Second

// A cluster is a group of nodes in this process, with real sockets, Raft and journals.
type cluster struct {
	t       *testing.T
	configs []node.Config
	nodes   []*node.Node // nil while down
}

// loopback is an address of this machine that no other process binds to: on the one that all know, another test's listener may be given the port
// of a node while that is down, before it comes back there.
func loopback() net.IP { return net.IPv4(127, byte(1+os.Getpid()/250%250), byte(1+os.Getpid()%250), 1) }

// listen binds a port that a node takes over, and comes back to.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: loopback()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// newCluster prepares n nodes; listeners are bound first, so that every node knows all seeds.
func newCluster(t *testing.T, n int, types ...entity.Definition) *cluster {
	t.Helper()
	t.Parallel()
	c := &cluster{t: t, nodes: make([]*node.Node, n)}
	dir := t.TempDir()
	var seeds []string
	for i := range n {
		l := listen(t)
		seeds = append(seeds, l.Addr().String())
		name := fmt.Sprintf("n%d", i+1)
		c.configs = append(c.configs, node.Config{
			ID: shard.NodeID(name), Addr: l.Addr().String(), Dir: filepath.Join(dir, name), Hosts: types, Listener: l, Logger: logger(t, name),
		})
	}
	for i := range c.configs {
		c.configs[i].Seeds = seeds
	}
	t.Cleanup(func() { c.each(func(i int) { c.kill(i) }) })
	return c
}

// logger writes to the file MUSTER_TEST_LOG names, if any.
func logger(t *testing.T, name string) hclog.Logger {
	path := os.Getenv("MUSTER_TEST_LOG")
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return hclog.New(&hclog.LoggerOptions{Name: name, Output: f, Level: hclog.Debug, TimeFormat: "15:04:05.000"})
}

func (c *cluster) each(do func(i int)) {
	var wg sync.WaitGroup
	for i := range c.nodes {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

func (c *cluster) context() context.Context {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	c.t.Cleanup(cancel)
	return ctx
}

// start brings nodes up, all of them when none is named, and waits until the map shows them.
func (c *cluster) start(which ...int) {
	c.t.Helper()
	var wg sync.WaitGroup
	for i := range c.nodes {
		if len(which) > 0 && i != which[0] {
			continue
		}
		wg.Go(func() {
			began := time.Now()
			n, err := node.Start(c.context(), c.configs[i])
			if err != nil {
				c.t.Errorf("node %d: %v", i+1, err)
				return
			}
			c.nodes[i] = n
			c.configs[i].Listener = nil // the next start binds the same address
			c.t.Logf("%s started in %s", n.ID(), time.Since(began).Round(time.Millisecond))
		})
	}
	wg.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
}

func (c *cluster) kill(i int) {
	if n := c.nodes[i]; n != nil {
		n.Kill()
		c.nodes[i] = nil
	}
}

func (c *cluster) shutdown(i int) {
	c.t.Helper()
	if n := c.nodes[i]; n != nil {
		if err := n.Shutdown(c.context()); err != nil {
			c.t.Errorf("shutdown %s: %v", n.ID(), err)
		}
		c.nodes[i] = nil
	}
}

// ready waits until every node that is up sees the others and every shard is served.
func (c *cluster) ready() {
	c.t.Helper()
	began, up := time.Now(), 0
	for _, n := range c.nodes {
		if n != nil {
			up++
		}
	}
	for _, n := range c.nodes {
		if n == nil {
			continue
		}
		if err := n.WaitFor(c.context(), up); err != nil {
			c.t.Fatalf("%s: %v", n.ID(), err)
		}
		if err := n.WaitActive(c.context()); err != nil {
			c.t.Fatalf("%s: %v", n.ID(), err)
		}
	}
	c.t.Logf("all shards active after %s", time.Since(began).Round(time.Millisecond))
}

// owner is the number of the node that serves the entity.
func (c *cluster) owner(t shard.TypeName, id entity.ID) int {
	c.t.Helper()
	for _, n := range c.nodes {
		if n == nil {
			continue
		}
		s, _ := n.View().Locate(t, id)
		if p := n.View().Placement(s); p != nil && p.Status == shard.Active {
			for i := range c.configs {
				if c.configs[i].ID == p.Node {
					return i
				}
			}
		}
	}
	c.t.Fatalf("nobody serves %s %s", t, id)
	return -1
}
