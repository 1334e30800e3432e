package transport_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"muster/shard"
	"muster/transport"
)

const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Whatever a stranger says, or does not say, its connection is closed, at the latest when the handshake's five seconds
// are over, and whoever behaves is served meanwhile. Virtual time, so the five seconds are exact.
func TestNonsenseIsClosed(t *testing.T) {
	for _, c := range []struct {
		name   string
		say    []string // one piece a second
		within time.Duration
	}{
		{"silence", nil, 5 * time.Second},
		{"a byte of no protocol", []string{"\x00"}, 0},
		{"HTTP/1", []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n"}, 0},
		{"a TLS hello on a plaintext port", []string{"\x16\x03\x01\x02\x00\x01"}, 0},
		{"a P and garbage", []string{"P", "ORK"}, time.Second},
		{"POST, like the preface at first", []string{"POST / HTTP/1.1\r\n"}, 0},
		{"the preface one byte a second", strings.Split(http2Preface, ""), 5 * time.Second},
		{"the preface and then silence", []string{http2Preface}, 5 * time.Second},
		{"the preface, a wait, and then silence", []string{"P", "R", "I", http2Preface[3:]}, 5 * time.Second},
		{"the preface and garbage", []string{http2Preface + strings.Repeat("\xff", 100)}, time.Second},
		{"Raft's byte and silence", []string{"\x01"}, 5 * time.Second},
		{"Raft's byte and garbage", []string{"\x01", "garbage"}, time.Second},
		{"Raft's byte and magic one byte a second", strings.Split("\x01MSTR\x01\x02g1\x01a", ""), 5 * time.Second},
		{"a Raft stream with a length that lies", []string{"\x01MSTR\x01\xffg1"}, 5 * time.Second},
		{"a Raft stream of another version", []string{"\x01MSTR\x63\x02g1\x01a"}, 0},
		{"a Raft stream of another group", []string{"\x01MSTR\x01\x02g2\x01a"}, 0},
		{"a Raft stream of no group", []string{"\x01MSTR\x01\x00\x01a"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { nonsense(t, c.say, c.within) })
		})
	}
}

func nonsense(t *testing.T, say []string, within time.Duration) {
	l := newPipes()
	a := start(t, "a", "g1", func(c *transport.Config) { c.Listener, c.Dialer = l, l.dial })
	c, err := l.dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	var talk sync.WaitGroup
	talk.Go(func() {
		for i, piece := range say {
			if i > 0 {
				<-time.After(time.Second) // a slow stranger; the bubble's clock
			}
			if _, err := io.WriteString(c, piece); err != nil {
				return
			}
		}
	})
	if _, err := hello(t, a.Peer("a")); err != nil {
		t.Errorf("meanwhile a member got %v", err)
	}
	io.Copy(io.Discard, c) // until the port closes it
	if took := time.Since(begun); took > within {
		t.Errorf("closed after %s, want at most %s", took, within)
	}
	talk.Wait()
	c.Close()
	a.HangUp("a")
	synctest.Wait()
	if s := a.Stats(); s.Open != 0 || s.Pending != 0 || s.RaftStreams != 0 {
		t.Errorf("left over: %+v", s)
	}
	a.close(t)
}

// Thousands of half-open connections from one address fill that address's share and no more; the surplus is closed at
// once; a member at another address is served.
func TestHalfOpenFlood(t *testing.T) {
	const share = 20
	a := start(t, "a", "g1", func(c *transport.Config) {
		c.Limits.PendingPerAddress, c.Limits.Handshake = share, time.Minute // however long the flood takes to come, the first are still there
	})
	var flood []net.Conn
	defer func() {
		for _, c := range flood {
			c.Close()
		}
	}()
	for range 2000 {
		c, err := net.Dial("tcp", a.Addr())
		if err != nil {
			t.Fatal(err)
		}
		flood = append(flood, c)
	}
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	from2 := func(ctx context.Context, addr string) (net.Conn, error) { return other.DialContext(ctx, "tcp", addr) }
	c := client(t, a.Addr(), transport.ClientOptions{Dialer: from2})
	if _, err := hello(t, c); err != nil {
		t.Errorf("a member elsewhere got %v", err)
	}
	s := a.Stats()
	if s.Pending > share || s.Open > share+1 || s.Accepted != 2001 || s.Full != 2000-share {
		t.Errorf("%+v with a share of %d", s, share)
	}
	if _, err := readByte(flood[len(flood)-1]); !gone(err) {
		t.Errorf("the surplus read %v", err)
	}
}

// closing is a connection that tells when it is closed, before its peer can know.
type closing struct {
	net.Conn
	tell func()
}

func (c closing) Close() error {
	c.tell()
	return c.Conn.Close()
}

// What is closed for a limit, or for nonsense, is counted by then: whoever hears of it may look.
func TestClosedIsCounted(t *testing.T) {
	l := newPipes()
	a := start(t, "a", "g1", func(c *transport.Config) { c.Listener, c.Limits.Conns = l, 1 })
	seen := make(chan transport.Stats, 8)
	accept := func() net.Conn {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close() })
		l.conns <- closing{far, func() { seen <- a.Stats() }}
		return near
	}
	first := accept()
	accept()
	if s := <-seen; s.Full != 1 {
		t.Errorf("when one too many was closed: %+v", s)
	}
	go first.Write([]byte{0}) // the byte of no protocol
	if s := <-seen; s.Refused != 1 {
		t.Errorf("when nonsense was closed: %+v", s)
	}
}

// The caps over all addresses hold too, for connections that behave.
func TestConnectionCaps(t *testing.T) {
	for name, limits := range map[string]transport.Limits{"in all": {Conns: 2}, "by address": {ConnsPerAddress: 2}} {
		a := start(t, "a", "g1", func(c *transport.Config) { c.Limits = limits })
		for range 2 {
			if _, err := hello(t, client(t, a.Addr(), transport.ClientOptions{})); err != nil {
				t.Fatal(name, err)
			}
		}
		third := client(t, a.Addr(), transport.ClientOptions{})
		if _, err := hello(t, third); shard.CodeOf(typed(err)) != shard.CodeUnavailable {
			t.Errorf("%s: the third connection got %v", name, err)
		}
		if s := a.Stats(); s.Open != 2 || s.Full == 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func readByte(c net.Conn) (byte, error) {
	c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 1)
	_, err := c.Read(b)
	return b[0], err
}

func gone(err error) bool { return err != nil && !errors.Is(err, os.ErrDeadlineExceeded) }
