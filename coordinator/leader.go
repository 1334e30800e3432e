package coordinator

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

const (
	barrierTimeout = 10 * time.Second // for what was committed before to be applied here
	factsQueued    = 1024             // batches of answers to seals and of reports, for the loop to take in
)

// leading is what a voter does while it leads the group.
//
// Each leadership is one term of work: first a barrier, so that everything committed before is applied here, then the
// loop that plans, and beside it the gathering of renewals. Nothing outside is answered before the barrier is through.
//
// The loop never waits for anybody: proposals are enqueued, seals go out in goroutines with their own deadlines, answers come
// back as facts. Its driver forgets everything with the leadership; the next leader finds out again.
type leading struct {
	v        *voter
	facts    chan func(*plan.Driver) // what the loop's driver should know
	renewals chan *renewRequest
	seals    *seals
	heirs    heirs
	ready    bell // rings when ready or over
	newest   outline
	seated   atomic.Pointer[[]plan.Line] // how the seats of the voters stand, after the newest look; of the present leadership or an earlier
	mu       struct {
		sync.Mutex
		closed bool
		work   *life         // of the present leadership; nil: none
		term   uint64        // in which everything committed before is applied here; 0: none
		since  time.Duration // when that was, on the coordinator's clock
	}
}

func newLeading(v *voter) *leading {
	return &leading{
		v: v, facts: make(chan func(*plan.Driver), factsQueued), renewals: make(chan *renewRequest, queuedProposals), seals: newSeals(v),
	}
}

// set begins or ends a leadership. Raft's notifications come here, one at a time.
func (l *leading) set(leads bool) {
	l.mu.Lock()
	old := l.mu.work
	l.mu.work, l.mu.term = nil, 0
	var work *life
	if leads && !l.mu.closed {
		work = newLife(context.Background())
		l.mu.work = work
	}
	l.mu.Unlock()
	if old != nil {
		old.end()
		l.v.machine.wait.disturb() // parties of barriers go to the next leader
	}
	if work != nil {
		work.Go(func() { l.lead(work) })
	}
	l.ready.ring()
	l.v.c.leaders.ring()
}

// close ends the leadership for good.
func (l *leading) close() {
	l.mu.Lock()
	l.mu.closed = true
	l.mu.Unlock()
	l.set(false)
}

func (l *leading) lead(work *life) {
	r := l.v.raft.Load()
	term := r.CurrentTerm()
	for {
		err := l.settle(work.ctx, r)
		if err == nil {
			break
		}
		l.v.log.Warn("a new leader cannot begin yet", "error", err)
		if !pause(work.ctx, repeatPause) {
			return
		}
	}
	l.mu.Lock()
	current := l.mu.work == work
	if current {
		l.mu.term, l.mu.since = term, l.v.c.clock.now()
	}
	l.mu.Unlock()
	if !current {
		return
	}
	l.v.c.log.Info("this node leads the group", "term", term)
	l.compareAll()
	l.ready.ring()
	work.Go(func() { l.gather(work) })
	work.Go(func() { l.expire(work) })
	work.Go(func() { l.tend(work) })
	l.plan(work)
}

// settle waits until everything committed before is applied here, and writes a new group's first entry.
func (l *leading) settle(ctx context.Context, r *raft.Raft) error {
	if err := answered(ctx, r.Barrier(barrierTimeout), barrierTimeout); err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	if l.v.machine.state().View.Group != "" {
		return nil
	}
	id := l.v.c.cfg.Directory.now.Load()
	genesis := &fsm.Genesis{Group: id.Group}
	for _, f := range id.Founders {
		genesis.Voters = append(genesis.Voters, fsm.Founder{Node: f.Node, Addr: f.Addr, Directory: f.Directory})
	}
	verdicts, _, err := l.v.proposer.propose(ctx, genesis)
	if err == nil {
		err = verdicts[0].Err()
	}
	if err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	return nil
}

// answered waits for a future of Raft, which may never answer, with a deadline.
func answered(ctx context.Context, f raft.Future, most time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return fmt.Errorf("no answer within %s", most)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isReady reports whether this node leads and has applied everything that was committed before its term.
func (l *leading) isReady() bool {
	l.mu.Lock()
	term := l.mu.term
	l.mu.Unlock()
	r := l.v.raft.Load()
	return term != 0 && r.State() == raft.Leader && r.CurrentTerm() == term
}

func (l *leading) since() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.since
}

