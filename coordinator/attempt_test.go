package coordinator_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"muster/coordinator"
	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// silent is a leader that is stopped: it takes every call and answers none.
type silent struct {
	wire.UnimplementedGroupServer
	asked chan struct{} // of one for each call
}

func (s *silent) hang(ctx context.Context) error {
	s.asked <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

func (s *silent) Administer(ctx context.Context, _ *wire.AdministerRequest) (*wire.AdministerReply, error) {
	return nil, s.hang(ctx)
}

func (s *silent) Consult(ctx context.Context, _ *wire.ConsultRequest) (*wire.ConsultReply, error) {
	return nil, s.hang(ctx)
}

func (s *silent) Propose(ctx context.Context, _ *wire.ProposeRequest) (*wire.ProposeReply, error) {
	return nil, s.hang(ctx)
}

func (s *silent) Inspect(_ *wire.InspectRequest, stream grpc.ServerStreamingServer[wire.InspectReply]) error {
	return s.hang(stream.Context())
}

// successor leads after it, and answers everything.
type successor struct {
	wire.UnimplementedGroupServer
	asked atomic.Int32
}

func (s *successor) Administer(context.Context, *wire.AdministerRequest) (*wire.AdministerReply, error) {
	s.asked.Add(1)
	return &wire.AdministerReply{Stage: string(coordinator.StageDone)}, nil
}

func (s *successor) Consult(context.Context, *wire.ConsultRequest) (*wire.ConsultReply, error) {
	s.asked.Add(1)
	return &wire.ConsultReply{}, nil
}

func (s *successor) Propose(context.Context, *wire.ProposeRequest) (*wire.ProposeReply, error) {
	s.asked.Add(1)
	b, err := fsm.EncodeVerdict(fsm.Verdict{})
	return &wire.ProposeReply{Verdicts: [][]byte{b}}, err
}

func (s *successor) Inspect(_ *wire.InspectRequest, stream grpc.ServerStreamingServer[wire.InspectReply]) error {
	s.asked.Add(1)
	v := shard.NewView()
	v.Index = 7
	return stream.Send(&wire.InspectReply{Whole: fsm.EncodeDelta(v.Whole())[0], Linearizable: true})
}

// calls are what a node asks of the leader, and whether it is asked of the next one when it may have come to something.
var calls = map[string]struct {
	again bool
	make  func(context.Context, *coordinator.Coordinator) error
}{
	"an order":              {true, order(coordinator.Order{Kind: coordinator.Cordon, Node: "n9", On: true})},
	"a hand-over to a node": {true, order(coordinator.Order{Kind: coordinator.Transfer, Node: "n9"})},
	"a hand-over to anyone": {false, order(coordinator.Order{Kind: coordinator.Transfer})},
	"the plan": {true, func(ctx context.Context, c *coordinator.Coordinator) error {
		_, err := c.Consult(ctx, &wire.ConsultRequest{Question: wire.Question_QUESTION_PLAN})
		return err
	}},
	"the map": {true, func(ctx context.Context, c *coordinator.Coordinator) error {
		_, err := c.Inspect(ctx, true)
		return err
	}},
	"a setting": {true, func(ctx context.Context, c *coordinator.Coordinator) error {
		_, _, err := c.Propose(ctx, &fsm.RequireQuorum{Members: 3})
		return err
	}},
	"a command": {false, func(ctx context.Context, c *coordinator.Coordinator) error {
		_, _, err := c.Propose(ctx, &fsm.Pause{On: true})
		return err
	}},
}

func order(o coordinator.Order) func(context.Context, *coordinator.Coordinator) error {
	return func(ctx context.Context, c *coordinator.Coordinator) error {
		_, err := c.Administer(ctx, o)
		return err
	}
}

// A leader that is stopped is given up as soon as another is known to lead, and not at the deadline. That one is asked, unless what may have happened
// would happen twice: then whoever called hears that it may have. A question has not happened.
func TestStoppedLeaderIsGivenUp(t *testing.T) {
	g := newGroup(t, 1)
	n := g.nodes["n1"]
	for what, call := range calls {
		stopped, next := &silent{asked: make(chan struct{}, 1)}, &successor{}
		first, second := freeAddr(t), freeAddr(t)
		stop := serveIn(t, "g", "n8", first, stopped)
		serveIn(t, "g", "n9", second, next)
		if err := n.open(func(c *coordinator.Config) { c.Seeds = []string{first, second} }); err != nil {
			t.Fatal(err)
		}
		n.port.SetGroup("g")
		coordinator.Hear(n.Coordinator, "n8", first, 3)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		came := make(chan error, 1)
		go func() { came <- call.make(ctx, n.Coordinator) }()
		select {
		case <-stopped.asked:
		case err := <-came:
			t.Fatalf("%s: the leader was not asked: %v", what, err)
		}
		began := time.Now()
		coordinator.Hear(n.Coordinator, "n8", first, 4) // it leads still
		coordinator.Hear(n.Coordinator, "n9", second, 5)
		err := <-came
		if took := time.Since(began); took > patience/2 {
			t.Errorf("%s: after %s: %v", what, took, err)
		}
		if asked := next.asked.Load(); call.again && (err != nil || asked != 1) {
			t.Errorf("%s: the next was asked %d times: %v", what, asked, err)
		} else if fault := shard.As(err); !call.again && (asked != 0 || fault == nil || fault.Code != shard.CodeUnavailable || fault.Outcome != shard.Unknown) {
			t.Errorf("%s: the next was asked %d times: %v", what, asked, err)
		}
		cancel()
		n.kill()
		stop()
	}
}

// While nobody else is known to lead the answer is waited for, and at the deadline whoever asked hears that a question has not happened.
func TestSilentLeaderIsWaitedFor(t *testing.T) {
	g := newGroup(t, 1)
	n := g.nodes["n1"]
	stopped := &silent{asked: make(chan struct{}, 1)}
	addr := freeAddr(t)
	serveIn(t, "g", "n8", addr, stopped)
	for what, unknown := range map[string]bool{"the plan": false, "the map": false, "an order": true} {
		if err := n.open(func(c *coordinator.Config) { c.Seeds = []string{addr} }); err != nil {
			t.Fatal(err)
		}
		n.port.SetGroup("g")
		coordinator.Hear(n.Coordinator, "n8", addr, 3)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := calls[what].make(ctx, n.Coordinator)
		if fault := shard.As(err); fault == nil || fault.Code != shard.CodeTimeout || (fault.Outcome == shard.Unknown) != unknown {
			t.Errorf("%s: %v", what, err)
		}
		cancel()
		<-stopped.asked
		n.kill()
	}
}

// leaving is a leader that shuts down while it has an order or a question: what came of it is not known.
type leaving struct{ silent }

func (l *leaving) Administer(context.Context, *wire.AdministerRequest) (*wire.AdministerReply, error) {
	return &wire.AdministerReply{Fault: transport.FaultOf(shard.Unknownf(shard.CodeClosed, "this node is shutting down"))}, nil
}

func (l *leaving) Consult(context.Context, *wire.ConsultRequest) (*wire.ConsultReply, error) {
	return &wire.ConsultReply{Fault: transport.FaultOf(shard.Unknownf(shard.CodeClosed, "Raft is shut down"))}, nil
}

// A leader that shuts down is no reason to give up what may be asked again: the next one is asked.
func TestLeavingLeaderIsNotTheLast(t *testing.T) {
	g := newGroup(t, 1)
	n := g.nodes["n1"]
	for _, what := range []string{"an order", "a hand-over to anyone", "the plan"} {
		next, first, second := &successor{}, freeAddr(t), freeAddr(t)
		serveIn(t, "g", "n8", first, &leaving{})
		serveIn(t, "g", "n9", second, next)
		if err := n.open(func(c *coordinator.Config) { c.Seeds = []string{first, second} }); err != nil {
			t.Fatal(err)
		}
		n.port.SetGroup("g")
		coordinator.Hear(n.Coordinator, "n8", first, 3)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		came := make(chan error, 1)
		go func() { came <- calls[what].make(ctx, n.Coordinator) }()
		select {
		case err := <-came:
			if fault := shard.As(err); calls[what].again || fault == nil || fault.Code != shard.CodeClosed || fault.Outcome != shard.Unknown {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(200 * time.Millisecond): // it asks again, of whoever leads
			coordinator.Hear(n.Coordinator, "n9", second, 4)
			if err := <-came; err != nil || !calls[what].again || next.asked.Load() != 1 {
				t.Errorf("%s: the next was asked %d times: %v", what, next.asked.Load(), err)
			}
		}
		cancel()
		n.kill()
	}
}

// handing is a leader that has handed over the lead, and says so when the next one is known already.
type handing struct {
	successor
	known chan struct{}
}

func (h *handing) Administer(ctx context.Context, req *wire.AdministerRequest) (*wire.AdministerReply, error) {
	h.asked.Add(1)
	<-h.known
	<-time.After(50 * time.Millisecond)
	return &wire.AdministerReply{Stage: string(coordinator.StageDone), After: "n9"}, nil
}

// The answer to an order that changes the leader comes when the next one is known. It is waited for, and the next one is not asked.
func TestHandOverIsHeardOf(t *testing.T) {
	g := newGroup(t, 1)
	n := g.nodes["n1"]
	for _, to := range []shard.NodeID{"", "n9"} {
		old, next, first, second := &handing{known: make(chan struct{})}, &successor{}, freeAddr(t), freeAddr(t)
		serveIn(t, "g", "n8", first, old)
		serveIn(t, "g", "n9", second, next)
		if err := n.open(func(c *coordinator.Config) { c.Seeds = []string{first, second} }); err != nil {
			t.Fatal(err)
		}
		coordinator.Hear(n.Coordinator, "n8", first, 3)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		came := make(chan error, 1)
		var out coordinator.Outcome
		go func() {
			var err error
			out, err = n.Administer(ctx, coordinator.Order{Kind: coordinator.Transfer, Node: to})
			came <- err
		}()
		g.eventually("the leader is asked", func() error {
			if old.asked.Load() == 0 {
				return fmt.Errorf("it is not")
			}
			return nil
		})
		coordinator.Hear(n.Coordinator, "n9", second, 4)
		close(old.known)
		if err := <-came; err != nil || out.After != "n9" || next.asked.Load() != 0 {
			t.Errorf("to %q: %+v, %v; the next was asked %d times", to, out, err, next.asked.Load())
		}
		cancel()
		n.kill()
	}
}

// ice holds what a node says and hears while it is frozen, as if its process were stopped: its connections stay, and nothing comes over them.
type ice struct {
	mu     sync.Mutex
	melted chan struct{} // closed: it is not frozen
}

func newIce() *ice {
	i := &ice{melted: make(chan struct{})}
	close(i.melted)
	return i
}

func (i *ice) freeze() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.melted = make(chan struct{})
}

func (i *ice) melt() {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.melted:
	default:
		close(i.melted)
	}
}

