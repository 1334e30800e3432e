package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"muster/barrier"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// party is one arrival under way.
type party struct {
	done chan struct{}
	at   time.Time // when it was released
	out  barrier.Outcome
	err  error
}

func (n *node) arrive(wait time.Duration, name string, parties int, participant string) *party {
	p := &party{done: make(chan struct{})}
	c := n.Coordinator
	go func() {
		defer close(p.done)
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		p.out, p.err = c.Arrive(ctx, name, parties, participant)
		p.at = time.Now()
	}()
	return p
}

// waiting polls, at the leader, until that many parties wait in the barrier.
func (g *group) waiting(name string, parties int) {
	g.t.Helper()
	g.eventually("parties wait", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		found, err := g.leader().Inspect(ctx, true)
		if err != nil {
			return err
		}
		for _, r := range found.Barriers {
			if string(r.Name) == name && len(r.Arrived) == parties {
				return nil
			}
		}
		if parties == 0 && len(found.Barriers) == 0 {
			return nil
		}
		return fmt.Errorf("not %d in %s: %+v", parties, name, found.Barriers)
	})
}

// Parties on three voters and a member meet: one generation for all, released by the last, within a few milliseconds.
func TestBarrierAcrossNodes(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	m := g.add("m1")
	if err := m.start(nil); err != nil {
		t.Fatal(err)
	}
	var last barrier.Generation
	for round := range 5 {
		parties := []*party{
			m.arrive(patience, "start", 4, ""), g.nodes["n1"].arrive(patience, "start", 4, ""), g.nodes["n2"].arrive(patience, "start", 4, "")}
		g.waiting("start", 3)
		began := time.Now()
		parties = append(parties, g.nodes["n3"].arrive(patience, "start", 4, ""))
		var slowest time.Duration
		for _, p := range parties {
			<-p.done
			if p.err != nil {
				t.Fatal(p.err)
			}
			if len(p.out.Participants) != 4 || p.out.Generation != parties[0].out.Generation || p.out.Generation <= last {
				t.Fatalf("round %d: %+v after generation %d", round, p.out, last)
			}
			slowest = max(slowest, p.at.Sub(began))
		}
		last = parties[0].out.Generation
		t.Logf("round %d: %s from the last arrival to the last release", round, slowest)
	}
}

// An arrival that is not met in time is taken back, and says so; another number of parties is refused and changes nothing.
func TestBarrierTimeoutAndMismatch(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	n := g.nodes["n1"]
	first := n.arrive(patience, "gate", 2, "a")
	g.waiting("gate", 1)
	other := n.arrive(patience, "gate", 3, "b")
	<-other.done
	if shard.CodeOf(other.err) != shard.CodeMismatch {
		t.Errorf("another number of parties: %v", other.err)
	}
	short := n.arrive(50*time.Millisecond, "elsewhere", 2, "c")
	<-short.done
	var fault *shard.Error
	if !errors.As(short.err, &fault) || fault.Code != shard.CodeTimeout || fault.Outcome != shard.NotApplied {
		t.Errorf("not met in time: %v", short.err)
	}
	second := n.arrive(patience, "gate", 2, "d")
	<-first.done
	<-second.done
	if first.err != nil || second.err != nil || first.out.Generation != second.out.Generation {
		t.Errorf("%+v %v, %+v %v", first.out, first.err, second.out, second.err)
	}
	g.waiting("", 0)
	closed := n.Coordinator
	n.stop()
	if _, err := closed.Arrive(t.Context(), "gate", 2, "e"); !errors.As(err, &fault) || fault.Code != shard.CodeClosed || fault.Outcome != shard.NotApplied {
		t.Errorf("after the node was closed: %v", err)
	}
}

// The leader dies while parties wait: they go on waiting at the next leader, as the same arrivals, and are released once.
func TestBarrierOutlivesItsLeader(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	dead := g.leader()
	rest := g.others(dead)
	first, second := rest[0].arrive(patience, "start", 3, ""), rest[1].arrive(patience, "start", 3, "")
	g.waiting("start", 2)
	dead.kill()
	g.leader()
	third := rest[0].arrive(patience, "start", 3, "")
	for _, p := range []*party{first, second, third} {
		<-p.done
		if p.err != nil || len(p.out.Participants) != 3 || p.out.Generation != first.out.Generation {
			t.Errorf("%+v, %v", p.out, p.err)
		}
	}
}

// A client's call is taken back by its own name, and says itself what became of it. One of another name is not touched, and what is over, or was
// never here, is not there.
func TestAClientTakesItsCallBack(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	g.everyMap("n1 is up", up("n1"))
	n1 := g.nodes["n1"]
	conn, err := transport.Dial(n1.addr, transport.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	call := func(r *wire.ArriveRequest) (*wire.ArriveReply, error) {
		reply, err := wire.NewGroupClient(conn).Arrive(ctx, r)
		if err == nil && reply.Fault != nil {
			err = transport.ErrorOf(reply.Fault)
		}
		return reply, err
	}
	over := map[uint64]chan error{7: make(chan error, 1), 8: make(chan error, 1)}
	for request, done := range over {
		go func() {
			_, err := call(&wire.ArriveRequest{Name: "b", Parties: 3, Participant: fmt.Sprint(request), Request: request})
			done <- err
		}()
	}
	waiting := func(want int) error {
		i, err := n1.Inspect(ctx, true)
		if err != nil {
			return err
		}
		got := 0
		for _, b := range i.Barriers {
			got += len(b.Arrived)
		}
		if got != want {
			return fmt.Errorf("%d wait", got)
		}
		return nil
	}
	g.eventually("both wait", func() error { return waiting(2) })
	if _, err := call(&wire.ArriveRequest{Name: "c", Request: 7}); shard.CodeOf(err) != shard.CodeNotFound {
		t.Errorf("at another barrier: %v", err)
	}
	if _, err := call(&wire.ArriveRequest{Name: "b", Request: 7}); err != nil {
		t.Error(err)
	}
	if fault := shard.As(<-over[7]); fault == nil || fault.Code != shard.CodeTimeout || fault.Outcome != shard.NotApplied {
		t.Errorf("%v, want timeout, not applied", fault)
	}
	if err := waiting(1); err != nil {
		t.Errorf("one is left, and %v", err)
	}
	if _, err := call(&wire.ArriveRequest{Name: "b", Request: 7}); shard.CodeOf(err) != shard.CodeNotFound {
		t.Errorf("once more: %v", err)
	}
	cancel()
	<-over[8]
}
