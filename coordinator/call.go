package coordinator

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

const (
	mostHops    = 3                      // not-leader answers followed without a pause: nodes may point at each other, or at one that died
	leaderPause = 50 * time.Millisecond  // before asking again when nobody was known to lead
	repeatPause = 100 * time.Millisecond // before a command is repeated whose outcome is unknown
	passOver    = 2 * time.Second        // a node that did not answer is asked last for so long
)

// leaderCall is one request for the leader: local when this node leads, remote otherwise.
type leaderCall struct {
	local   func(context.Context, *voter) error
	remote  func(context.Context, wire.GroupClient) error
	reads   bool          // it changes nothing
	again   bool          // asking for it twice changes no more than asking once
	waits   bool          // the answer comes when others have done something
	lingers time.Duration // how long an answer is waited for when another node leads by then
}

// elsewhere reports whether the fault says that another node must be asked. That a node cannot be reached, shuts down, or lost the lead before it
// knew what came of it, is no reason to give up what did not happen there, or may be repeated.
func (l leaderCall) elsewhere(fault *shard.Error) bool {
	switch fault.Code {
	case shard.CodeNotLeader, shard.CodeNoLeader, shard.CodeUnavailable, shard.CodeClosed:
		return fault.Outcome == shard.NotApplied || l.reads || l.again
	}
	return false
}

// atLeader runs the call at the leader, following not-leader answers. While no leader is known it waits for one. It fails
// with CodeNoLeader when the deadline passes before the request was taken, or CodeTimeout while a connection is made, and otherwise as the call did. Its outcome is that of all attempts: what
// the last one refused an earlier one may have done. A question is never done.
//
// All attempts share the deadline of ctx. There is at most one for each change of the leader, each hint and each pause, see attempt.
func (c *Coordinator) atLeader(ctx context.Context, call leaderCall) error {
	hint, hops, outcome := "", 0, shard.NotApplied
	for {
		news := c.leaders.listen()
		fault := call.outcome(transport.Typed(c.try(ctx, hint, call)))
		if fault == nil {
			return nil
		}
		outcome = max(outcome, fault.Outcome)
		if taken := c.taken(fault); taken != nil {
			return taken
		}
		switch {
		case !call.elsewhere(fault):
			return despite(fault, outcome)
		case fault.Addr != "" && hops < mostHops:
			hint = fault.Addr
			hops++
			continue
		}
		hint, hops = "", 0
		c.contacts.lapses.Add(1)
		select {
		case <-ctx.Done():
			return &shard.Error{Code: shard.CodeNoLeader, Outcome: outcome, Detail: "no node is known to lead the group"}
		case <-c.life.done():
			return &shard.Error{Code: shard.CodeClosed, Outcome: outcome, Detail: "this node is shutting down"}
		case <-news:
		case <-time.After(leaderPause):
		}
	}
}

// outcome is the fault of an attempt as it counts: what changes nothing has not happened, even if no answer came.
func (l leaderCall) outcome(fault *shard.Error) *shard.Error {
	if fault == nil || !l.reads || fault.Outcome == shard.NotApplied {
		return fault
	}
	certain := *fault
	certain.Outcome = shard.NotApplied
	return &certain
}

// despite is the fault of an attempt after earlier ones of that outcome.
func despite(fault *shard.Error, earlier shard.Outcome) *shard.Error {
	if fault.Outcome >= earlier {
		return fault
	}
	repeated := *fault
	repeated.Outcome = earlier
	return &repeated
}

// contacts rotates through the nodes that may know the leader. One that did not answer is passed over for a while: a node that is
// stopped answers nobody and refuses nobody, and each try at it costs a good part of a lease. Safe for concurrent use.
type contacts struct {
	lapses atomic.Uint64 // how often a call found nobody who leads
	mu     struct {
		sync.Mutex
		turn   int
		silent map[string]time.Time // until when an address is passed over
	}
}

