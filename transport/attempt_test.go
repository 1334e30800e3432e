package transport_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// A call for which there is no connection was not sent, and says in plain words why there is none: of nodes that are away, and of those with which
// no handshake comes about.
func TestUnsentCallsSayWhy(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	a := start(t, "a", "g1", withTLS(ca.ok(t, "spiffe://prod/server/a")))
	plaintext := start(t, "b", "g1")
	carol := func() *tls.Config { return ca.ok(t, "spiffe://prod/client/carol") }
	doubting, stranger, nobody := carol(), other.ok(t, "spiffe://prod/client/x"), carol()
	doubting.RootCAs, stranger.RootCAs, nobody.Certificates = other.pool, ca.pool, nil
	failing := func(err error) transport.ClientOptions {
		return transport.ClientOptions{Dialer: func(context.Context, string) (net.Conn, error) {
			return nil, fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Net: "tcp", Err: err})
		}}
	}
	for _, c := range []struct {
		addr string
		how  transport.ClientOptions
		want string
	}{
		{freeAddr(t), transport.ClientOptions{}, "connection refused"},
		{a.Addr(), failing(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "no route to it"},
		{a.Addr(), failing(os.NewSyscallError("connect", syscall.ETIMEDOUT)), "no answer in time"},
		{a.Addr(), failing(&net.DNSError{Err: "no such host", Name: "n9", IsNotFound: true}), "no host of that name"},
		{a.Addr(), failing(context.DeadlineExceeded), "no answer in time"},
		{a.Addr(), transport.ClientOptions{}, "it closed the connection, as a node does that uses TLS, and so does what is no node"},
		{plaintext.Addr(), transport.ClientOptions{TLS: carol()}, "it closed the connection in the TLS handshake, as a node does that uses no TLS"},
		{a.Addr(), transport.ClientOptions{TLS: doubting}, "TLS: its certificate is signed by an authority that we do not know"},
		{a.Addr(), transport.ClientOptions{TLS: stranger}, "TLS: it refuses us: tls: unknown certificate authority"},
		{a.Addr(), transport.ClientOptions{TLS: nobody}, "TLS: it refuses us: tls: certificate required"},
	} {
		_, err := hello(t, client(t, c.addr, c.how))
		if got := transport.Typed(err); c.addr == a.Addr() && c.how.TLS != nil && got != nil && got.Detail == "it closed the connection" {
			continue // that overtook the reason
		}
		if want := (shard.Error{Code: shard.CodeUnavailable, Detail: c.want}); transport.Typed(err) == nil || *transport.Typed(err) != want {
			t.Errorf("%v, want %v", err, &want)
		}
	}
}

// What waits for a connection until its time is up was not sent either.
func TestUnsentInTime(t *testing.T) {
	hangs := transport.ClientOptions{Dialer: func(ctx context.Context, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := helloWithin(ctx, client(t, "n9:7420", hangs))
	if e := transport.Typed(err); e == nil || e.Code != shard.CodeTimeout || e.Outcome != shard.NotApplied {
		t.Errorf("%v", err)
	}
}

// What waits for a connection that the port gives up was not sent, and may be asked of another node: its own time is not over.
func TestHungUpIsNoTimeout(t *testing.T) {
	const addr = "n9:7420"
	dialed := make(chan struct{}, 1)
	p, err := transport.Listen(transport.Config{Node: "a", Bind: "127.0.0.1:0", Dialer: func(ctx context.Context, _ string) (net.Conn, error) {
		dialed <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := wire.NewGroupClient(p.Peer(addr)).Hello(t.Context(), &wire.HelloRequest{})
		ended <- err
	}()
	<-dialed
	p.HangUp(addr)
	if e := transport.Typed(<-ended); e == nil || e.Code != shard.CodeUnavailable || e.Outcome != shard.NotApplied {
		t.Errorf("%v", e)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
