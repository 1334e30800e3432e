package coordinator

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"muster/barrier"
	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

const (
	withdrawTime = 3 * time.Second // beyond the caller's deadline, to make certain that a timeout is one
	longestWait  = 24 * time.Hour  // in a barrier, when the caller sets no deadline
	mostArriving = 2000            // barrier calls that wait through one node: fewer than a connection carries streams
)

// arrival is one call of a barrier. Repeated anywhere, it is the same arrival.
type arrival struct {
	name        string
	parties     int
	participant string
	session     shard.SessionID
	request     uint64
}

// arrivals counts this process's. Safe for concurrent use.
type arrivals struct {
	numbers atomic.Uint64 // so far; the request of the newest
	waiting atomic.Int64
	callers callers
}

func (a arrival) key() waitKey {
	participant := barrier.Participant(a.participant)
	if participant == "" {
		participant = barrier.Participant(fmt.Sprintf("%d/%d", a.session, a.request)) // as the table names it
	}
	return waitKey{barrier.Name(a.name), participant}
}

func (a arrival) arrive() *fsm.Arrive {
	return &fsm.Arrive{Name: a.name, Parties: a.parties, Participant: a.participant, Session: a.session, Request: a.request}
}

func (a arrival) withdraw() *fsm.Withdraw {
	return &fsm.Withdraw{Name: a.name, Participant: a.participant, Session: a.session, Request: a.request}
}

// Arrive enters the barrier for this node's session and waits until parties of them are in. The first to arrive fixes
// parties; another number is refused with CodeMismatch. Participant names this party within a round; "" makes it a party
// of its own.
//
// When ctx ends first the arrival is taken back, and only when that is applied the answer is CodeTimeout, not applied; a
// release that came before is a success. That may take up to three seconds beyond the deadline. CodeTimeout with an unknown outcome
// means that no leader could be reached to take it back: it counts until this node's session ends. A later call under the same name,
// from here or elsewhere, takes the place of this one, which fails with CodeReplaced at once. It fails with CodeOverloaded while
// as many calls wait through this node as may.
func (c *Coordinator) Arrive(ctx context.Context, name string, parties int, participant string) (barrier.Outcome, error) {
	defer c.arrivals.waiting.Add(-1)
	if c.arrivals.waiting.Add(1) > mostArriving {
		return barrier.Outcome{}, shard.Errorf(shard.CodeOverloaded, "%d calls wait in barriers through this node, the most there may be", mostArriving)
	}
	a := arrival{name, parties, participant, c.Session(), c.arrivals.numbers.Add(1)}
	if a.session == 0 {
		return barrier.Outcome{}, shard.Errorf(shard.CodeClosed, "this node is not registered yet")
	}
	if fault := a.arrive().Validate(); fault != nil {
		return barrier.Outcome{}, fault
	}
	if c.life.ctx.Err() != nil {
		return barrier.Outcome{}, shard.Errorf(shard.CodeClosed, "this node is shutting down")
	}
	return c.await(ctx, a)
}

// await has the leader enter the arrival and wait, again at the next leader when one is lost.
func (c *Coordinator) await(ctx context.Context, a arrival) (barrier.Outcome, error) {
	waiting, cancel := c.life.within(ctx)
	defer cancel()
	for {
		out, err := c.arriveAtLeader(waiting, a)
		fault := shard.As(err)
		switch {
		case fault == nil:
			return out, nil
		case waiting.Err() != nil:
			return c.takeBack(a)
		case permanent(fault):
			return barrier.Outcome{}, fault
		}
		if !pause(waiting, repeatPause) {
			return c.takeBack(a)
		}
	}
}

// takeBack withdraws the arrival and says what had become of it.
func (c *Coordinator) takeBack(a arrival) (barrier.Outcome, error) {
	ctx, cancel := context.WithTimeout(c.life.ctx, withdrawTime)
	defer cancel()
	verdict, _, err := c.proposeSurely(ctx, a.withdraw())
	if err == nil {
		err = verdict.Err()
	}
	switch {
	case err != nil && c.life.ctx.Err() != nil:
		return barrier.Outcome{}, shard.Unknownf(shard.CodeClosed, "barrier %s: this node is shutting down; the arrival counts until its session ends", a.name)
	case err != nil:
		return barrier.Outcome{}, shard.Unknownf(shard.CodeTimeout, "barrier %s: the time is over and taking the arrival back failed: %v", a.name, err)
	case verdict.Barrier != nil && verdict.Barrier.State == barrier.Released:
		return *verdict.Barrier, nil
	default:
		return barrier.Outcome{}, shard.Errorf(shard.CodeTimeout, "barrier %s did not open in time", a.name)
	}
}

