// Package transport is the one port of a node: it tells Raft's streams from gRPC calls by their first byte, keeps
// strangers out by TLS, by group and by limits, and holds the connections to other nodes. Package wire below it is the
// schema of what is said.
package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"muster/shard"
)

// Config says where a port listens and whom it trusts. Every zero value means a default.
type Config struct {
	Node           shard.NodeID
	Bind           string                                                   // host:port to listen on; "" means Advertise; port 0 lets the system choose
	Advertise      string                                                   // host:port that others dial; "" or port 0 means the listener's
	Listener       net.Listener                                             // instead of listening on Bind
	Dialer         func(ctx context.Context, addr string) (net.Conn, error) // nil means TCP
	TLS            *tls.Config                                              // nil means plaintext; see Listen
	AllowPlaintext bool                                                     // plaintext on other than loopback addresses
	Logger         hclog.Logger
	Limits         Limits
}

// A Port is a node's one listening port and its connections to other nodes. All methods are safe for concurrent use.
//
// The life of a port: Listen, register services on Server, Serve, Drain, Close. Calls may go out from Listen on.
type Port struct {
	node      shard.NodeID
	advertise string
	listener  net.Listener
	serverTLS *tls.Config
	domain    string // that of our own certificate, see Identity.Group; "" without TLS, or when it is not known
	log       hclog.Logger
	limits    Limits
	group     atomic.Pointer[shard.GroupID]
	census    *census
	counters  counters
	calls     *lane
	raft      *RaftLayer
	server    *grpc.Server
	peers     *peers
	stops     stops
}

type counters struct{ accepted, refused, full, strangers atomic.Uint64 }

// Listen binds the port; nothing is accepted before Serve, though the system lets callers connect.
//
// With a TLS configuration every connection is mutual TLS 1.3: it needs Certificates (or GetCertificate and
// GetClientCertificate), RootCAs and ClientCAs, and each certificate carries an Identity: that of a node its id, and all of a group
// the same Group, unless it is GetCertificate that chooses ours. Without one everything is plaintext, which is refused on anything but a loopback address unless AllowPlaintext is set.
func Listen(cfg Config) (*Port, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l, err := bind(cfg)
	if err != nil {
		return nil, err
	}
	advertise, err := advertised(cfg, l.Addr())
	if err != nil {
		l.Close()
		return nil, err
	}
	p := &Port{
		node: cfg.Node, advertise: advertise, listener: l, log: cfg.Logger, limits: cfg.Limits.withDefaults(),
		calls: newLane(address(advertise)),
	}
	if p.log == nil {
		p.log = hclog.NewNullLogger()
	}
	if cfg.TLS != nil {
		p.serverTLS, p.domain = serverTLS(cfg.TLS), domainOf(cfg.TLS)
	}
	p.stops.init()
	p.census = newCensus(p.limits)
	p.raft = newRaftLayer(p)
	p.peers = newPeers(p, cfg)
	p.server = p.newServer()
	return p, nil
}

// Validate reports what Listen would refuse before it binds anything, as far as the addresses tell without a name server.
func (c Config) Validate() error {
	if err := c.Node.Validate(); err != nil {
		return err
	}
	if c.TLS != nil {
		if err := servesAs(c.TLS, c.Node); err != nil {
			return err
		}
	}
	for name, addr := range map[string]string{"address": c.Advertise, "bind address": c.Bind} {
		if _, _, err := net.SplitHostPort(addr); err != nil && addr != "" && c.Listener == nil {
			return shard.Invalid("%s %q is not HOST:PORT", name, addr)
		}
	}
	if c.Listener != nil {
		return nil
	}
	host, _, _ := net.SplitHostPort(c.Advertise)
	if ip := net.ParseIP(host); c.Advertise != "" && (host == "" || ip != nil && ip.IsUnspecified()) {
		return unspecified(c.Advertise)
	}
	where, _, _ := net.SplitHostPort(c.where())
	if ip := net.ParseIP(where); c.TLS == nil && !c.AllowPlaintext && (where == "" || ip != nil && !ip.IsLoopback()) {
		return exposed(c.where())
	}
	return nil
}

// where is what to listen on.
func (c Config) where() string { return cmp.Or(c.Bind, c.Advertise) }

func unspecified(addr string) error {
	return shard.Invalid("%q cannot be advertised: other nodes cannot dial it; name an address of this machine", addr)
}

func exposed(addr string) error {
	return shard.Invalid("%s is not a loopback address: without TLS anyone who reaches it could read and command the group; "+
		"configure TLS (cert, key and ca), or say with allow-plaintext that it is all right", addr)
}

func bind(cfg Config) (net.Listener, error) {
	if cfg.Listener != nil {
		return cfg.Listener, plaintextAllowed(cfg, cfg.Listener.Addr())
	}
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: tcpKeepAlive, Interval: tcpKeepAlive, Count: 3,
	}}
	l, err := lc.Listen(context.Background(), "tcp", cfg.where())
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", cfg.where(), err)
	}
	if err := plaintextAllowed(cfg, l.Addr()); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// plaintextAllowed judges the address that a name turned out to be.
