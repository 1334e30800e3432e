package simulation

import (
	"fmt"
	"time"

	"muster/barrier"
	"muster/fsm"
	"muster/shard"
)

// meeting is one call to a barrier: it arrives, again and again until it is released; when its patience ends it withdraws,
// and only then was it a timeout.
type meeting struct {
	p       *process
	name    string
	parties int
	who     string
	session shard.SessionID
	request uint64
	leaving bool
	over    bool
}

// meet begins a call to a barrier, and another when that is over.
func (p *process) meet() {
	w := p.n.w
	if !w.swarm.barriers || w.resting || p.stopping {
		return
	}
	if p.adopted() == 0 {
		p.after(500*time.Millisecond, p.meet)
		return
	}
	p.numbers++
	m := &meeting{
		p: p, name: fmt.Sprintf("b%d", w.dice.IntN(2)), parties: 2 + w.dice.IntN(2), session: p.adopted(), request: p.numbers,
	}
	if w.chance(0.5) {
		m.who = string(p.n.id)
	}
	w.check.arrives(m)
	m.arrive()
	p.after(w.between(200*time.Millisecond, 3*time.Second), func() {
		if !m.over {
			m.leaving = true
			m.withdraw()
		}
	})
}

func (m *meeting) arrive() {
	if m.over || m.leaving {
		return
	}
	m.p.ask(&fsm.Arrive{Name: m.name, Parties: m.parties, Participant: m.who, Session: m.session, Request: m.request}, m.answered)
	m.p.after(m.p.n.w.between(100*time.Millisecond, 400*time.Millisecond), m.arrive)
}

func (m *meeting) withdraw() {
	if m.over {
		return
	}
	m.p.ask(&fsm.Withdraw{Name: m.name, Participant: m.who, Session: m.session, Request: m.request}, m.answered)
	m.p.after(m.p.n.w.between(100*time.Millisecond, 400*time.Millisecond), m.withdraw)
}

func (m *meeting) answered(v fsm.Verdict, _ shard.Index) {
	switch {
	case m.over:
	case v.Fault != nil && (v.Fault.Code == shard.CodeMismatch || v.Fault.Code == shard.CodeSessionEnded):
		m.end(0)
	case v.Fault != nil:
		m.p.n.w.fail("barrier %s: request %d of session %d: %v", m.name, m.request, m.session, v.Fault)
	case v.Barrier.State == barrier.Released:
		m.p.n.w.check.told(m, v.Barrier)
		m.end(barrier.Released)
	case v.Barrier.State == barrier.Withdrawn && m.leaving:
		m.p.n.w.check.told(m, v.Barrier)
		m.end(barrier.Withdrawn)
	}
}

func (m *meeting) end(barrier.State) {
	m.over = true
	m.p.after(m.p.n.w.between(0, time.Second), m.p.meet)
}
