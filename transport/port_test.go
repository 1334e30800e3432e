package transport_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// group answers a few calls with what it saw of the caller; the rest is unimplemented.
type group struct {
	wire.UnimplementedGroupServer
	port     *transport.Port
	hold     chan struct{} // Arrive waits for it
	in       chan struct{} // one word for each Arrive that began
	stubborn bool          // Arrive ignores the end of its call
}

func (g *group) Hello(ctx context.Context, _ *wire.HelloRequest) (*wire.HelloReply, error) {
	return &wire.HelloReply{Node: string(g.port.Node()), Addr: string(transport.CallerNode(ctx))}, nil
}

func (g *group) Propose(context.Context, *wire.ProposeRequest) (*wire.ProposeReply, error) {
	return nil, &shard.Error{Code: shard.CodeNotLeader, Node: "n9", Addr: "10.0.0.9:7420"}
}

func (g *group) Arrive(ctx context.Context, _ *wire.ArriveRequest) (*wire.ArriveReply, error) {
	select {
	case g.in <- struct{}{}:
	default:
	}
	select {
	case <-g.hold:
	case <-ctx.Done():
		if g.stubborn {
			<-g.hold
		}
	}
	return &wire.ArriveReply{Generation: 7}, nil
}

func (g *group) Watch(_ *wire.WatchRequest, s grpc.ServerStreamingServer[wire.WatchEvent]) error {
	s.Send(&wire.WatchEvent{Index: 1})
	select {
	case <-g.port.Draining():
	case <-s.Context().Done():
	}
	return nil
}

// peer answers each frame with one answer.
type peer struct{ wire.UnimplementedPeerServer }

func (peer) Deliver(s grpc.BidiStreamingServer[wire.EnvelopeFrame, wire.AnswerFrame]) error {
	for {
		if _, err := s.Recv(); err != nil {
			return nil
		}
		if err := s.Send(&wire.AnswerFrame{Answers: []*wire.Answer{{Call: 1}}}); err != nil {
			return err
		}
	}
}

type node struct {
	*transport.Port
	group  *group
	served chan error
}

// start serves a port on loopback until the test ends. Each gets its own group service.
func start(t *testing.T, id shard.NodeID, uuid shard.GroupID, change ...func(*transport.Config)) *node {
	t.Helper()
	cfg := transport.Config{Node: id, Bind: "127.0.0.1:0"}
	for _, c := range change {
		c(&cfg)
	}
	p, err := transport.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if uuid != "" {
		p.SetGroup(uuid)
	}
	n := &node{p, &group{port: p, hold: make(chan struct{}), in: make(chan struct{}, 8)}, make(chan error, 1)}
	wire.RegisterGroupServer(p.Server(), n.group)
	wire.RegisterPeerServer(p.Server(), peer{})
	wire.RegisterMusterServer(p.Server(), wire.UnimplementedMusterServer{})
	go func() { n.served <- p.Serve() }()
	t.Cleanup(func() { n.close(t) })
	return n
}