// awaitReady waits until isReady. It fails with CodeNotLeader, naming the leader when known, on a node that does not lead.
func (l *leading) awaitReady(ctx context.Context) error {
	for {
		news := l.ready.listen()
		if l.isReady() {
			return nil
		}
		if !l.v.leads() {
			return l.v.translate(raft.ErrNotLeader)
		}
		select {
		case <-news:
		case <-time.After(leaderPause): // Raft's own state has no bell
		case <-ctx.Done():
			return shard.Errorf(shard.CodeNoLeader, "the leader is not ready yet")
		}
	}
}

// over is closed when the present leadership is.
func (l *leading) over() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.work != nil {
		return l.mu.work.done()
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

// tell hands a fact to the loop. With the queue full the fact is lost, which it reports, and all its senders make up for by repeating.
func (l *leading) tell(fact func(*plan.Driver)) bool {
	select {
	case l.facts <- fact:
		return true
	default:
		l.v.log.Warn("the leader's loop is behind: a report was dropped")
		return false
	}
}

// plan is the leader's loop.
func (l *leading) plan(work *life) {
	d := plan.NewDriver()
	times := l.v.c.cfg.Times
	d.Times.Lease, d.Times.Autonomy, d.Times.Grace, d.Times.Rebuild, d.Times.Cooldown = times.Lease, times.Autonomy, times.grace(), times.Rebuild, times.Cooldown
	since := l.since()
	l.drop()
	tick := time.NewTicker(times.Plan)
	defer tick.Stop()
	for {
		news := l.v.machine.news.listen()
		state := l.v.machine.state()
		steps := d.Next(l.input(state, since))
		l.newest.set(steps)
		for _, s := range steps {
			l.do(work, s)
		}
		if !l.idle(work.ctx, d, tick.C, news, state.Index()) {
			return
		}
	}
}

// drop forgets what was meant for an earlier leadership.
func (l *leading) drop() {
	for {
		select {
		case <-l.facts:
		default:
			return
		}
	}
}

// idle waits for a reason to plan again: a fact, a change of the map after index, or the tick.
func (l *leading) idle(ctx context.Context, d *plan.Driver, tick <-chan time.Time, news <-chan struct{}, index shard.Index) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			return true
		case fact := <-l.facts:
			fact(d)
			for len(l.facts) > 0 {
				(<-l.facts)(d)
			}
			return true
		case <-news:
			news = l.v.machine.news.listen()
			if u := l.v.machine.since(index); len(u.deltas) > 0 || u.whole != nil {
				return true
			}
		}
	}
}

func (l *leading) input(state *fsm.State, since time.Duration) plan.Input {
	return plan.Input{Now: l.v.c.clock.now(), State: state, LeaderSince: since, Renewed: l.renewed, Reads: l.heirs.reads(state.View)}
}

// renewed is when this node stored the session's newest renewal, and its number. One that it has never seen was stored before it opened its store.
func (l *leading) renewed(s shard.SessionID) (time.Duration, uint64) {
	r, known := l.v.machine.lastRenewal(s)
	if !known {
		return l.v.c.clock.at(l.v.store.opened), 0
	}
	return r.at, r.number
}

// do takes one step without waiting for its result: the next plan sees it in the state, or repeats the step.
func (l *leading) do(work *life, s plan.Step) {
	if len(s.Seal) > 0 {
		l.seals.send(work, s.Node, s.Seal, func(sealed []shard.Sealed) {
			l.tell(func(d *plan.Driver) {
				for _, one := range sealed {
					d.Sealed(one)
				}
			})
		})
	}
	if s.Command == nil {
		return
	}
	w, err := l.v.proposer.enqueue(false, s.Command)
	if err != nil {
		l.v.log.Warn("a step was not proposed", "command", fsm.NameOf(s.Command), "error", err)
		return
	}
	work.Go(func() {
		verdicts, index, err := l.v.proposer.wait(work.ctx, w)
		l.record(s, verdicts, index, err)
	})
}

// record logs what became of a step: who looks for the reason of a change finds it here.
func (l *leading) record(s plan.Step, verdicts []fsm.Verdict, index shard.Index, err error) {
	const most = 8
	name := fsm.NameOf(s.Command)
	if err == nil {
		err = verdicts[0].Err()
	}
	if err != nil {
		l.v.c.log.Info("step refused", "command", name, "index", index, "error", err)
		return
	}
	refused := len(verdicts[0].Faults) - len(slices.DeleteFunc(slices.Clone(verdicts[0].Faults), func(f *shard.Error) bool { return f != nil }))
	why := make([]string, 0, most+1)
	for i, n := range s.Notes {
		if i == most {
			why = append(why, fmt.Sprintf("and %d more", len(s.Notes)-most))
			break
		}
		why = append(why, n.String())
	}
	l.v.c.log.Info("step taken", "command", name, "index", index, "items", len(s.Notes), "refused", refused, "why", why)
}
