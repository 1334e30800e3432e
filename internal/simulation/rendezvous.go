package simulation

import (
	"muster/barrier"
	"muster/fsm"
)

// rendezvous is what the checker knows of barriers. I15.
type rendezvous struct {
	opened  map[barrier.Generation]*barrier.Release
	newest  map[barrier.Name]barrier.Generation
	fate    map[callID]barrier.Generation // the round each call was released in
	timeout map[callID]bool               // who was told that it is in no round
	calls   map[callID]*meeting
}

// callID names one call.
type callID struct {
	session barrier.Session
	request uint64
}

func newRendezvous() rendezvous {
	return rendezvous{
		opened: map[barrier.Generation]*barrier.Release{}, newest: map[barrier.Name]barrier.Generation{},
		fate: map[callID]barrier.Generation{}, timeout: map[callID]bool{}, calls: map[callID]*meeting{},
	}
}

func (m *meeting) id() callID { return callID{barrier.Session(m.session), m.request} }

func (c *checker) arrives(m *meeting) { c.meet.calls[m.id()] = m }

// released judges the barriers that an entry opened: each generation once, rising for each name, among as many parties as
// its calls said, each of whom called, once, and was not told that it is out.
func (c *checker) released(result *fsm.Result) {
	r := &c.meet
	for i := range result.Releases {
		open := &result.Releases[i]
		c.w.counts.releases++
		if r.opened[open.Generation] != nil || open.Generation <= r.newest[open.Name] {
			c.w.fail("I15: barrier %s opens generation %d, its newest was %d", open.Name, open.Generation, r.newest[open.Name])
		}
		r.opened[open.Generation], r.newest[open.Name] = open, open.Generation
		names := map[barrier.Participant]bool{}
		for _, p := range open.Parties {
			id := callID{p.Session, p.Request}
			m := r.calls[id]
			if m == nil || m.name != string(open.Name) || m.parties != len(open.Parties) || names[p.Participant] {
				c.w.fail("I15: barrier %s generation %d opens among %d parties, %v is none of them", open.Name, open.Generation, len(open.Parties), p)
			}
			if g := r.fate[id]; g != 0 || r.timeout[id] {
				c.w.fail("I15: barrier %s generation %d releases %v, which was in generation %d, timed out %t", open.Name, open.Generation, p, g, r.timeout[id])
			}
			r.fate[id], names[p.Participant] = open.Generation, true
		}
	}
}

// told judges what a call is answered: "released" only in the generation that it was released in, "timeout" only when it
// was in none. A call that another of the same participant has taken the place of shares its release.
func (c *checker) told(m *meeting, o *barrier.Outcome) {
	r := &c.meet
	if o.State == barrier.Withdrawn {
		if g := r.fate[m.id()]; g != 0 {
			c.w.fail("I15: request %d of session %d was released in generation %d and is told that it timed out", m.request, m.session, g)
		}
		r.timeout[m.id()] = true
		return
	}
	if open := r.opened[o.Generation]; open == nil || (r.fate[m.id()] != o.Generation && m.who == "") {
		c.w.fail("I15: request %d of session %d is told of generation %d, it was released in %d", m.request, m.session, o.Generation, r.fate[m.id()])
	}
}
