package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	raftByte = 0x01                               // the first byte of a Raft stream
	preface  = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" // the first bytes of HTTP/2, hence of gRPC
)

var errForeign = errors.New("the first bytes are neither Raft's nor gRPC's")

// A visitor is an accepted connection as the system gave it, counted by the census until closed.
//
// Until the protocol on top says that it has settled, by clearing the deadline, no later deadline than the handshake's
// takes effect: without that, each stage would grant a silent peer its own five seconds.
type visitor struct {
	net.Conn
	host    string    // the peer's IP address
	limit   time.Time // when the handshake must be over
	census  *census
	pending bool // owned by census
	once    sync.Once
	settled atomic.Bool
}

// Close implements net.Conn.
func (v *visitor) Close() error {
	err := net.ErrClosed
	v.once.Do(func() {
		v.census.gone(v)
		err = v.Conn.Close()
	})
	return err
}

// SetDeadline implements net.Conn. The zero time settles the connection.
func (v *visitor) SetDeadline(t time.Time) error {
	switch {
	case v.settled.Load():
	case t.IsZero():
		v.settled.Store(true)
		v.census.settled(v)
	case t.After(v.limit):
		t = v.limit
	}
	return v.Conn.SetDeadline(t)
}

// conn is what a visitor turned out to be, once TLS and the first byte are known. Reads begin with the bytes the
// demultiplexer looked at.
type conn struct {
	net.Conn                      // the visitor, or TLS over it
	state    *tls.ConnectionState // nil in plaintext
	head     []byte               // looked at, not yet read; owned by the reader
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(b, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// abort closes a connection without a farewell: TLS would spend up to five seconds on telling a peer that does not read.
func abort(c net.Conn) {
	if secure := tlsUnder(c); secure != nil {
		secure.NetConn().Close()
	}
	c.Close()
}

func tlsUnder(c net.Conn) *tls.Conn {
	switch t := c.(type) {
	case *raftStream:
		return tlsUnder(t.Conn)
	case *conn:
		return tlsUnder(t.Conn)
	case *tls.Conn:
		return t
	}
	return nil
}

// greet runs the handshake of one accepted connection and hands it to the lane it asked for. It owns the connection until then.
func (p *Port) greet(v *visitor) {
	v.SetDeadline(v.limit)
	err := p.shake(v)
	if err == nil {
		return
	}
	p.counters.refused.Add(1)
	v.Close()
	p.log.Debug("connection refused", "peer", v.host, "error", err)
}

func (p *Port) shake(v *visitor) error {
	c := &conn{Conn: v}
	if p.serverTLS != nil {
		ctx, cancel := context.WithDeadline(context.Background(), v.limit)
		defer cancel()
		secure := tls.Server(v, p.serverTLS)
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
		return p.raft.receive(c, v.limit)
	case preface[0]:
		return p.receiveHTTP(c, head, v.limit)
	default:
		return errForeign
	}
}

// receiveHTTP checks the whole preface here: gRPC would wait for its end, and log a sentence for each stranger.
func (p *Port) receiveHTTP(c *conn, head []byte, limit time.Time) error {
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
	c.head = head
	if !p.calls.offer(c, limit) {
		return net.ErrClosed
	}
	return nil
}