// failed notes that an address was of no use, and whether it was silent.
func (k *contacts) failed(addr string, silent bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.turn++
	if !silent {
		return
	}
	if k.mu.silent == nil || len(k.mu.silent) > fsm.MaxVoters {
		k.mu.silent = map[string]time.Time{}
	}
	k.mu.silent[addr] = time.Now().Add(passOver)
}

// pick returns the address whose turn it is.
func (k *contacts) pick(addrs []string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for i := range addrs {
		if addr := addrs[(k.mu.turn+i)%len(addrs)]; !now.Before(k.mu.silent[addr]) {
			return addr
		}
	}
	return addrs[k.mu.turn%len(addrs)]
}

// contact is another node that may be a voter, another one after each failure; "" when none is known. Seeds come before what
// the directory remembers, so that a node started with the seeds of another group hears so.
func (c *Coordinator) contact() string {
	voters := voterAddrs(c.View())
	all := append(append(voters, c.cfg.Seeds...), c.cfg.Directory.peers()...)
	var others []string
	for _, a := range all {
		if a != c.cfg.Addr && !slices.Contains(others, a) {
			others = append(others, a)
		}
	}
	if len(others) == 0 {
		return ""
	}
	return c.contacts.pick(others)
}

// voterAddrs are the addresses of the voters in the map, sorted.
func voterAddrs(v *shard.View) []string {
	var addrs []string
	for _, m := range v.Members {
		if m.Voter {
			addrs = append(addrs, m.Addr)
		}
	}
	slices.Sort(addrs)
	return addrs
}

// Propose runs the commands, in order and in one entry, in the replicated state: here when this node leads, at the leader
// otherwise. The verdicts are the commands' answers, one each, a refusal among them; the index is that of the entry. An error
// means that no verdict is known; its outcome says whether the commands may have taken effect. Without a deadline in ctx it
// waits Times.Propose. Commands that may have taken effect are not proposed again, unless all may be.
func (c *Coordinator) Propose(ctx context.Context, commands ...fsm.Command) (verdicts []fsm.Verdict, index shard.Index, err error) {
	d, err := c.proposeOnce(ctx, commands...)
	return d.verdicts, d.index, err
}

// decided is what came of an entry.
type decided struct {
	verdicts []fsm.Verdict
	index    shard.Index
	lease    time.Duration // of a registration: for so long its session is waited for, or the one that is in its way; 0: the leader is too old to say
}

// proposeOnce is Propose with all that came of it.
func (c *Coordinator) proposeOnce(ctx context.Context, commands ...fsm.Command) (decided, error) {
	return c.propose(ctx, leaderCall{again: repeatable(commands), lingers: lastWord}, commands...)
}

// repeatable reports whether the commands change no more when they are proposed twice, whatever was decided in between.
func repeatable(commands []fsm.Command) bool {
	return !slices.ContainsFunc(commands, func(c fsm.Command) bool {
		_, sets := c.(*fsm.RequireQuorum)
		return !sets
	})
}

// propose proposes the commands as the call says.
func (c *Coordinator) propose(ctx context.Context, call leaderCall, commands ...fsm.Command) (d decided, err error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	entry, err := fsm.Encode(commands...)
	if err != nil {
		return decided{}, err
	}
	call.local = func(ctx context.Context, v *voter) error {
		d, err = v.propose(ctx, c.cfg.Times.lengths(), commands...)
		return err
	}
	call.remote = func(ctx context.Context, g wire.GroupClient) error {
		l := c.cfg.Times.lengths()
		d, err = proposeAt(ctx, g, &wire.ProposeRequest{
			Commands: entry, LeaseMicros: l.Lease.Microseconds(), AutonomyMicros: l.Autonomy.Microseconds(),
		}, len(commands))
		return err
	}
	if err := c.atLeader(ctx, call); err != nil {
		return decided{}, err
	}
	return d, nil
}

