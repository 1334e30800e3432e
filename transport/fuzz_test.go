package transport_test

import (
	"io"
	"testing"
	"time"

	"muster/transport"
)

// Whatever bytes a stranger opens with, the port closes the connection in time and serves the next one.
func FuzzOpening(f *testing.F) {
	for _, seed := range []string{
		"", "\x01", "P", http2Preface, "\x01MSTR\x01\x02g1\x01a", "\x01MSTR\x01\xff", "\x01MSTR\x02\x00\x00", "GET / HTTP/1.1\r\n\r\n",
		http2Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00", http2Preface + "\x00\xff\xff\x01\x04\x00\x00\x00\x01",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, opening []byte) {
		l := newPipes()
		a := start(t, "a", "g1", func(c *transport.Config) {
			c.Listener, c.Dialer, c.Limits.Handshake = l, l.dial, 20*time.Millisecond
		})
		c, err := l.dial(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		go c.Write(opening)
		if welcome, ok := greeted(opening); ok {
			io.ReadFull(c, make([]byte, welcome)) // a member's stream stays open
		} else if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("not closed: %v", err)
		}
		if _, err := hello(t, a.Peer("a")); err != nil {
			t.Errorf("the next caller got %v", err)
		}
	})
}

// greeted reports whether the opening is that of a Raft stream that is let in, and the length of the answer, or of a gRPC
// client that completes its settings: both stay open.
func greeted(opening []byte) (answer int, ok bool) {
	const member = "\x01MSTR\x01\x02g1"
	if len(opening) > len(member) && string(opening[:len(member)]) == member {
		if n := int(opening[len(member)]); len(opening) >= len(member)+1+n {
			return 3, true
		}
	}
	const settings = len(http2Preface) + 9
	return 0, len(opening) >= settings && string(opening[:len(http2Preface)]) == http2Preface
}