func (i *ice) over() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.melted
}

func (i *ice) dial(ctx context.Context, addr string) (net.Conn, error) {
	select {
	case <-i.over():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return i.conn(c), nil
}

func (i *ice) conn(c net.Conn) net.Conn {
	return &frozen{Conn: c, ice: i, closed: make(chan struct{})}
}

// iced is a listener of such a node.
type iced struct {
	net.Listener
	ice *ice
}

func (l iced) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.ice.conn(c), nil
}

// frozen is one of its connections.
type frozen struct {
	net.Conn
	ice    *ice
	once   sync.Once
	closed chan struct{}
}

func (f *frozen) wait() error {
	select {
	case <-f.ice.over():
		return nil
	case <-f.closed:
		return net.ErrClosed
	}
}

func (f *frozen) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	if gone := f.wait(); gone != nil {
		return 0, gone
	}
	return n, err
}

func (f *frozen) Write(b []byte) (int, error) {
	if err := f.wait(); err != nil {
		return 0, err
	}
	return f.Conn.Write(b)
}

func (f *frozen) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.Conn.Close()
}

// The leader of a real group stands still while a voter and a member without a vote have asked it something. Both hear from the next one, within a few
// election timeouts, and not at their deadline; so does a question that was asked before the leader was lost.
func TestOrdersOutliveAStoppedLeader(t *testing.T) {
	g := newGroup(t, 3)
	for _, n := range g.nodes {
		n.ice = newIce()
	}
	g.startAll()
	m := g.add("m1")
	if err := m.start(nil); err != nil {
		t.Fatal(err)
	}
	g.everyMap("all are up", up("n1", "n2", "n3", "m1"))
	stopped := g.leader()
	defer stopped.ice.melt()
	stopped.ice.freeze()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	var all sync.WaitGroup
	for _, n := range g.others(stopped) {
		for _, what := range []string{"an order", "the plan", "the map", "a setting"} {
			all.Go(func() {
				call := calls[what].make
				if what == "an order" {
					call = order(coordinator.Order{Kind: coordinator.Pause, On: true})
				}
				if err := call(ctx, n.Coordinator); err != nil {
					t.Errorf("%s through %s: %v", what, n.id, err)
				}
			})
		}
	}
	all.Wait()
	took := time.Since(began)
	t.Logf("answered after %s; heartbeat %s", took, quick().Heartbeat)
	if took > patience/2 {
		t.Errorf("it took %s", took)
	}
	g.eventually("another leads", func() error {
		if id, _, _ := m.Leader(); id == stopped.id || id == "" {
			return fmt.Errorf("%q does", id)
		}
		return nil
	})
}