func (n *node) close(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		t.Errorf("close %s: %v", n.Node(), err)
	}
	select {
	case err := <-n.served:
		if err != nil {
			t.Errorf("serve %s: %v", n.Node(), err)
		}
		n.served <- nil
	case <-ctx.Done():
		t.Errorf("Serve of %s did not return", n.Node())
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func hello(t *testing.T, c grpc.ClientConnInterface) (*wire.HelloReply, error) {
	return helloWithin(deadline(t), c)
}

func helloWithin(ctx context.Context, c grpc.ClientConnInterface) (*wire.HelloReply, error) {
	return wire.NewGroupClient(c).Hello(ctx, &wire.HelloRequest{})
}

func client(t *testing.T, addr string, o transport.ClientOptions) *grpc.ClientConn {
	t.Helper()
	c, err := transport.Dial(addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Two members talk both ways over one connection each; the handler sees who calls; a typed error arrives whole.
func TestMembersTalk(t *testing.T) {
	a, b := start(t, "a", "g1"), start(t, "b", "g1")
	for _, pair := range [][2]*node{{a, b}, {b, a}} {
		from, to := pair[0], pair[1]
		reply, err := hello(t, from.Peer(to.Addr()))
		if err != nil || reply.Node != string(to.Node()) || reply.Addr != string(from.Node()) {
			t.Errorf("%s asked %s: %v, %v", from.Node(), to.Node(), reply, err)
		}
	}
	_, err := wire.NewGroupClient(a.Peer(b.Addr())).Propose(deadline(t), &wire.ProposeRequest{})
	want := shard.Error{Code: shard.CodeNotLeader, Node: "n9", Addr: "10.0.0.9:7420"}
	if got := transport.Typed(err); got == nil || *got != want {
		t.Errorf("got %v, want %v", err, &want)
	}
	if first, again := a.Peer(b.Addr()), a.Peer(b.Addr()); first != again || a.Stats().Peers != 1 {
		t.Error("a second connection to the same node was made")
	}
	a.Waiting(b.Addr())
	a.HangUp("elsewhere:7420")
	if a.Stats().Peers != 2 {
		t.Error("the connection to another address is gone")
	}
	a.HangUp(b.Addr())
	if a.Stats().Peers != 0 {
		t.Error("a connection to an unwanted address is kept")
	}
	if _, err := hello(t, a.Peer(b.Addr())); err != nil {
		t.Errorf("there is no other connection: %v", err)
	}
}

// A node that is away is a typed error with an unknown outcome, quickly, and the connection heals when it comes back.
func TestPeerComesBack(t *testing.T) {
	a := start(t, "a", "g1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	if _, err := hello(t, a.Peer(addr)); shard.CodeOf(transport.Typed(err)) != shard.CodeUnavailable {
		t.Fatalf("nobody listens: %v", err)
	}
	start(t, "b", "g1", func(c *transport.Config) { c.Bind = addr })
	a.Wake(addr)
	_, err = wire.NewGroupClient(a.Peer(addr)).Hello(deadline(t), &wire.HelloRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Error(err)
	}
}

// Every method of the schema, called with a foreign group: only how groups come about is open. The walk fails when a
// method has no entry in the table of who may call it, as then the refusal is another.
func TestStrangersAreRefused(t *testing.T) {
	a, foreign, fresh := start(t, "a", "g1"), start(t, "x", "g2"), start(t, "y", "")
	for _, n := range []*node{a, foreign, fresh} {
		close(n.group.hold) // whoever arrives is answered at once
	}
	open := map[string]bool{wire.Group_Hello_FullMethodName: true, wire.Group_Form_FullMethodName: true}
	needsMember := map[string]bool{
		wire.Group_Propose_FullMethodName: true, wire.Group_Renew_FullMethodName: true, wire.Group_Report_FullMethodName: true,
		wire.Peer_Deliver_FullMethodName: true, wire.Peer_OneWay_FullMethodName: true, wire.Group_Seat_FullMethodName: true,
		wire.Peer_Replicate_FullMethodName: true, wire.Peer_Seal_FullMethodName: true,
	}
	walked := 0
	eachMethod(func(method string, stream bool) {
		walked++
		if code := callCode(t, foreign.Peer(a.Addr()), method, stream); (code == shard.CodeWrongGroup) == open[method] {
			t.Errorf("%s from another group: %s", method, code)
		}
		if code := callCode(t, fresh.Peer(a.Addr()), method, stream); (code == shard.CodeWrongGroup) != needsMember[method] {
			t.Errorf("%s without a group: %s", method, code)
		}
		if code := callCode(t, a.Peer(fresh.Addr()), method, stream); (code == shard.CodeUnavailable) == open[method] {
			t.Errorf("%s to a node without a group: %s", method, code)
		}
	})
	if walked != 16 {
		t.Errorf("walked %d methods", walked)
	}
	if a.Stats().Strangers == 0 {
		t.Error("strangers are not counted")
	}
}

func eachMethod(fn func(method string, stream bool)) {
	for _, d := range []grpc.ServiceDesc{wire.Group_ServiceDesc, wire.Peer_ServiceDesc, wire.Muster_ServiceDesc} {
		for _, m := range d.Methods {
			fn("/"+d.ServiceName+"/"+m.MethodName, false)
		}
		for _, s := range d.Streams {
			fn("/"+d.ServiceName+"/"+s.StreamName, true)
		}
	}
}

// callCode calls a method with an empty message and returns the code of its refusal, "" for an answer.
func callCode(t *testing.T, c *grpc.ClientConn, method string, stream bool) shard.Code {
	ctx, cancel := context.WithTimeout(deadline(t), 5*time.Second)
	defer cancel()
	if !stream {
		return shard.CodeOf(typed(c.Invoke(ctx, method, &wire.HelloRequest{}, &wire.HelloReply{})))
	}
	s, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return shard.CodeOf(typed(err))
	}
	if err := s.SendMsg(&wire.HelloRequest{}); err != nil && err != io.EOF {
		return shard.CodeOf(typed(err))
	}
	s.CloseSend()
	var m wire.HelloReply
	err = s.RecvMsg(proto.Message(&m))
	if err == io.EOF {
		return ""
	}
	return shard.CodeOf(typed(err))
}

func typed(err error) error {
	if e := transport.Typed(err); e != nil {
		return e
	}
	return nil
}

// What cannot work is refused before anything listens, in a sentence.
func TestListenRefuses(t *testing.T) {
	taken := start(t, "a", "")
	for _, c := range []struct {
		name string
		cfg  transport.Config
		want string
	}{
		{"no node id", transport.Config{Bind: "127.0.0.1:0"}, "node id"},
		{"no port", transport.Config{Node: "a", Bind: "127.0.0.1"}, "is not HOST:PORT"},
		{"plaintext on all addresses", transport.Config{Node: "a", Bind: "0.0.0.0:0"}, "not a loopback address"},
		{"unspecified advertised", transport.Config{Node: "a", Bind: "0.0.0.0:0", AllowPlaintext: true}, "cannot be advertised"},
		{"unspecified advertised by name", transport.Config{Node: "a", Bind: "127.0.0.1:0", Advertise: "[::]:7420"}, "cannot be advertised"},
		{"port in use", transport.Config{Node: "a", Bind: taken.Addr()}, "address already in use"},
	} {
		p, err := transport.Listen(c.cfg)
		if err == nil {
			p.Close(deadline(t))
			t.Errorf("%s: accepted", c.name)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	p, err := transport.Listen(transport.Config{Node: "a", Bind: "0.0.0.0:0", Advertise: "127.0.0.1:0", AllowPlaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(p.Addr(), ":0") || !strings.HasPrefix(p.Addr(), "127.0.0.1:") {
		t.Errorf("advertises %s", p.Addr())
	}
	p.Close(deadline(t))
	if err := p.Serve(); err != nil {
		t.Errorf("Serve after Close: %v", err)
	}
}

// Closing: a stream that watches Draining ends, a running call is finished and answered, new ones are refused.
func TestCloseLetsCallsFinish(t *testing.T) {
	a, b := start(t, "a", "g1"), start(t, "b", "g1")
	watch, err := wire.NewGroupClient(b.Peer(a.Addr())).Watch(deadline(t), &wire.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		reply *wire.ArriveReply
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		reply, err := wire.NewGroupClient(b.Peer(a.Addr())).Arrive(deadline(t), &wire.ArriveRequest{})
		answers <- answer{reply, err}
	}()
	<-a.group.in
	drained := make(chan error, 1)
	go func() { drained <- a.Drain(deadline(t)) }()
	if _, err := watch.Recv(); err != io.EOF {
		t.Errorf("the stream ended with %v", err)
	}
	select {
	case err := <-drained:
		t.Fatalf("drained with a call running: %v", err)
	default:
	}
	close(a.group.hold)
	if got := <-answers; got.err != nil || got.reply.Generation != 7 {
		t.Errorf("the running call got %v", got.err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if _, err := hello(t, b.Peer(a.Addr())); err == nil {
		t.Error("a drained port answers calls")
	}
}

// A handler that does not end costs Limits.Drain, not eternity.
func TestDrainIsBounded(t *testing.T) {
	a := start(t, "a", "g1", func(c *transport.Config) { c.Limits.Drain = 50 * time.Millisecond })
	a.group.stubborn = true
	c := client(t, a.Addr(), transport.ClientOptions{})
	failed := make(chan error, 1)
	go func() {
		_, err := wire.NewGroupClient(c).Arrive(deadline(t), &wire.ArriveRequest{})
		failed <- err
	}()
	<-a.group.in
	begun := time.Now()
	a.close(t)
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("closing took %s", took)
	}
	if e := transport.Typed(<-failed); e == nil || e.Outcome != shard.Unknown {
		t.Errorf("the cut call got %v", e)
	}
	close(a.group.hold)
}

// A program outside the group asks what is open, and proposes only when it names the group.
func TestClientNamesTheGroup(t *testing.T) {
	a := start(t, "a", "g1")
	stranger := wire.NewGroupClient(client(t, a.Addr(), transport.ClientOptions{}))
	if _, err := stranger.Propose(deadline(t), &wire.ProposeRequest{}); shard.CodeOf(typed(err)) != shard.CodeWrongGroup {
		t.Errorf("without a group: %v", err)
	}
	admin := wire.NewGroupClient(client(t, a.Addr(), transport.ClientOptions{Group: "g1"}))
	if _, err := admin.Propose(deadline(t), &wire.ProposeRequest{}); shard.CodeOf(typed(err)) != shard.CodeNotLeader {
		t.Errorf("with the group: %v", err)
	}
	if _, err := transport.Dial("nowhere", transport.ClientOptions{}); shard.CodeOf(err) != shard.CodeInvalid {
		t.Errorf("dial nowhere: %v", err)
	}
}
