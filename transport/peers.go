package transport

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"muster/shard"
)

// How a caller keeps connections. The ping is gRPC's fastest; leases notice a dead node long before.
const (
	clientPing     = 10 * time.Second
	clientPingWait = 3 * time.Second
	dialTimeout    = 2 * time.Second
	firstRetry     = 50 * time.Millisecond
	slowestRetry   = time.Second
	tcpKeepAlive   = 5 * time.Second
	target         = "passthrough:///muster" // never resolved: the dialer knows the address
)

type dialer func(ctx context.Context, addr string) (net.Conn, error)

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: tcpKeepAlive}
	return d.DialContext(ctx, "tcp", addr)
}

// A line is what a connection is for.
type line struct {
	addr  string
	waits bool // calls that wait for others, see Waiting
}

// peers holds the connections to each address, dialed when first used.
type peers struct {
	port    *Port
	dial    dialer
	tls     *tls.Config    // nil in plaintext
	closing sync.WaitGroup // connections that are being closed
	mu      struct {
		sync.Mutex
		closed bool
		conns  map[line]*grpc.ClientConn
	}
}

func newPeers(p *Port, cfg Config) *peers {
	s := &peers{port: p, dial: cfg.Dialer, tls: cfg.TLS}
	if s.dial == nil {
		s.dial = dialTCP
	}
	s.mu.conns = map[line]*grpc.ClientConn{}
	return s
}

// Peer returns the connection to the node at addr, the same for every caller. It dials when first used, redials by itself
// with at most a second between attempts, and adds this node's group and id to each call. The caller does not close it.
func (p *Port) Peer(addr string) *grpc.ClientConn { return p.peers.conn(line{addr: addr}) }

// Waiting is Peer for calls that are answered when others have done something. A connection carries Limits.Streams calls at once, and
// whatever comes on top waits for one to end: such calls must not hold up a renewal.
func (p *Port) Waiting(addr string) *grpc.ClientConn {
	return p.peers.conn(line{addr: addr, waits: true})
}

func (s *peers) conn(l line) *grpc.ClientConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.mu.conns[l]; c != nil {
		return c
	}
	c, err := s.connect(l.addr)
	if err != nil {
		// Only contradictory options can fail here, and they are constants: the address is not even looked at.
		panic("transport: " + err.Error())
	}
	if s.mu.closed {
		c.Close()
		return c
	}
	s.mu.conns[l] = c
	return c
}

func (s *peers) connect(addr string) (*grpc.ClientConn, error) {
	newest := &attempt{}
	o := dialOptions(addr, s.dial, s.tls, s.port.limits, newest)
	o = append(o, identified(func() (shard.GroupID, shard.NodeID) { return s.port.Group(), s.port.node }, newest)...)
	return grpc.NewClient(target, o...)
}

// Wake makes the connections to addr, or to every peer for "", dial now instead of at the end of their pause: call it
// when the map says that a node is back.
func (p *Port) Wake(addr string) {
	p.peers.mu.Lock()
	defer p.peers.mu.Unlock()
	for l, c := range p.peers.mu.conns {
		if addr == "" || l.addr == addr {
			c.ResetConnectBackoff()
		}
	}
}

// HangUp closes the connections to addr, where nobody is looked for any more: they would be kept, and dialed on and on. Calls under way
// there fail. It does not wait for the closing, and whoever calls that address again gets another connection.
func (p *Port) HangUp(addr string) { p.peers.hangUp(func(l line) bool { return l.addr == addr }) }

func (s *peers) hangUp(gone func(line) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l, c := range s.mu.conns {
		if gone(l) {
			delete(s.mu.conns, l)
			s.closing.Go(func() { c.Close() }) // it says good-bye first, for seconds where nothing is read any more
		}
	}
}

// close closes every connection, waits for that, and lets none be made any more.
func (s *peers) close() {
	s.mu.Lock()
	s.mu.closed = true
	s.mu.Unlock()
	s.hangUp(func(line) bool { return true })
	s.closing.Wait()
}

func (s *peers) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.conns)
}

// dialSecure dials a bare connection, with TLS when the port has it.
func (p *Port) dialSecure(ctx context.Context, addr string) (net.Conn, error) {
	c, err := p.peers.dial(ctx, addr)
	if err != nil || p.peers.tls == nil {
		return c, err
	}
	secure := tls.Client(c, clientTLS(p.peers.tls, addr))
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return secure, nil
}

// ClientOptions are how a program outside the group connects.
type ClientOptions struct {
	TLS    *tls.Config   // nil means plaintext
	Group  shard.GroupID // named in every call when set: needed for proposals, and a node of another group refuses
	Dialer func(ctx context.Context, addr string) (net.Conn, error)
}

// Dial returns a connection to the node at addr for a client. It is dialed when first used; the caller closes it.
func Dial(addr string, o ClientOptions) (*grpc.ClientConn, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, shard.Invalid("address %q is not HOST:PORT", addr)
	}
	if o.Dialer == nil {
		o.Dialer = dialTCP
	}
	newest := &attempt{}
	options := dialOptions(addr, o.Dialer, o.TLS, Limits{}.withDefaults(), newest)
	options = append(options, identified(func() (shard.GroupID, shard.NodeID) { return o.Group, "" }, newest)...)
	return grpc.NewClient(target, options...)
}

func dialOptions(addr string, dial dialer, secure *tls.Config, limits Limits, newest *attempt) []grpc.DialOption {
	creds := insecure.NewCredentials()
	if secure != nil {
		creds = heard{credentials.NewTLS(clientTLS(secure, addr)), newest}
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := dial(ctx, addr)
			if err != nil || secure == nil {
				newest.ended(err)
			}
			return c, err
		}),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(clientCodec(), grpc.MaxCallRecvMsgSize(limits.Reply), grpc.MaxCallSendMsgSize(limits.Request)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstRetry, Multiplier: 1.6, Jitter: 0.2, MaxDelay: slowestRetry},
			MinConnectTimeout: dialTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: clientPing, Timeout: clientPingWait, PermitWithoutStream: true,
		}),
	}
}

// identified adds the group and node, when known, to every call at the time it is made, and says of one that never left that it did not.
func identified(who func() (shard.GroupID, shard.NodeID), newest *attempt) []grpc.DialOption {
	with := func(ctx context.Context) context.Context {
		group, node := who()
		if group != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, groupKey, string(group))
		}
		if node != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, nodeKey, string(node))
		}
		return ctx
	}
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
			invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			var at peer.Peer // has an address from the moment the call gets a stream
			err := invoke(with(ctx), method, req, reply, cc, append(slices.Clip(opts), grpc.Peer(&at))...)
			return newest.unsent(ctx, err, &at)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn,
			method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := streamer(with(ctx), desc, cc, method, opts...)
			return s, newest.unsent(ctx, err, &peer.Peer{}) // with an error there is no stream
		}),
	}
}
