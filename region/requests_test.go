package region_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"muster/entity"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// A lane is a stream to a node as another node would open it, so that a test can say every word itself.
type lane struct {
	t      testing.TB
	stream wire.Peer_DeliverClient
	call   uint64
}

func dial(t testing.TB, from, to *node) *lane {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s, err := wire.NewPeerClient(from.port.Peer(to.port.Addr())).Deliver(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &lane{t: t, stream: s}
}

// send sends envelopes in one frame.
func (l *lane) send(all ...*wire.Envelope) {
	l.t.Helper()
	for _, e := range all {
		l.call++
		e.Call = l.call
	}
	if err := l.stream.Send(&wire.EnvelopeFrame{Envelopes: all}); err != nil {
		l.t.Fatal(err)
	}
}

// answers receives n answers and returns each as its payload or the code of its fault, by call.
func (l *lane) answers(n int) map[uint64]string {
	l.t.Helper()
	got := map[uint64]string{}
	for len(got) < n {
		f, err := l.stream.Recv()
		if err != nil {
			l.t.Fatal(err)
		}
		for _, a := range f.Answers {
			if _, twice := got[a.Call]; twice {
				l.t.Fatalf("call %d was answered twice", a.Call)
			}
			got[a.Call] = string(a.Payload)
			if fault := transport.ErrorOf(a.Fault); fault != nil {
				got[a.Call] = string(fault.Code)
				if fault.Outcome == shard.Unknown {
					got[a.Call] += " unknown"
				}
			}
		}
	}
	return got
}

// ask sends one envelope and returns its answer.
func (l *lane) ask(e *wire.Envelope) string {
	l.t.Helper()
	l.send(e)
	return l.answers(1)[l.call]
}

func envelope(id shard.ID, epoch shard.Epoch, entity, command string, payload any) *wire.Envelope {
	b, _ := json.Marshal(payload)
	return &wire.Envelope{Type: string(id.Type), Shard: uint32(id.Number), Epoch: uint64(epoch), Entity: entity, Command: command, Payload: b}
}

func by(e *wire.Envelope, session shard.SessionID, number, floor uint64) *wire.Envelope {
	e.Session, e.Number, e.Floor = uint64(session), number, floor
	return e
}

// A command that comes again under the same request id is answered with what it did the first time: while it runs, after
// its record, after a refusal without one, and by the next primary. Another payload under the id is refused.
func TestDuplicatesTakeEffectOnce(t *testing.T) {
	c := define("counter", entityOptions(1, 2, 1)...)
	g := newGroup(t, 3, c)
	id := one("counter")
	g.place(id, 0, 1, 2)
	g.await(id, shard.Active)
	session := g.nodes[1].Session()
	l := dial(t, g.nodes[1], g.nodes[0])

	add := func(n int) *wire.Envelope { return envelope(id, 1, "e", "add", n) }
	expect(t, "first", l.ask(by(add(5), session, 1, 1)), "5")
	expect(t, "again", l.ask(by(add(5), session, 1, 1)), "5")
	expect(t, "other payload", l.ask(by(add(6), session, 1, 1)), "request-reused")
	expect(t, "refusal", l.ask(by(envelope(id, 1, "e", "refuse", nil), session, 2, 1)), "refused")
	expect(t, "refusal again", l.ask(by(envelope(id, 1, "e", "refuse", nil), session, 2, 1)), "refused")
	expect(t, "other command", l.ask(by(add(5), session, 2, 1)), "request-reused")

	wait := func() *wire.Envelope { return by(envelope(id, 1, "slow", "wait", struct{}{}), session, 3, 1) }
	l.send(wait(), wait(), wait())
	<-c.inside
	c.gate <- struct{}{}
	for call, answer := range l.answers(3) {
		expect(t, fmt.Sprintf("joined call %d", call), answer, "0")
	}

	g.recover(id)
	g.await(id, shard.Active)
	p := g.placement(id)
	l = dial(t, g.nodes[1], g.node(p.Node))
	again := by(add(5), session, 1, 1)
	again.Epoch = uint64(p.Epoch)
	if p.Node == g.nodes[1].id {
		t.Fatalf("the test wants another owner than %s", p.Node)
	}
	expect(t, "at the next primary", l.ask(again), "5")
	if v, err := c.get.Ask(ctxFor(t), g.nodes[2].region, "e", struct{}{}); err != nil || v != 5 {
		t.Fatalf("get: %d, %v; want 5", v, err)
	}
}

// Numbers below the floor never run; more than 1,024 open ones are refused; an ended session is refused, one that is
// younger than the map has to come again; an envelope of another epoch is sent elsewhere.
func TestRequestsThatAreNotTaken(t *testing.T) {
	c := define("counter", entityOptions(1, 0, 0)...)
	g := newGroup(t, 2, c)
	id := one("counter")
	g.place(id, 0)
	g.await(id, shard.Active)
	session := g.nodes[1].Session()
	l := dial(t, g.nodes[1], g.nodes[0])
	add := func() *wire.Envelope { return envelope(id, 1, "e", "add", 1) }

	expect(t, "raises the floor", l.ask(by(add(), session, 10, 10)), "1")
	expect(t, "below the floor", l.ask(by(add(), session, 9, 9)), "request-too-old unknown")
	expect(t, "young session", l.ask(by(add(), session+100, 1, 1)), "behind")
	old := add()
	old.Epoch = 0
	expect(t, "older epoch", l.ask(by(old, session, 11, 11)), "moved")
	young := add()
	young.Epoch = 7
	expect(t, "younger epoch", l.ask(by(young, session, 11, 11)), "behind")
	other := add()
	other.Shard = 3
	expect(t, "wrong shard", l.ask(by(other, session, 11, 11)), "invalid-argument")

	var many []*wire.Envelope
	for i := range 1200 {
		many = append(many, by(add(), session, uint64(20+i), 20))
	}
	l.send(many...)
	refused := 0
	for _, a := range l.answers(len(many)) {
		if a == string(shard.CodeOverloaded) {
			refused++
		}
	}
	if refused != len(many)-1024 {
		t.Errorf("%d of %d requests above one floor were refused; 1,024 may be open", refused, len(many))
	}

	g.change(func(d *shard.Delta) { d.Ended = []shard.SessionID{session} })
	expect(t, "ended session", l.ask(by(add(), session, 5000, 5000)), "session-ended")
}

// A command that was refused because its node's session had ended is asked under the next one, as long as there is time.
func TestAsksGoOnUnderTheNextSession(t *testing.T) {
	c := define("counter", entityOptions(1, 0, 0)...)
	g := newGroup(t, 2, c)
	id := one("counter")
	g.place(id, 0)
	g.await(id, shard.Active)
	n := g.nodes[1]
	old := n.Session()
	g.change(func(d *shard.Delta) { d.Ended = []shard.SessionID{old} })

	answer, looks := make(chan error, 1), n.looks.Load()
	waits := func() bool { return len(answer) > 0 || n.looks.Load() > looks+20 }
	given, giveUp := context.WithCancel(ctxFor(t))
	defer giveUp()
	go func() {
		_, err := c.add.Ask(given, n.region, "e", 1)
		answer <- err
	}()
	until(t, "the command waits for a session", waits)
	giveUp()
	if err := <-answer; shard.CodeOf(err) != shard.CodeSessionEnded || shard.As(err).Outcome != shard.NotApplied {
		t.Fatalf("without another session: %v; want session-ended, not applied", err)
	}

	looks = n.looks.Load()
	go func() {
		v, err := c.add.Ask(ctxFor(t), n.region, "e", 1)
		if err == nil && v != 1 {
			err = fmt.Errorf("the counter is at %d", v)
		}
		answer <- err
	}()
	until(t, "the command waits for a session", waits)
	g.change(func(d *shard.Delta) {
		g.sessions++
		d.LastSession = g.sessions
		d.Sessions = []shard.Session{{ID: g.sessions, Node: n.id, Directory: n.directory}}
		n.session.Store(uint64(g.sessions))
	})
	if err := <-answer; err != nil {
		t.Error(err)
	}
}

func expect(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// Beyond autonomy a primary confirms nothing, to the second who asks neither.
func TestMutedPrimaryAnswersNoDuplicate(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(0, 0, 200*time.Millisecond))
	g := newGroup(t, 2, c)
	id := one("counter")
	g.place(id, 0)
	g.await(id, shard.Active)
	n, session := g.nodes[0], g.nodes[1].Session()
	l := dial(t, g.nodes[1], n)
	add := func() string { return l.ask(by(envelope(id, 1, "e", "add", 5), session, 1, 1)) }
	n.lease.Store(int64(now() - 61*time.Second))
	expect(t, "beyond autonomy", add(), "unconfirmed unknown")
	expect(t, "the same again", add(), "unconfirmed unknown")
}
