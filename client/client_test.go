package client_test

import (
	"context"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"muster/client"
	"muster/entity"
	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// A station is a real port with a small group behind it, whose answers a test chooses.
type station struct {
	wire.UnimplementedGroupServer
	wire.UnimplementedMusterServer
	addr    string
	view    *shard.View
	ask     func() (*wire.AskReply, error)
	propose func() *wire.Fault
	order   func(*wire.AdministerRequest) *wire.Fault
	asked   atomic.Int32
	inspect func(grpc.ServerStreamingServer[wire.InspectReply]) error // nil: the whole map
	arrive  func(context.Context, *wire.ArriveRequest) (*wire.ArriveReply, error)
	hangs   atomic.Pointer[context.Context] // until when it answers nobody, as a process does that is stopped; nil: it answers
	stop    func()
}

// hang keeps a call while the station is stopped, or until its caller gives up.
func (s *station) hang(call context.Context) {
	if until := s.hangs.Load(); until != nil {
		select {
		case <-(*until).Done():
		case <-call.Done():
		}
	}
}

func open(t *testing.T, group shard.GroupID) *station {
	t.Helper()
	p, err := transport.Listen(transport.Config{Node: "n1", Bind: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	p.SetGroup(group)
	s := &station{addr: p.Addr(), view: shard.NewView()}
	s.view.Group, s.view.Index = group, 7
	s.ask = func() (*wire.AskReply, error) { return &wire.AskReply{Payload: []byte("pong")}, nil }
	s.propose = func() *wire.Fault { return nil }
	wire.RegisterGroupServer(p.Server(), s)
	wire.RegisterMusterServer(p.Server(), s)
	go p.Serve()
	s.stop = func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		p.Close(ctx)
	}
	t.Cleanup(s.stop)
	return s
}

func (s *station) Hello(ctx context.Context, _ *wire.HelloRequest) (*wire.HelloReply, error) {
	s.hang(ctx)
	return &wire.HelloReply{Node: "n1", Group: string(s.view.Group)}, nil
}

func (s *station) Inspect(_ *wire.InspectRequest, stream grpc.ServerStreamingServer[wire.InspectReply]) error {
	s.hang(stream.Context())
	if s.inspect != nil {
		return s.inspect(stream)
	}
	return stream.Send(&wire.InspectReply{Node: "n1", Whole: fsm.EncodeDelta(s.view.Whole())[0]})
}

func (s *station) Arrive(ctx context.Context, req *wire.ArriveRequest) (*wire.ArriveReply, error) {
	return s.arrive(ctx, req)
}

func (s *station) Ask(ctx context.Context, _ *wire.AskRequest) (*wire.AskReply, error) {
	s.asked.Add(1)
	s.hang(ctx)
	return s.ask()
}

func (s *station) Propose(ctx context.Context, _ *wire.ProposeRequest) (*wire.ProposeReply, error) {
	s.asked.Add(1)
	s.hang(ctx)
	if f := s.propose(); f != nil {
		return &wire.ProposeReply{Fault: f}, nil
	}
	v, _ := fsm.EncodeVerdict(fsm.Verdict{})
	return &wire.ProposeReply{Verdicts: [][]byte{v}}, nil
}

func (s *station) Administer(ctx context.Context, req *wire.AdministerRequest) (*wire.AdministerReply, error) {
	s.hang(ctx)
	return &wire.AdministerReply{Fault: s.order(req)}, nil
}

func (s *station) Watch(req *wire.WatchRequest, stream wire.Group_WatchServer) error {
	s.hang(stream.Context())
	if req.From == 0 {
		return stream.Send(&wire.WatchEvent{Index: 7, Deltas: fsm.EncodeDelta(s.view.Whole()), Leader: "n1"})
	}
	required := int(req.From)
	d := &shard.Delta{Index: shard.Index(req.From + 1), Required: &required}
	if err := stream.Send(&wire.WatchEvent{Index: req.From + 1, Deltas: fsm.EncodeDelta(d)}); err != nil {
		return err
	}
	return status.Error(codes.Unavailable, "gone") // the watcher has to come back
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

var ping = entity.Envelope{Type: "t", Entity: "x", Command: "ping"}

// Any of several addresses will do, at the start and when the present node goes away.
func TestNextAddress(t *testing.T) {
	first, second := open(t, "g"), open(t, "g")
	c, err := client.Connect(within(t), "127.0.0.1:1", first.addr, second.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(on *station) {
		t.Helper()
		before := on.asked.Load()
		b, err := c.Ask(within(t), ping)
		if string(b) != "pong" || err != nil || on.asked.Load() != before+1 {
			t.Errorf("%s, %v", b, err)
		}
	}
	ask(first)
	first.stop()
	// A call on a connection that breaks under it may have been heard; a read is repeated elsewhere, and settles it.
	if _, err := c.Inspect(within(t)); err != nil {
		t.Error(err)
	}
	ask(second)
	second.stop()
	if _, err := c.Inspect(within(t)); shard.CodeOf(err) != shard.CodeUnavailable {
		t.Errorf("a state from nobody: %v", err)
	}
	if _, err := c.Ask(within(t), ping); shard.CodeOf(err) != shard.CodeUnavailable || shard.As(err).Outcome != shard.NotApplied {
		t.Errorf("nobody there: %v", err)
	}
}

// A call whose time is over before it begins has certainly not happened, and nobody is asked. What listens somewhere and is no node
// is passed over like a node that is away.
func TestNothingIsSent(t *testing.T) {
	s, stranger := open(t, "g"), grpc.NewServer()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go stranger.Serve(l)
	defer stranger.Stop()
	c, err := client.Connect(within(t), l.Addr().String(), s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Ask(over, ping); shard.CodeOf(err) != shard.CodeTimeout || shard.As(err).Outcome != shard.NotApplied || s.asked.Load() != 0 {
		t.Errorf("asked %d times: %v", s.asked.Load(), err)
	}
	if _, err := client.Connect(within(t), l.Addr().String()); shard.CodeOf(err) != shard.CodeUnavailable {
		t.Errorf("connected to a stranger: %v", err)
	}
}

// A command is sent to another node only when it is certain that the first did nothing.
func TestUnknownIsNotRepeated(t *testing.T) {
	for _, c := range []struct {
		what  string
		fault *wire.Fault
		err   error
		code  shard.Code
		asked int32 // by the second node
	}{
		{"stopping, not applied", &wire.Fault{Code: "closed"}, nil, "", 1},
		{"stopping, unknown", &wire.Fault{Code: "closed", Unknown: true}, nil, shard.CodeClosed, 0},
		{"refused", &wire.Fault{Code: "refused"}, nil, shard.CodeRefused, 0},
		{"broken off", nil, status.Error(codes.Unavailable, "reset"), shard.CodeUnavailable, 0},
	} {
		first, second := open(t, "g"), open(t, "g")
		first.ask = func() (*wire.AskReply, error) { return &wire.AskReply{Fault: c.fault}, c.err }
		cl, err := client.Connect(within(t), first.addr, second.addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := cl.Tell(within(t), ping); shard.CodeOf(err) != c.code || second.asked.Load() != c.asked {
			t.Errorf("%s: %v, the second was asked %d times", c.what, err, second.asked.Load())
		}
		cl.Close()
	}
}

// A node of another group is no substitute, whether the group was named or learnt.
func TestOtherGroup(t *testing.T) {
	ours, theirs := open(t, "ours"), open(t, "theirs")
	if _, err := client.Open(within(t), client.Config{Addrs: []string{theirs.addr}, Group: "ours"}); shard.CodeOf(err) != shard.CodeWrongGroup {
		t.Errorf("got %v", err)
	}
	c, err := client.Connect(within(t), ours.addr, theirs.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ours.stop()
	if _, err := c.Ask(within(t), ping); err == nil || theirs.asked.Load() > 0 {
		t.Errorf("asked a foreign group: %v", err)
	}
}

// What only the leader can do is brought to it, even when it is not among the client's addresses.
func TestFollowsTheLeader(t *testing.T) {
	follower, leader := open(t, "g"), open(t, "g")
	follower.propose = func() *wire.Fault { return &wire.Fault{Code: "not-leader", Node: "n2", Addr: leader.addr} }
	c, err := client.Connect(within(t), follower.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetRequiredQuorum(within(t), 2); err != nil || leader.asked.Load() != 1 {
		t.Errorf("%v, the leader was asked %d times", err, leader.asked.Load())
	}
	leader.propose = func() *wire.Fault { return &wire.Fault{Code: "not-leader", Addr: follower.addr} }
	if err := c.SetRequiredQuorum(within(t), 2); shard.CodeOf(err) != shard.CodeNotLeader {
		t.Errorf("two that point at each other: %v", err)
	}
}

// Of several nodes one has something to say and the others are not there: that is what the caller hears, and not only who was not
// there; and that it may have happened at one of them is not forgotten over the next.
func TestTheTellingErrorIsKept(t *testing.T) {
	first, second := open(t, "g"), open(t, "g")
	c, err := client.Connect(within(t), first.addr, second.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	second.stop()
	first.propose = func() *wire.Fault { return &wire.Fault{Code: "no-leader", Detail: "nobody leads"} }
	if err := c.SetRequiredQuorum(within(t), 2); shard.CodeOf(err) != shard.CodeNoLeader || shard.As(err).Outcome != shard.NotApplied {
		t.Errorf("%v", err)
	}
	first.propose = func() *wire.Fault { return &wire.Fault{Code: "no-leader", Unknown: true} }
	first.order = func(*wire.AdministerRequest) *wire.Fault { return first.propose() }
	if _, err := c.Pause(within(t), true, 0); shard.CodeOf(err) != shard.CodeNoLeader || shard.As(err).Outcome != shard.Unknown {
		t.Errorf("%v", err)
	}
}

// A watcher sees the whole map first and then every change once, over broken streams.
func TestWatch(t *testing.T) {
	s := open(t, "g")
	c, err := client.Connect(within(t), s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := shard.Index(7)
	for e, err := range c.Watch(within(t)) {
		if err != nil || e.View.Index != want || e.Delta.Reset != (want == 7) || want > 7 && e.View.Required != int(want)-1 {
			t.Fatalf("index %d: %+v, %v", want, e, err)
		}
		if want++; want > 10 {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range c.Watch(ctx) {
		if err == nil {
			t.Error("an event after the end")
		}
	}
}

// Evidence that offered nothing to go on with is no word to begin with nothing: such an order changes nothing.
func TestRecoverAcceptsWhatWasOffered(t *testing.T) {
	s := open(t, "g1")
	var heard *wire.AdministerRequest
	s.order = func(req *wire.AdministerRequest) *wire.Fault { heard = req; return nil }
	c, err := client.Connect(t.Context(), s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, x := range []struct {
		accepted client.Evidence
		judge    bool
	}{
		{client.Evidence{Epoch: 3, Chosen: 7}, false},
		{client.Evidence{Epoch: 3, Anew: []shard.NodeID{"n1"}}, false},
		{client.Evidence{Epoch: 3, Reason: "await-answers"}, true},
	} {
		if _, err := c.Recover(t.Context(), shard.ID{Type: "account"}, x.accepted); err != nil {
			t.Fatal(err)
		}
		if heard.DryRun != x.judge || heard.Epoch != 3 || heard.Copy != uint64(x.accepted.Chosen) {
			t.Errorf("%+v makes %v", x.accepted, heard)
		}
	}
}

// An answer that is a fault leaves nothing behind, though the caller's context goes on; one without a message is a fault too.
func TestInspectEndsItsStream(t *testing.T) {
	s := open(t, "g1")
	c, err := client.Connect(t.Context(), s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.inspect = func(grpc.ServerStreamingServer[wire.InspectReply]) error { return nil }
	if _, err := c.Inspect(t.Context()); shard.CodeOf(err) != shard.CodeInternal {
		t.Errorf("an answer without a message: %v", err)
	}
	s.inspect = func(stream grpc.ServerStreamingServer[wire.InspectReply]) error {
		return stream.Send(&wire.InspectReply{Fault: &wire.Fault{Code: string(shard.CodeNoLeader)}})
	}
	before := runtime.NumGoroutine()
	for range 200 {
		if _, err := c.Inspect(t.Context()); shard.CodeOf(err) != shard.CodeNoLeader {
			t.Fatal(err)
		}
	}
	if now := runtime.NumGoroutine(); now > before+50 {
		t.Errorf("%d goroutines, before 200 calls there were %d", now, before)
	}
}

// An answer without end is refused at its first message that goes beyond what a map may be, and not collected until the caller's time is up.
func TestInspectRefusesAnAnswerWithoutEnd(t *testing.T) {
	s := open(t, "g1")
	c, err := client.Connect(t.Context(), s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent, ended := 0, make(chan error, 1)
	s.inspect = func(stream grpc.ServerStreamingServer[wire.InspectReply]) error {
		defer func() { ended <- stream.Context().Err() }()
		for whole := fsm.EncodeDelta(s.view.Whole())[0]; ; sent++ {
			if err := stream.Send(&wire.InspectReply{Node: "n1", Whole: whole}); err != nil {
				return err
			}
		}
	}
	if _, err := c.Inspect(within(t)); shard.CodeOf(err) != shard.CodeInvalid || !strings.Contains(err.Error(), "which is whole") {
		t.Errorf("%v", err)
	}
	if err := <-ended; err == nil || sent > 100_000 {
		t.Errorf("the node sent %d messages: %v", sent, err)
	}
}

// Who gives up at a barrier hears what became of the arrival from the call that made it: that the barrier opened in that very moment, or that it was
// taken back for certain, also when the word to take it back comes first. From a node that does not know how, nothing is certain.
func TestGivingUpAtABarrierIsCertain(t *testing.T) {
	s := open(t, "g1")
	c, err := client.Connect(t.Context(), s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	withdrawn := &wire.ArriveReply{Fault: transport.FaultOf(shard.Errorf(shard.CodeTimeout, "it did not open"))}
	unknown := &wire.ArriveReply{Fault: transport.FaultOf(shard.Errorf(shard.CodeNotFound, "no such call"))}
	old := &wire.ArriveReply{Fault: transport.FaultOf(shard.Invalid("parties = 0"))}
	for what, x := range map[string]struct {
		words   []*wire.ArriveReply // to take back, one after the other
		becomes *wire.ArriveReply
		opened  bool
		outcome shard.Outcome
	}{
		"it opened":              {[]*wire.ArriveReply{{}}, &wire.ArriveReply{Generation: 3, Parties: 2}, true, shard.NotApplied},
		"taken back":             {[]*wire.ArriveReply{{}}, withdrawn, false, shard.NotApplied},
		"the word overtook it":   {[]*wire.ArriveReply{unknown, unknown, {}}, withdrawn, false, shard.NotApplied},
		"a node that is too old": {[]*wire.ArriveReply{old}, nil, false, shard.Unknown},
	} {
		ctx, giveUp := context.WithCancel(within(t))
		words, last, request := x.words, make(chan struct{}), uint64(0)
		s.arrive = func(call context.Context, req *wire.ArriveRequest) (*wire.ArriveReply, error) {
			if req.Parties > 0 {
				request = req.Request
				giveUp()
				select {
				case <-last:
					return x.becomes, nil
				case <-call.Done():
					return nil, call.Err()
				}
			}
			if req.Request != request || req.Name != "b" {
				t.Errorf("%s: take back %v", what, req)
			}
			word := words[0]
			if words = words[1:]; len(words) == 0 && x.becomes != nil {
				close(last)
			}
			return word, nil
		}
		out, err := c.Barrier(ctx, "b", 2, "me")
		if fault := shard.As(err); x.opened != (err == nil) || err != nil && (fault.Code != shard.CodeTimeout || fault.Outcome != x.outcome) {
			t.Errorf("%s: %+v, %v", what, out, err)
		}
	}
	if _, err := c.Barrier(within(t), "b", 0, "me"); shard.CodeOf(err) != shard.CodeInvalid {
		t.Errorf("a barrier of nobody: %v", err)
	}
}
