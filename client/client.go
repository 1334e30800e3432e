// Package client speaks with a group from outside: a program that is no member asks its entities, reads its state, waits at
// its barriers and sets its required quorum.
//
//	c, err := client.Connect(ctx, "10.0.0.1:7420", "10.0.0.2:7420", "10.0.0.3:7420")
//	b, err := Deposit.Ask(ctx, c, "alice", DepositCmd{Amount: 100})
//
// Any node answers for the whole group, so one address is enough and more are insurance: a call goes to the node that
// answered last, and to the next address when that one cannot be reached.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

const (
	connectPatience = 2 * time.Second // for one address to accept a connection
	leaderHops      = 3               // how often a call follows the name of the leader
)

// Config is what a client connects with. Only Addrs is needed.
type Config struct {
	Addrs []string      // HOST:PORT of nodes of one group
	Group shard.GroupID // refuse nodes of any other group; "" takes the group of the first node that answers
	TLS   *tls.Config   // nil: plaintext
}

// A Client is a connection to a group. It is an entity.Sender. Safe for concurrent use.
//
// Whether a failed call may be sent to another node is decided here alone: a call that changes something is repeated
// only when it is certain that it was not applied or that a repetition changes nothing, a read whenever another node may know better. What may be
// repeated is taken to the next node also when the present one is silent, see attended.
type Client struct {
	cfg   Config
	group shard.GroupID
	mu    struct {
		sync.Mutex
		closed bool
		addrs  []string // the one that answered last comes first
		conns  map[string]*grpc.ClientConn
	}
}

// Connect finds a node that answers at one of the addresses. It fails with CodeUnavailable when none does.
func Connect(ctx context.Context, addrs ...string) (*Client, error) {
	return Open(ctx, Config{Addrs: addrs})
}

// Open is Connect with all options.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	if len(cfg.Addrs) == 0 {
		return nil, shard.Invalid("connect: no address")
	}
	if cfg.TLS != nil {
		if _, _, err := transport.OwnIdentity(cfg.TLS); err != nil {
			return nil, err
		}
	}
	c := &Client{cfg: cfg, group: cfg.Group}
	c.mu.addrs = slices.Clone(cfg.Addrs)
	c.mu.conns = map[string]*grpc.ClientConn{}
	if c.group == "" {
		if err := c.question(ctx, c.askGroup); err != nil {
			c.Close()
			return nil, fmt.Errorf("connect: %w", err)
		}
		c.drop() // from now on every connection names the group
	}
	if _, err := c.Inspect(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("connect: %w", err)
	}
	return c, nil
}

// askGroup learns which group the node belongs to.
func (c *Client) askGroup(ctx context.Context, conn grpc.ClientConnInterface) error {
	hello, err := wire.NewGroupClient(conn).Hello(ctx, &wire.HelloRequest{})
	if err != nil {
		return err
	}
	if hello.Group == "" {
		return &shard.Error{Code: shard.CodeUnavailable, Node: shard.NodeID(hello.Node), Detail: "node " + hello.Node + " is not in a group yet"}
	}
	c.group = shard.GroupID(hello.Group)
	return nil
}

// Group returns the group this client is connected to.
func (c *Client) Group() shard.GroupID { return c.group }

// Close ends all connections. Calls under way fail; their outcome is unknown.
func (c *Client) Close() error {
	c.mu.Lock()
	c.mu.closed = true
	c.mu.Unlock()
	return c.drop()
}

func (c *Client) drop() error {
	c.mu.Lock()
	conns := c.mu.conns
	c.mu.conns = map[string]*grpc.ClientConn{}
	c.mu.Unlock()
	var faults []error
	for _, conn := range conns {
		faults = append(faults, conn.Close())
	}
	return errors.Join(faults...)
}

// each makes the call at one node after the other, until one answers or again says that its error is final. It follows a
// node's hint where the leader is. Each address is asked once, and the last one has all the time that is left.
func (c *Client) each(ctx context.Context, call func(context.Context, grpc.ClientConnInterface) error, again func(*shard.Error) bool) error {
	queue := c.order()
	if ctx.Err() != nil {
		return shard.Errorf(shard.CodeTimeout, "nothing was sent: %v", ctx.Err())
	}
	var met []failure
	for hops := 0; len(queue) > 0; {
		addr := queue[0]
		queue = queue[1:]
		made := call
		if len(queue) > 0 && again(&shard.Error{Code: shard.CodeUnavailable, Outcome: shard.Unknown}) {
			made = attended(addr, call)
		}
		fault := c.at(ctx, addr, made)
		if fault == nil {
			return nil
		}
		met = append(met, failure{addr, fault})
		if ctx.Err() != nil || !again(fault) {
			break
		}
		if fault.Code == shard.CodeNotLeader && fault.Addr != "" && hops < leaderHops {
			hops++
			queue = slices.Insert(queue, 0, fault.Addr)
		}
	}
	return summary(met)
}

