package coordinator

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"muster/fsm"
	"muster/shard"
)

const (
	queuedProposals  = 4_096            // callers waiting for the proposer; more are refused as overloaded
	batchedCommands  = 256              // in one entry; each may be a batch itself
	entriesInFlight  = 64               // handed to Raft and not applied yet
	enqueueTimeout   = 2 * time.Second  // until Raft takes an entry
	proposalDeadline = 10 * time.Second // from then until it is applied; past it the outcome is unknown
)

// A proposer puts the commands of many callers into few Raft entries.
//
// One goroutine takes what has gathered while this node stored the entry before, so an idle group commits a command at once and
// a busy one shares the cost. It never waits for a result: a Raft future may never answer, so each is waited for on the side,
// with a deadline past which the outcome is unknown.
//
// Rejected: to make the next entry as soon as Raft took the one before. It would only wait until that is stored, and what
// comes meanwhile would be a third.
type proposer struct {
	v       *voter
	queue   chan *proposal
	flights chan struct{} // one token for each entry in flight
	stop    chan struct{}
	running sync.WaitGroup
}

// proposal is one caller's commands. They stay together and in order.
type proposal struct {
	commands []fsm.Command
	alone    bool          // in an entry of its own
	done     chan proposed // of one
}

type proposed struct {
	verdicts []fsm.Verdict
	index    shard.Index
	err      *shard.Error
}

func newProposer(v *voter) *proposer {
	return &proposer{
		v: v, queue: make(chan *proposal, queuedProposals), flights: make(chan struct{}, entriesInFlight), stop: make(chan struct{}),
	}
}

func (p *proposer) start(r *raft.Raft) { p.running.Go(func() { p.run(r) }) }

// propose runs the commands as part of one entry if this node leads. A CodeNotLeader fault names the leader when known.
func (p *proposer) propose(ctx context.Context, commands ...fsm.Command) ([]fsm.Verdict, shard.Index, error) {
	w, err := p.enqueue(false, commands...)
	if err != nil {
		return nil, 0, err
	}
	return p.wait(ctx, w)
}

// enqueue hands commands over without waiting. Those of one goroutine are applied in the order they were handed over.
func (p *proposer) enqueue(alone bool, commands ...fsm.Command) (*proposal, error) {
	select {
	case <-p.stop:
		return nil, shard.Errorf(shard.CodeClosed, "this node is shutting down")
	default:
	}
	w := &proposal{commands, alone, make(chan proposed, 1)}
	select {
	case p.queue <- w:
		return w, nil
	default:
		return nil, shard.Errorf(shard.CodeOverloaded, "%d proposals wait already", queuedProposals)
	}
}

func (p *proposer) wait(ctx context.Context, w *proposal) ([]fsm.Verdict, shard.Index, error) {
	select {
	case r := <-w.done:
		if r.err != nil {
			return nil, 0, r.err
		}
		return r.verdicts, r.index, nil
	case <-ctx.Done():
		return nil, 0, shard.Unknownf(shard.CodeTimeout, "the proposal was not applied in time")
	case <-p.stop:
		return nil, 0, shard.Unknownf(shard.CodeClosed, "this node is shutting down")
	}
}

func (p *proposer) run(r *raft.Raft) {
	var next *proposal // taken from the queue, but not fit for the last batch
	for {
		if next == nil {
			select {
			case next = <-p.queue:
			case <-p.stop:
				return
			}
		}
		select {
		case p.flights <- struct{}{}:
		case <-p.stop:
			return
		}
		var batch []*proposal
		batch, next = p.gather(next)
		kept := p.v.store.kept.listen()
		answered := p.submit(r, batch)
		select {
		case <-kept:
		case <-answered: // without having been stored
		case <-time.After(enqueueTimeout): // the store hangs; Raft takes no more, which is what callers are told
		case <-p.stop:
			return
		}
	}
}

// gather takes what waits, up to the limits of an entry.
func (p *proposer) gather(first *proposal) (batch []*proposal, left *proposal) {
	batch = []*proposal{first}
	n := len(first.commands)
	for !first.alone {
		select {
		case w := <-p.queue:
			if w.alone || n+len(w.commands) > batchedCommands {
				return batch, w
			}
			batch = append(batch, w)
			n += len(w.commands)
		default:
			return batch, nil
		}
	}
	return batch, nil
}

// submit hands one entry to Raft. When the batch does not encode, each proposal is tried by itself, so that one caller's
// faulty command refuses nobody else's. Answered is closed when Raft has answered, and when it was given nothing more to answer.
func (p *proposer) submit(r *raft.Raft, batch []*proposal) (answered <-chan struct{}) {
	var commands []fsm.Command
	for _, w := range batch {
		commands = append(commands, w.commands...)
	}
	done := make(chan struct{})
	entry, err := fsm.Encode(commands...)
	switch {
	case err == nil:
		future := r.Apply(entry, enqueueTimeout)
		p.running.Go(func() {
			p.await(future, batch)
			close(done)
			<-p.flights
		})
		return done
	case len(batch) == 1:
		batch[0].done <- proposed{err: shard.As(err)}
	default:
		for _, w := range batch {
			p.flights <- struct{}{}
			p.submit(r, []*proposal{w})
		}
	}
	close(done)
	<-p.flights
	return done
}

// await distributes the verdicts of one entry.
func (p *proposer) await(future raft.ApplyFuture, batch []*proposal) {
	result := p.result(future)
	for _, w := range batch {
		if result.err != nil {
			w.done <- proposed{err: result.err}
			continue
		}
		n := len(w.commands)
		w.done <- proposed{verdicts: result.verdicts[:n:n], index: result.index}
		result.verdicts = result.verdicts[n:]
	}
}

func (p *proposer) result(future raft.ApplyFuture) proposed {
	answered := make(chan error, 1)
	go func() { answered <- future.Error() }()
	deadline := time.NewTimer(proposalDeadline)
	defer deadline.Stop()
	select {
	case err := <-answered:
		if err != nil {
			return proposed{err: p.v.translate(err)}
		}
	case <-deadline.C:
		return proposed{err: shard.Unknownf(shard.CodeTimeout, "Raft did not answer within %s", proposalDeadline)}
	}
	a := future.Response().(*applied)
	if a.fault != nil {
		return proposed{err: a.fault}
	}
	return proposed{verdicts: a.verdicts, index: shard.Index(future.Index())}
}

// translate says what an error of Raft means for the command. Only refusals from before the entry was stored are certain.
func (v *voter) translate(err error) *shard.Error {
	node, addr, _ := v.leader()
	if node == v.c.cfg.Node {
		node, addr = "", "" // it led when it was asked
	}
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return &shard.Error{Code: shard.CodeNotLeader, Node: node, Addr: addr, Detail: "this node does not lead the group"}
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return shard.Errorf(shard.CodeOverloaded, "Raft took no entry within %s", enqueueTimeout)
	case errors.Is(err, raft.ErrLeadershipLost):
		return &shard.Error{
			Code: shard.CodeNotLeader, Outcome: shard.Unknown, Node: node, Addr: addr, Detail: "this node lost the lead before it knew",
		}
	case errors.Is(err, raft.ErrRaftShutdown):
		return shard.Unknownf(shard.CodeClosed, "Raft is shut down")
	default:
		return shard.Unknownf(shard.CodeInternal, "raft: %v", err)
	}
}

// close ends the intake and waits a moment for what is in flight, so that callers learn what became of it.
func (p *proposer) close() {
	close(p.stop)
	done := make(chan struct{})
	go func() {
		p.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
		p.v.log.Warn("proposals are left without an answer")
	}
}
