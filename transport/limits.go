package transport

import (
	"cmp"
	"net"
	"sync"
	"time"
)

// Flow-control windows, in bytes: what a peer may send before the receiver has read it, for one stream and for a connection.
// Fixed, because a window that gRPC sizes itself costs a ping and its answer for each message of a quiet stream; wide enough
// for 1 Gbit/s over 30 ms.
const (
	streamWindow = 4 << 20
	connWindow   = 8 << 20
)

// Limits bounds what strangers can make a port spend. A zero field means its default.
type Limits struct {
	Handshake         time.Duration // from accept to the first stream: TLS, first byte and prefaces together; 5 s
	Pending           int           // connections inside that time, in all; 512
	PendingPerAddress int           // of them from one IP address; 128
	Conns             int           // connections, in all; 8,192
	ConnsPerAddress   int           // of them from one IP address; 2,048
	Streams           uint32        // concurrent gRPC streams of one connection; 2,048
	Request           int           // bytes of one message a caller may send; 5 MiB, for a batch of 4 MiB and its frame
	Reply             int           // bytes of one message a server may send; 64 MiB, for a whole map
	Headers           uint32        // bytes of the header list of one call; 16 KiB
	Drain             time.Duration // how long Drain waits for running calls, whatever its context says; 5 s
}

func (l Limits) withDefaults() Limits {
	l.Handshake = cmp.Or(l.Handshake, 5*time.Second)
	l.Pending = cmp.Or(l.Pending, 512)
	l.PendingPerAddress = cmp.Or(l.PendingPerAddress, 128)
	l.Conns = cmp.Or(l.Conns, 8192)
	l.ConnsPerAddress = cmp.Or(l.ConnsPerAddress, 2048)
	l.Streams = cmp.Or(l.Streams, 2048)
	l.Request = cmp.Or(l.Request, 5<<20)
	l.Reply = cmp.Or(l.Reply, 64<<20)
	l.Headers = cmp.Or(l.Headers, 16<<10)
	l.Drain = cmp.Or(l.Drain, 5*time.Second)
	return l
}

// A census counts connections by IP address, those still shaking hands and all that are open. Every connection the port
// accepted is in it until closed, so closing the port can close them all. Safe for concurrent use.
type census struct {
	limits Limits
	mu     struct {
		sync.Mutex
		closed  bool
		pending map[string]int
		open    map[string]int
		waiting int // sum of pending
		conns   map[*visitor]struct{}
	}
}

func newCensus(limits Limits) *census {
	c := &census{limits: limits}
	c.mu.pending, c.mu.open = map[string]int{}, map[string]int{}
	c.mu.conns = map[*visitor]struct{}{}
	return c
}

// admit counts a new connection as open and pending, or says which limit forbids it.
func (c *census) admit(v *visitor) (full string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.mu.closed:
		return "closed", false
	case c.mu.waiting >= c.limits.Pending:
		return "Pending", false
	case c.mu.pending[v.host] >= c.limits.PendingPerAddress:
		return "PendingPerAddress", false
	case len(c.mu.conns) >= c.limits.Conns:
		return "Conns", false
	case c.mu.open[v.host] >= c.limits.ConnsPerAddress:
		return "ConnsPerAddress", false
	}
	c.mu.conns[v] = struct{}{}
	c.mu.open[v.host]++
	c.mu.pending[v.host]++
	c.mu.waiting++
	v.pending = true
	return "", true
}

// settled counts the connection as no longer pending. Repeating it is harmless.
func (c *census) settled(v *visitor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(v)
}

func (c *census) settle(v *visitor) {
	if v.pending {
		v.pending = false
		c.mu.waiting--
		decrement(c.mu.pending, v.host)
	}
}

// gone forgets a closed connection. Repeating it is harmless.
func (c *census) gone(v *visitor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.mu.conns[v]; !known {
		return
	}
	c.settle(v)
	delete(c.mu.conns, v)
	decrement(c.mu.open, v.host)
}

// closeAll closes every connection and admits no more.
func (c *census) closeAll() {
	c.mu.Lock()
	c.mu.closed = true
	all := make([]*visitor, 0, len(c.mu.conns))
	for v := range c.mu.conns {
		all = append(all, v)
	}
	c.mu.Unlock()
	for _, v := range all {
		v.Close()
	}
}

func (c *census) count() (open, pending int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.conns), c.mu.waiting
}

func decrement(m map[string]int, key string) {
	if m[key]--; m[key] <= 0 {
		delete(m, key)
	}
}

// hostOf is the IP address without the port: what caps count by.
func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}