func plaintextAllowed(cfg Config, a net.Addr) error {
	tcp, isTCP := a.(*net.TCPAddr)
	if cfg.TLS != nil || cfg.AllowPlaintext || !isTCP || tcp.IP.IsLoopback() {
		return nil
	}
	return exposed(a.String())
}

// advertised completes the address that others dial. An unspecified host cannot be dialed from elsewhere.
func advertised(cfg Config, bound net.Addr) (string, error) {
	cfg.Advertise = cmp.Or(cfg.Advertise, bound.String())
	tcp, isTCP := bound.(*net.TCPAddr)
	if !isTCP {
		return cfg.Advertise, nil
	}
	host, port, err := net.SplitHostPort(cfg.Advertise)
	if err != nil {
		return "", shard.Invalid("advertised address %q is not HOST:PORT", cfg.Advertise)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "", unspecified(cfg.Advertise)
	}
	if port == "0" {
		return net.JoinHostPort(host, strconv.Itoa(tcp.Port)), nil
	}
	return cfg.Advertise, nil
}

// Addr returns the address that others dial.
func (p *Port) Addr() string { return p.advertise }

// Node returns the id this port speaks as.
func (p *Port) Node() shard.NodeID { return p.node }

// SetGroup makes the port a member's: from then on its calls and streams name the group, and those of another group, or of
// none where a member is needed, are refused.
func (p *Port) SetGroup(g shard.GroupID) { p.group.Store(&g) }

// Group returns what SetGroup stored last, "" before.
func (p *Port) Group() shard.GroupID {
	if g := p.group.Load(); g != nil {
		return *g
	}
	return ""
}

// Server returns the gRPC server, for registering services before Serve.
func (p *Port) Server() *grpc.Server { return p.server }

// RaftLayer returns the stream layer for Raft's network transport, the same at every call.
func (p *Port) RaftLayer() *RaftLayer { return p.raft }

// Serve accepts connections until Close, and returns nil then. It fails only when the listener does. Call it once.
func (p *Port) Serve() error {
	if !p.stops.serve() {
		return nil
	}
	served := make(chan error, 1)
	go func() { served <- p.server.Serve(p.calls) }()
	err := p.accept()
	p.calls.Close()
	defer close(p.stops.served)
	select {
	case serveErr := <-served:
		if err == nil && !errors.Is(serveErr, net.ErrClosed) && !errors.Is(serveErr, grpc.ErrServerStopped) {
			err = serveErr
		}
	case <-p.stops.abandoned:
	}
	return err
}

// accept runs the listener. A failure that may pass, such as too many open files, is retried with a growing pause.
func (p *Port) accept() error {
	const longest = time.Second
	pause := 5 * time.Millisecond
	for {
		raw, err := p.listener.Accept()
		switch {
		case err == nil:
			pause = 5 * time.Millisecond
			p.admit(raw)
			continue
		case p.isClosing():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("listener %s: %w", p.listener.Addr(), err)
		}
		p.log.Warn("accept failed", "addr", p.listener.Addr(), "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-p.stops.closing:
			return nil
		}
		pause = min(2*pause, longest)
	}
}

func (p *Port) admit(raw net.Conn) {
	p.counters.accepted.Add(1)
	v := &visitor{
		Conn: raw, host: hostOf(raw.RemoteAddr()), limit: time.Now().Add(p.limits.Handshake), census: p.census,
	}
	if full, ok := p.census.admit(v); !ok {
		if p.counters.full.Add(1)%1024 == 1 {
			p.log.Warn("connection refused, a limit is reached", "peer", v.host, "limit", full)
		}
		raw.Close() // counted by then: whoever hears of it may look
		return
	}
	p.stops.greeters.Go(func() { p.greet(v) })
}

// Stats is a snapshot of a port's counters.
type Stats struct {
	Accepted    uint64 // connections ever
	Refused     uint64 // of them, those that did not shake hands in time, spoke nonsense or were strangers to Raft
	Full        uint64 // those closed at once because a limit was reached
	Strangers   uint64 // calls refused because of their group or certificate
	Open        int    // accepted connections now
	Pending     int    // of them, those still shaking hands
	RaftStreams int    // in both directions
	Peers       int    // nodes this port holds a connection object for
}

// Stats returns the counters as they are now.
func (p *Port) Stats() Stats {
	s := Stats{
		Accepted: p.counters.accepted.Load(), Refused: p.counters.refused.Load(), Full: p.counters.full.Load(),
		Strangers: p.counters.strangers.Load(), RaftStreams: p.raft.count(), Peers: p.peers.count(),
	}
	s.Open, s.Pending = p.census.count()
	return s
}