// arriveAtLeader waits at the leader. It returns without an answer when the leader is lost; then it is simply repeated.
func (c *Coordinator) arriveAtLeader(ctx context.Context, a arrival) (out barrier.Outcome, err error) {
	err = c.atLeader(ctx, leaderCall{
		waits: true,
		local: func(ctx context.Context, v *voter) error {
			out, err = v.arrive(ctx, a)
			return err
		},
		remote: func(ctx context.Context, g wire.GroupClient) error {
			reply, err := g.Arrive(ctx, arriveRequest(ctx, a))
			if err != nil {
				return transport.Typed(err)
			}
			if reply.Fault != nil {
				return transport.ErrorOf(reply.Fault)
			}
			out = outcomeOf(reply)
			return nil
		},
	})
	return out, err
}

// arrive enters the arrival here, at the leader, and waits for its release. It leaves the withdrawing to the party's own
// node, which is told nothing certain when ctx ends or the lead is lost.
func (v *voter) arrive(ctx context.Context, a arrival) (barrier.Outcome, error) {
	w := v.machine.wait.enter(a)
	defer v.machine.wait.leave(w)
	d, err := v.propose(ctx, fsm.Lengths{}, a.arrive())
	if err != nil {
		return barrier.Outcome{}, err
	}
	if err := d.verdicts[0].Err(); err != nil {
		return barrier.Outcome{}, err
	}
	v.machine.wait.arrived(w, d.index)
	switch out := d.verdicts[0].Barrier; {
	case out.State == barrier.Released:
		return *out, nil
	case out.State == barrier.Withdrawn: // whose own node has taken it back asks no more
		return barrier.Outcome{}, a.replaced()
	case v.holdsAnother(a):
		w.tell(waitNews{replaced: true}) // unless it has news: a release, and the other waits in the next round
	default:
		v.machine.wait.supersede(w)
	}
	select {
	case n := <-w.news:
		switch {
		case n.replaced:
			return barrier.Outcome{}, a.replaced()
		case n.outcome != nil && n.outcome.Generation != d.verdicts[0].Barrier.Generation:
			return barrier.Outcome{}, shard.Unknownf(shard.CodeUnavailable, "barrier %s: another round was released before this arrival came in", a.name) // asked again
		case n.outcome != nil:
			return *n.outcome, nil
		case n.ended:
			return barrier.Outcome{}, shard.Errorf(shard.CodeSessionEnded, "barrier %s: session %d has ended", a.name, a.session)
		default:
			return barrier.Outcome{}, shard.Unknownf(shard.CodeUnavailable, "this node leads no more")
		}
	case <-v.c.life.done():
		return barrier.Outcome{}, shard.Unknownf(shard.CodeClosed, "this node is shutting down")
	case <-ctx.Done():
		return barrier.Outcome{}, shard.Unknownf(shard.CodeTimeout, "barrier %s did not open in time", a.name)
	}
}

// holdsAnother reports whether another call waits under the name of this one.
func (v *voter) holdsAnother(a arrival) bool {
	key := a.key()
	p, waits := v.machine.state().Barriers.Waiting(key.name, key.participant)
	return waits && (shard.SessionID(p.Session) != a.session || p.Request != a.request)
}

func (a arrival) replaced() *shard.Error {
	return shard.Errorf(shard.CodeReplaced, "barrier %s: a later call under the name %q waits in the place of this one", a.name, a.participant)
}

func arriveRequest(ctx context.Context, a arrival) *wire.ArriveRequest {
	return &wire.ArriveRequest{
		Name: a.name, Parties: int32(a.parties), Participant: a.participant, Session: uint64(a.session), Request: a.request,
		TimeoutMicros: timeLeft(ctx).Microseconds(),
	}
}

// timeLeft is how long ctx has, at most longestWait.
func timeLeft(ctx context.Context) time.Duration {
	if deadline, has := ctx.Deadline(); has {
		return min(time.Until(deadline), longestWait)
	}
	return longestWait
}

func outcomeOf(r *wire.ArriveReply) barrier.Outcome {
	out := barrier.Outcome{
		State: barrier.Released, Generation: barrier.Generation(r.Generation), Parties: int(r.Parties), Arrived: int(r.Parties),
	}
	for _, p := range r.Participants {
		out.Participants = append(out.Participants, barrier.Participant(p))
	}
	return out
}

func replyOf(out barrier.Outcome) *wire.ArriveReply {
	r := &wire.ArriveReply{Generation: uint64(out.Generation), Parties: int32(out.Parties)}
	for _, p := range out.Participants {
		r.Participants = append(r.Participants, string(p))
	}
	return r
}
