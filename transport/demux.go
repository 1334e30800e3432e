package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	raftByte = 0x01                               // the first byte of a Raft stream
	preface  = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" // the first bytes of HTTP/2, hence of gRPC
)

var errForeign = errors.New("the first bytes are neither Raft's nor gRPC's")

// conn is an accepted connection after its handshake. Reads begin with the bytes the demultiplexer looked at.
//
// Until the protocol on top says that it has settled, by clearing the deadline, no later deadline than the handshake's
// takes effect: without that, each stage would grant a silent peer its own five seconds.
type conn struct {
	net.Conn                      // the TLS connection when there is one, otherwise the raw one
	host     string               // the peer's IP address
	state    *tls.ConnectionState // nil in plaintext
	limit    time.Time            // when the handshake must be over
	census   *census
	pending  bool // owned by census
	once     sync.Once

	mu struct {
		sync.Mutex
		settled bool
		head    []byte // looked at, not yet read
	}
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	if len(c.mu.head) > 0 {
		n := copy(b, c.mu.head)
		c.mu.head = c.mu.head[n:]
		c.mu.Unlock()
		return n, nil
	}
	c.mu.Unlock()
	return c.Conn.Read(b)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		c.census.gone(c)
		err = c.Conn.Close()
	})
	return err
}

// SetDeadline implements net.Conn. The zero time settles the connection.
func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	settling := t.IsZero() && !c.mu.settled
	if settling {
		c.mu.settled = true
	} else if !c.mu.settled && t.After(c.limit) {
		t = c.limit
	}
	c.mu.Unlock()
	if settling {
		c.census.settled(c)
	}
	return c.Conn.SetDeadline(t)
}

// greet runs the handshake of one accepted connection and hands it to the lane it asked for. It owns the connection until then.
func (p *Port) greet(c *conn) {
	c.SetDeadline(c.limit)
	err := p.shake(c)
	if err == nil {
		return
	}
	c.Close()
	p.counters.refused.Add(1)
	p.log.Debug("connection refused", "peer", c.host, "error", err)
}

func (p *Port) shake(c *conn) error {
	if p.serverTLS != nil {
		ctx, cancel := context.WithDeadline(context.Background(), c.limit)
		defer cancel()
		secure := tls.Server(c.Conn, p.serverTLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			return err
		}
		state := secure.ConnectionState()
		c.Conn, c.state = secure, &state
	}
	head := make([]byte, len(preface))
	if _, err := io.ReadFull(c.Conn, head[:1]); err != nil {
		return err
	}
	switch head[0] {
	case raftByte:
		return p.raft.receive(c)
	case preface[0]:
		return p.receiveHTTP(c, head)
	default:
		return errForeign
	}
}

// receiveHTTP checks the whole preface here: gRPC would wait for its end, and log a sentence for each stranger.
func (p *Port) receiveHTTP(c *conn, head []byte) error {
	for have := 1; have < len(preface); {
		n, err := c.Conn.Read(head[have:])
		have += n
		if string(head[:have]) != preface[:have] {
			return errForeign
		}
		if err != nil && have < len(preface) {
			return err
		}
	}
	c.mu.Lock()
	c.mu.head = head
	c.mu.Unlock()
	if !p.calls.offer(c, c.limit) {
		return net.ErrClosed
	}
	return nil
}