// question makes a call that changes nothing at one node after the other. Whatever becomes of it, it has not happened.
func (c *Client) question(ctx context.Context, call func(context.Context, grpc.ClientConnInterface) error) error {
	err := c.each(ctx, call, worthAnother)
	if fault := shard.As(err); fault != nil && fault.Outcome != shard.NotApplied {
		certain := *fault
		certain.Outcome = shard.NotApplied
		return &certain
	}
	return err
}

// failure is what came of a call at one node.
type failure struct {
	addr  string
	fault *shard.Error
}

// summary is what a call failed with that was made at several nodes: the last word of one that said more than where to ask, or when
// none did what came of each. It may have taken effect when it may have at any.
func summary(met []failure) *shard.Error {
	if len(met) == 0 {
		return shard.Errorf(shard.CodeUnavailable, "no address")
	}
	sum := shard.Error{Code: shard.CodeUnavailable}
	var all []string
	for i, m := range met {
		if code := m.fault.Code; code != shard.CodeUnavailable && (code != shard.CodeNotLeader || i == len(met)-1) {
			sum = *m.fault
		}
		all = append(all, m.addr+": "+m.fault.Error())
	}
	switch {
	case len(met) == 1:
		sum = *met[0].fault
	case sum.Code == shard.CodeUnavailable:
		sum.Detail = "no node answers: " + strings.Join(all, "; ")
	}
	if slices.ContainsFunc(met, func(m failure) bool { return m.fault.Outcome == shard.Unknown }) {
		sum.Outcome = shard.Unknown
	}
	return &sum
}

// at makes the call at one address. Until the connection is ready nothing was sent, so that failure is certain to have
// changed nothing.
func (c *Client) at(ctx context.Context, addr string, call func(context.Context, grpc.ClientConnInterface) error) *shard.Error {
	conn, err := c.conn(addr)
	if err != nil {
		return transport.Typed(err)
	}
	if err := ready(ctx, conn); err != nil {
		c.forget(addr, conn)
		return shard.Errorf(shard.CodeUnavailable, "%s cannot be reached: %v", addr, err)
	}
	err = call(ctx, conn)
	fault := transport.Typed(err)
	switch {
	case fault == nil:
		c.prefer(addr)
		return nil
	case c.group == "" && status.Code(err) == codes.Unimplemented: // the first call of all: a node knows it
		return shard.Errorf(shard.CodeUnavailable, "%s does not answer as a node does: %s", addr, status.Convert(err).Message())
	}
	return fault
}

func (c *Client) order() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.mu.addrs)
}

// prefer makes addr the first to be asked, if it is one of the client's own.
func (c *Client) prefer(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.mu.addrs, addr); i > 0 {
		c.mu.addrs = slices.Insert(slices.Delete(c.mu.addrs, i, i+1), 0, addr)
	}
}

func (c *Client) conn(addr string) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, shard.Errorf(shard.CodeClosed, "the client is closed")
	}
	if conn := c.mu.conns[addr]; conn != nil {
		return conn, nil
	}
	conn, err := transport.Dial(addr, transport.ClientOptions{TLS: c.cfg.TLS, Group: c.group})
	if err != nil {
		return nil, err
	}
	c.mu.conns[addr] = conn
	return conn, nil
}

// ready waits until the connection is up, or its first attempt failed, so that the next address gets its turn.
func ready(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	for {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure:
			return why(ctx, conn)
		case connectivity.Shutdown:
			return errors.New("closed")
		case connectivity.Idle:
			conn.Connect()
		}
		if !conn.WaitForStateChange(ctx, state) {
			return errors.New("no answer in time")
		}
	}
}

// why says why a connection is not up; nil when it is by now. A call that does not wait fails with what the last attempt met.
func why(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := conn.NewStream(ctx, &grpc.StreamDesc{}, "/why")
	if err == nil {
		return nil
	}
	return errors.New(transport.Typed(err).Detail)
}

// forget closes a connection that did not come up: the next call dials anew, instead of learning of an old failure.
func (c *Client) forget(addr string, conn *grpc.ClientConn) {
	c.mu.Lock()
	if c.mu.conns[addr] == conn {
		delete(c.mu.conns, addr)
	}
	c.mu.Unlock()
	conn.Close()
}

// worthAnother says for a read whether another node may answer it.
func worthAnother(e *shard.Error) bool {
	switch e.Code {
	case shard.CodeInvalid, shard.CodeNotFound, shard.CodeUnknownType, shard.CodeUnknownCommand, shard.CodeRefused, shard.CodeMismatch, shard.CodeConflict:
		return false
	}
	return true
}

// notSent says for a change whether it is certain that this node did nothing, and another may.
func notSent(e *shard.Error) bool {
	if e.Outcome != shard.NotApplied {
		return false
	}
	switch e.Code {
	case shard.CodeUnavailable, shard.CodeClosed, shard.CodeNotLeader, shard.CodeNoLeader, shard.CodeWrongGroup:
		return true
	}
	return false
}
