package simulation

import (
	"fmt"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// The node's side of sessions.
const (
	lease      = 2 * time.Second
	renewEvery = 400 * time.Millisecond
	renewAgain = 500 * time.Millisecond // without an answer
	askAgain   = 300 * time.Millisecond
)

// session is a process's claim to its node's name.
type session struct {
	id     shard.SessionID // 0 before the first
	stored bool            // the directory holds its number
	nonce  string
	tries  int
	number uint64          // of the newest renewal
	lacks  shard.SessionID // what the directory should have stored, as the group says, and has not
	asked  time.Duration   // when the Register was first sent
	grants []grant         // not in effect yet: the map has not reached their entries
	until  time.Duration   // end of the lease on the node's clock
}

// grant is a lease that holds from when the map shows its entry.
type grant struct {
	index shard.Index
	until time.Duration
}

// margin is what the node takes off its lease, because clocks drift apart.
func margin(lease time.Duration) time.Duration { return lease/100 + 100*time.Millisecond }

// leased reports whether the process has a session whose lease holds.
func (p *process) leased() bool { return p.adopted() != 0 && p.n.local() < p.session.until }

// register opens a session, and repeats that until one is open. The same nonce goes with each repetition.
func (p *process) register() {
	s := &p.session
	s.tries++
	*s = session{nonce: fmt.Sprintf("%s-%d-%d", p.n.id, p.n.lives, s.tries), tries: s.tries, asked: p.n.local()}
	p.tryRegister(s.nonce)
}

func (p *process) tryRegister(nonce string) {
	if p.session.id != 0 || p.session.nonce != nonce {
		return
	}
	p.ask(p.claim(), func(v fsm.Verdict, index shard.Index) { p.registered(nonce, v, index) })
	p.after(askAgain, func() { p.tryRegister(nonce) })
}

// claim is the Register of this process.
func (p *process) claim() *fsm.Register {
	return &fsm.Register{
		Node: p.n.id, Directory: p.n.disk.directory, Machine: "m", Addr: p.n.addr(), Zone: p.n.zone, Hosts: p.n.w.setup.specs,
		Nonce: p.session.nonce, LastSession: p.n.disk.session, Voter: p.n.disk.votes, Fenced: true,
		SetBack: p.session.lacks,
	}
}

// declare registers once more under the same nonce: what the process is has changed.
func (p *process) declare() {
	if p.session.id != 0 {
		p.ask(p.claim(), func(fsm.Verdict, shard.Index) {})
	}
}

// registered stores the session durably before it is used.
func (p *process) registered(nonce string, v fsm.Verdict, index shard.Index) {
	if p.session.id != 0 || p.session.nonce != nonce {
		return
	}
	if v.Fault != nil {
		p.n.w.log("%s: register: %v", p.n.id, v.Fault)
		switch v.Fault.Code {
		case shard.CodeSessionEnded:
			p.register()
		case shard.CodeSetBack:
			p.session.lacks = v.Session
		case shard.CodeRemoved:
			p.n.w.removed(p.n)
		}
		return
	}
	p.session.id, p.session.lacks = v.Session, 0
	p.n.w.log("%s: session %d", p.n.id, v.Session)
	d := p.n.disk
	p.n.write(func() { d.session = max(d.session, v.Session) }, func() {
		if p.session.id != v.Session {
			return
		}
		p.session.stored = true
		if !p.n.w.uneven() { // the registration says no lengths here
			p.grant(index, p.session.asked, lease)
		}
		p.reshow()
		p.update()
		p.renew(v.Session)
	})
}

// renew extends the lease, again and again: when the leader says, or when it has not answered for long. Each has a number of
// its own, so an answer tells which sending it counts from.
func (p *process) renew(id shard.SessionID) {
	if p.session.id != id || p.stopped {
		return
	}
	p.session.number++
	number, sent := p.session.number, p.n.local()
	again := func() {
		if p.session.number == number {
			p.renew(id)
		}
	}
	p.tellLeader(func(q *process) {
		next := plan.NextRenewal(q.n.local(), renewEvery)
		r := fsm.Renewal{Session: id, Number: number, Lengths: q.unsaid(p)}
		q.gather(r, func(fault *shard.Error, index shard.Index) {
			waited := q.waited(id)
			q.n.w.send(q.n, p.n, func(now *process) {
				if now == p && p.session.id == id {
					p.answered(fault, index, sent, waited)
					p.after(min(renewEvery, max(0, sent+next-p.n.local())), again)
				}
			})
		})
	})
	p.after(renewAgain, again)
}

func (p *process) answered(fault *shard.Error, index shard.Index, sent, waited time.Duration) {
	switch {
	case fault == nil:
		p.grant(index, sent, waited)
	case fault.Code == shard.CodeSessionEnded:
		p.n.w.log("%s: session %d is over", p.n.id, p.session.id)
		p.register()
	}
}

// gathered is a renewal at the leader, waiting for the entry it goes into.
type gathered struct {
	renewal  fsm.Renewal
	answered func(*shard.Error, shard.Index)
}

// gather puts a renewal into the next entry of renewals.
func (p *process) gather(r fsm.Renewal, answered func(*shard.Error, shard.Index)) {
	l := p.leads
	l.renewals = append(l.renewals, gathered{r, answered})
	if len(l.renewals) > 1 {
		return
	}
	p.after(plan.GatherRenewals, func() {
		batch := l.renewals
		l.renewals = nil
		command := &fsm.Renew{Time: p.n.w.wall(p.n)}
		for _, g := range batch {
			command.Items = append(command.Items, g.renewal)
		}
		p.n.w.raft.propose(p, func(v []fsm.Verdict, index shard.Index) {
			for i, g := range batch {
				g.answered(v[0].Faults[i], index)
			}
		}, command)
	})
}

// grant notes a lease, counted from when its request left: the node's own, and no longer than the leader waits.
func (p *process) grant(index shard.Index, sent, waited time.Duration) {
	own := min(p.n.lengths().Lease, waited)
	p.session.grants = append(p.session.grants, grant{index, sent + own - margin(own)})
	p.settleGrants()
}

// settleGrants lets the grants take effect that the map has reached.
func (p *process) settleGrants() {
	s := &p.session
	waiting := s.grants[:0]
	for _, g := range s.grants {
		if g.index <= p.applied {
			s.until = max(s.until, g.until)
		} else {
			waiting = append(waiting, g)
		}
	}
	s.grants = waiting
}