func proposeAt(ctx context.Context, g wire.GroupClient, req *wire.ProposeRequest, commands int) (decided, error) {
	reply, err := g.Propose(ctx, req)
	if err != nil {
		return decided{}, transport.Typed(err)
	}
	if reply.Fault != nil {
		return decided{}, transport.ErrorOf(reply.Fault)
	}
	if len(reply.Verdicts) != commands {
		return decided{}, shard.Unknownf(shard.CodeInternal, "%d verdicts for %d commands", len(reply.Verdicts), commands)
	}
	verdicts := make([]fsm.Verdict, commands)
	for i, b := range reply.Verdicts {
		if verdicts[i], err = fsm.DecodeVerdict(b); err != nil {
			return decided{}, shard.Unknownf(shard.CodeInternal, "verdict: %v", err)
		}
	}
	return decided{verdicts, shard.Index(reply.Index), micros(reply.LeaseMicros)}, nil
}

// proposeSurely repeats one command until a verdict is known or ctx ends. The command must be one that may be repeated.
func (c *Coordinator) proposeSurely(ctx context.Context, command fsm.Command) (fsm.Verdict, shard.Index, error) {
	d, err := c.surely(ctx, command)
	if err != nil {
		return fsm.Verdict{}, 0, err
	}
	return d.verdicts[0], d.index, nil
}

func (c *Coordinator) surely(ctx context.Context, command fsm.Command) (decided, error) {
	worst := shard.NotApplied
	for {
		attempt, cancel := context.WithTimeout(ctx, c.cfg.Times.Propose)
		d, err := c.propose(attempt, leaderCall{again: true}, command)
		cancel()
		if err == nil {
			return d, nil
		}
		fault := shard.As(err)
		worst = max(worst, fault.Outcome)
		if unanswered(fault) {
			c.contacts.lapses.Add(1)
		}
		if permanent(fault) || !pause(ctx, repeatPause) {
			return decided{}, despite(fault, worst)
		}
	}
}

// permanent reports whether repeating a request cannot help.
func permanent(fault *shard.Error) bool {
	switch fault.Code {
	case shard.CodeNoLeader, shard.CodeNotLeader, shard.CodeUnavailable, shard.CodeTimeout, shard.CodeOverloaded,
		shard.CodeBehind, shard.CodeClosed, shard.CodeInternal:
		return false
	default:
		return true
	}
}

// unanswered reports whether a request failed because no leader was there to answer it, and not because one did.
func unanswered(fault *shard.Error) bool {
	switch fault.Code {
	case shard.CodeNoLeader, shard.CodeNotLeader, shard.CodeUnavailable, shard.CodeTimeout, shard.CodeClosed:
		return true
	}
	return false
}

// bounded gives ctx a deadline when it has none.
func (c *Coordinator) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, end := c.life.within(ctx)
	if _, has := ctx.Deadline(); has {
		return ctx, end
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Times.Propose)
	return ctx, func() { cancel(); end() }
}

// propose runs the commands here, once this node, as the leader, has everything that was committed before its term. The lengths are the
// caller's: it registers nobody but itself.
func (v *voter) propose(ctx context.Context, lengths fsm.Lengths, commands ...fsm.Command) (decided, error) {
	if err := v.leading.awaitReady(ctx); err != nil {
		return decided{}, err
	}
	commands = slices.Clone(commands)
	for i, c := range commands {
		if r, registers := c.(*fsm.Register); registers {
			if err := v.meet(ctx, r); err != nil {
				return decided{}, err
			}
			says := *r // the caller may repeat it at a leader of an earlier build
			says.Lengths = v.leading.sayable(lengths)
			commands[i] = &says
		}
	}
	verdicts, index, err := v.proposer.propose(ctx, commands...)
	d := decided{verdicts: verdicts, index: index}
	for i, c := range commands {
		r, registers := c.(*fsm.Register)
		switch {
		case !registers:
		case err != nil:
			v.hangUp(r.Addr) // it was met there
		case verdicts[i].Err() != nil:
			v.hangUp(r.Addr)
			d.lease = v.leading.inTheWay(verdicts[i].Fault)
		default:
			d.lease = v.leading.waited(verdicts[i].Session)
			v.leading.compare(verdicts[i].Session)
		}
	}
	return d, err
}
