package chaos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Network carries every connection that one node of a group opens to another, so that it can keep them apart: in one
// direction or both, all traffic or Raft's or the calls alone.
//
// Nodes dial it instead of each other and say whom they want. What a cut holds back is not lost: it arrives once the cut
// heals, late, as TCP would have it.
type Network struct {
	listener net.Listener
	done     sync.WaitGroup
	held     atomic.Int64
	mu       struct {
		sync.Mutex
		names  map[string]string // of nodes, by address
		cuts   []Cut
		change chan struct{} // closed when cuts change
		closed bool
		open   map[net.Conn]struct{}
	}
}

// Traffic is a kind of stream. The zero value means all.
type Traffic byte

// The kinds: a Raft stream opens with a byte of its own, everything else are calls.
const (
	Raft  Traffic = 1
	Calls Traffic = 'P'
)

// A Cut holds back what goes from one node to another. An empty name means everyone.
type Cut struct {
	From, To string
	Only     Traffic
}

func (c Cut) holds(from, to string, kind Traffic) bool {
	return (c.From == "" || c.From == from) && (c.To == "" || c.To == to) && (c.Only == 0 || c.Only == kind)
}

// Apart cuts both directions between a node and each of the others.
func Apart(node string, others ...string) (cuts []Cut) {
	for _, other := range others {
		cuts = append(cuts, Cut{From: node, To: other}, Cut{From: other, To: node})
	}
	return cuts
}

// NewNetwork returns a network without cuts.
func NewNetwork() (*Network, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &Network{listener: l}
	n.mu.names, n.mu.change, n.mu.open = map[string]string{}, make(chan struct{}), map[net.Conn]struct{}{}
	n.done.Go(n.accept)
	return n, nil
}

// Addr is where nodes dial it; see Through.
func (n *Network) Addr() string { return n.listener.Addr().String() }

// Name says which node listens at an address.
func (n *Network) Name(addr, node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.names[addr] = node
}

// Cut replaces the cuts; none heals the network.
func (n *Network) Cut(cuts ...Cut) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.cuts = cuts
	close(n.mu.change)
	n.mu.change = make(chan struct{})
}

// Held counts the pieces of traffic that cuts have held back so far.
func (n *Network) Held() int64 { return n.held.Load() }

// Close ends every connection.
func (n *Network) Close() {
	n.listener.Close()
	n.mu.Lock()
	n.mu.closed = true
	close(n.mu.change)
	n.mu.change = make(chan struct{})
	for c := range n.mu.open {
		c.Close()
	}
	n.mu.Unlock()
	n.done.Wait()
}

// Through returns a dialer that reaches other nodes through the network at addr.
func Through(addr, node string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		d := net.Dialer{Timeout: 2 * time.Second}
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		if _, err := fmt.Fprintf(c, "%s %s\n", node, to); err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	}
}

func (n *Network) accept() {
	for {
		c, err := n.listener.Accept()
		if err != nil {
			return
		}
		n.done.Go(func() { n.carry(c) })
	}
}

// carry connects a dialer with whom it wants, and returns when both directions are over.
func (n *Network) carry(near net.Conn) {
	if !n.track(near) {
		return
	}
	defer n.drop(near)
	r := bufio.NewReader(near)
	words, err := r.ReadString('\n')
	from, addr, ok := strings.Cut(strings.TrimSpace(words), " ")
	if err != nil || !ok {
		return
	}
	first, err := r.Peek(1)
	if err != nil {
		return
	}
	kind := Traffic(first[0])
	n.mu.Lock()
	to := n.mu.names[addr]
	n.mu.Unlock()
	if !n.pass(from, to, kind) {
		return
	}
	far, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil || !n.track(far) {
		return
	}
	defer n.drop(far)
	back := make(chan struct{})
	go func() {
		defer close(back)
		n.pump(near, far, to, from, kind)
	}()
	n.pump(far, r, from, to, kind)
	<-back
}

// pump carries one direction, and takes the end of it along.
func (n *Network) pump(to net.Conn, from io.Reader, sender, receiver string, kind Traffic) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		k, err := from.Read(b)
		if !n.pass(sender, receiver, kind) {
			return
		}
		if _, writeErr := to.Write(b[:k]); err != nil || writeErr != nil {
			return
		}
	}
}

// pass waits until nothing holds this traffic back; false when the network is closed.
func (n *Network) pass(from, to string, kind Traffic) bool {
	for counted := false; ; {
		n.mu.Lock()
		change, closed, held := n.mu.change, n.mu.closed, false
		for _, c := range n.mu.cuts {
			held = held || c.holds(from, to, kind)
		}
		n.mu.Unlock()
		if closed || !held {
			return !closed
		}
		if !counted {
			counted = true
			n.held.Add(1)
		}
		<-change
	}
}

func (n *Network) track(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.closed {
		c.Close()
		return false
	}
	n.mu.open[c] = struct{}{}
	return true
}

func (n *Network) drop(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.mu.open, c)
	c.Close()
}
