package node_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"muster/entity"
	"muster/node"
	"muster/shard"
)

// A network carries the connections between the nodes of a cluster and can keep two of them apart.
type network struct {
	mu   sync.Mutex
	at   map[string]int // node by address
	cut  map[[2]int]bool
	open map[[2]int][]net.Conn
}

func (c *cluster) network() *network {
	n := &network{at: map[string]int{}, cut: map[[2]int]bool{}, open: map[[2]int][]net.Conn{}}
	for i := range c.configs {
		n.at[c.configs[i].Addr] = i
		c.configs[i].Tuning.Dialer = func(ctx context.Context, addr string) (net.Conn, error) { return n.dial(ctx, i, addr) }
	}
	return n
}

var errCut = errors.New("the network is cut")

func pair(a, b int) [2]int { return [2]int{min(a, b), max(a, b)} }

func (n *network) dial(ctx context.Context, from int, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p := pair(from, n.at[addr])
	if n.cut[p] {
		conn.Close()
		return nil, errCut
	}
	n.open[p] = append(n.open[p], conn)
	return conn, nil
}

// isolate cuts the node off from all others, or heals that.
func (n *network) isolate(node int, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, other := range n.at {
		p := pair(node, other)
		if n.cut[p] = cut; cut {
			for _, conn := range n.open[p] {
				conn.Close()
			}
			n.open[p] = nil
		}
	}
}

// The Raft leader, then another node, is cut off from the others for longer than its lease while all three are asked;
// both own shards. The majority takes over, the lonely node confirms nothing, and after healing every account holds
// what was confirmed.
func TestPartitions(t *testing.T) {
	c := newCluster(t, 3, entity.Types(accounts, visits)...)
	n := c.network()
	c.start()
	c.ready()
	l := c.load(time.Second)
	l.confirms("whole")
	leader := slices.IndexFunc(c.configs, func(cfg node.Config) bool { return cfg.ID == c.nodes[0].Inspect().Leader })
	for _, i := range []int{leader, (leader + 1) % len(c.nodes)} {
		n.isolate(i, true)
		c.takenOver(i)
		if v, err := Visit.Ask(quick(t), c.nodes[i], "page", struct{}{}); err == nil {
			t.Errorf("n%d answers for a volatile entity after its lease: visit %d", i+1, v)
		}
		l.confirms("one apart")
		n.isolate(i, false)
		c.ready()
		l.confirms("healed")
	}
	l.end()
}

func quick(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// takenOver waits until no other node's map names the lonely one as an owner.
func (c *cluster) takenOver(lonely int) {
	c.t.Helper()
	other := c.nodes[(lonely+1)%len(c.nodes)]
	for deadline := time.Now().Add(patience); ; <-time.After(10 * time.Millisecond) {
		var all []*shard.Placement
		for _, t := range other.View().Types {
			all = append(all, t.Placements...)
		}
		if !slices.ContainsFunc(all, func(p *shard.Placement) bool {
			return p.Status != shard.Active || p.Node == c.configs[lonely].ID
		}) {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the shards of %s are not taken over", c.configs[lonely].ID)
		}
	}
}
