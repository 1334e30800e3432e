package replication_test

import (
	"fmt"
	"slices"

	"muster/replication"
	"muster/shard"
)

// A past is what a run has promised so far: the facts the invariants are about. It is cloned for each step; its slices
// are never written in place.
type past struct {
	confirmed journal // what some primary let out as confirmed
	terms     []term  // by epoch, from 1
	gone      []grave
	broken    string // the first violation, "" for none
}

// A term is what happened in one epoch.
type term struct {
	session shard.SessionID // of the process that led it
	copy    shard.CopyID    // of that process
	log     journal         // of its primary, as far as it ever came
	start   shard.LSN       // its epoch-start record
	active  bool            // in the map, and w copies hold that record: it may serve
}

// A grave is what a copy held whose data are lost.
type grave struct {
	copy shard.CopyID
	log  journal
}

func (p *past) lose(n *node) { p.gone = append(slices.Clip(p.gone), grave{n.id, n.disk.log}) }

func (p *past) fail(format string, args ...any) {
	if p.broken == "" {
		p.broken = fmt.Sprintf(format, args...)
	}
}

// term returns the term of an epoch for changing.
func (p *past) term(epoch shard.Epoch) *term {
	p.terms = slices.Clone(p.terms)
	for len(p.terms) < int(epoch) {
		p.terms = append(p.terms, term{})
	}
	return &p.terms[epoch-1]
}

// leads: I1, one primary per epoch.
func (p *past) leads(n *node, epoch shard.Epoch) {
	t := p.term(epoch)
	if t.session != 0 {
		p.fail("I1: sessions %d and %d lead epoch %d", t.session, n.session, epoch)
	}
	t.session, t.copy, t.start = n.session, n.id, shard.LSN(len(n.log)+1)
}

// wrote follows the primary's log.
func (p *past) wrote(n *node) {
	if epoch := n.copy.Leads(); epoch != 0 {
		p.term(epoch).log = n.log
	}
}

// mapped: I2, I8 and I9, the placements of the group.
func (p *past) mapped(before, now *group) {
	place := now.place
	if err := place.Check(); err != nil {
		p.fail("I9: %v", err)
	}
	if err := checkCopies(now); err != nil {
		p.fail("I8: %v", err)
	}
	if int(place.Epoch) < len(p.terms) {
		p.fail("I2: the group goes back to epoch %d", place.Epoch)
	}
	if before != nil && before.place.Epoch == place.Epoch && place.Version < before.place.Version {
		p.fail("I2: the group goes back to version %d of epoch %d", place.Version, place.Epoch)
	}
	p.term(place.Epoch)
}

// checkCopies: I8, what counts was created, under an id of its own, and is not known to be gone.
func checkCopies(g *group) error {
	all := slices.Clone(g.place.Copies)
	for _, l := range g.place.Learners {
		all = append(all, l.Copy)
	}
	for i, c := range all {
		member := i < len(g.place.Copies)
		switch {
		case slices.ContainsFunc(all[:i], func(other shard.Copy) bool { return other.ID == c.ID }):
			return fmt.Errorf("two copies have the id %d", c.ID)
		case member && g.place.Epoch > 0 && c.State == shard.CopyMinted:
			return fmt.Errorf("copy %d counts and is not created", c.ID)
		case c.State != shard.CopyLost && g.state.View.Members[c.Node].Directory != c.Directory:
			return fmt.Errorf("copy %d is %s, its directory is gone", c.ID, c.State)
		}
	}
	return nil
}

// acked: I7, an Ack tells of what is on the disk, as the primary has it.
func (p *past) acked(n *node, a replication.Ack) {
	t := p.terms[a.Epoch-1]
	switch {
	case !n.disk.log.agrees(t.log, int(a.LSN)):
		p.fail("I7: copy %d acknowledges %d of epoch %d; its disk has %v, the primary %v", a.Copy, a.LSN, a.Epoch, n.disk.log, t.log)
	case n.disk.promised < a.Epoch:
		p.fail("I2: copy %d acknowledges epoch %d, its disk has promised %d", a.Copy, a.Epoch, n.disk.promised)
	case n.disk.promised > a.Epoch:
		p.fail("I2: copy %d acknowledges epoch %d after the promise of %d", a.Copy, a.Epoch, n.disk.promised)
	}
}

// sealed: a Sealed tells of a durable promise and durable records. The primary of that very epoch may have replaced them
// since: then the election is over and the answer is dropped.
func (p *past) sealed(n *node, s shard.Sealed) {
	if s.Fault != nil {
		return
	}
	if n.disk.promised < s.Epoch {
		p.fail("I2: copy %d is sealed at %d, its disk has promised %d", s.Copy, s.Epoch, n.disk.promised)
	}
	end := n.disk.state(n.id)
	if end.Last.Epoch < s.Epoch && end.Last != s.Last {
		p.fail("I7: copy %d is sealed at %s, its disk ends at %s", s.Copy, s.Last, end.Last)
	}
}

// confirm: I6 and I10, what was confirmed stays, and an epoch that is over confirms nothing that its successor left out.
func (p *past) confirm(n *node, lsn shard.LSN) {
	epoch := n.copy.Leads()
	known := min(len(p.confirmed), int(lsn))
	if !n.log.agrees(p.confirmed, known) {
		p.fail("I6: epoch %d confirms %v, confirmed was %v", epoch, n.log[:lsn], p.confirmed)
	}
	if !p.terms[epoch-1].active {
		p.fail("I11: epoch %d confirms %d and is not active", epoch, lsn)
	}
	for i, t := range p.terms[epoch:] {
		if t.active && lsn >= t.start {
			p.fail("I10: epoch %d confirms %d, but epoch %d is active from %d on", epoch, lsn, int(epoch)+i+1, t.start)
		}
	}
	if int(lsn) > len(p.confirmed) {
		p.confirmed = n.log[:lsn:lsn]
	}
}

// steppedDown: I13, a primary that gives up its lead leaves nothing unconfirmed, and its successor has it all on its disk.
func (p *past) steppedDown(n *node, successor journal) {
	if !slices.Equal(n.log, p.confirmed) || !successor.agrees(n.log, len(n.log)) {
		p.fail("I13: copy %d steps down with %v, confirmed is %v, its successor has %v", n.id, n.log, p.confirmed, successor)
	}
}

// answered: I12, a read saw all that was confirmed when it began.
func (p *past) answered(n *node, r read) {
	if r.saw < r.must || !n.log.agrees(p.confirmed, int(r.must)) {
		p.fail("I12: a read saw %v, confirmed before it began was %v", n.log[:r.saw], p.confirmed[:r.must])
	}
}

// check runs the invariants that speak of a state rather than of a step.
func (w *world) check() string {
	w.past.checkTerms()
	for i, n := range w.nodes {
		w.past.checkNode(n)
		for _, other := range w.nodes[:i] {
			w.past.checkMatch(n, other)
		}
	}
	w.checkHeld()
	return w.past.broken
}

// checkTerms: I4 and I10. An active epoch began with all that was confirmed below its start; the newest one has all that is
// confirmed; no record of an older epoch is confirmed from its start on.
func (p *past) checkTerms() {
	newest := true
	for i := len(p.terms) - 1; i >= 0; i-- {
		t := p.terms[i]
		if !t.active {
			continue
		}
		known := len(p.confirmed)
		if !newest {
			known = min(known, int(t.start)-1)
		}
		newest = false
		if !t.log.agrees(p.confirmed, known) {
			p.fail("I4: confirmed is %v, the primary of epoch %d has %v", p.confirmed, i+1, t.log)
		}
		for k := int(t.start) - 1; k < len(p.confirmed); k++ {
			if e := p.confirmed[k]; int(e.epoch) <= i {
				p.fail("I10: %v is confirmed at %d, epoch %d is active from %d on", e, k+1, i+1, t.start)
			}
		}
	}
}

// checkNode: I6 on one node, and the package's own invariants.
func (p *past) checkNode(n *node) {
	if !n.disk.log.agrees(p.confirmed, int(n.disk.confirmed)) {
		p.fail("I6: the disk of copy %d has confirmed %d of %v; confirmed is %v", n.id, n.disk.confirmed, n.disk.log, p.confirmed)
	}
	if n.copy == nil {
		return
	}
	if err := n.copy.Check(); err != nil {
		p.fail("check: %v", err)
	}
	if !n.log.agrees(p.confirmed, int(n.copy.Confirmed())) {
		p.fail("I6: copy %d knows %d of %v to be confirmed; confirmed is %v", n.id, n.copy.Confirmed(), n.log, p.confirmed)
	}
}

// checkMatch: I3, logs that hold a record of one epoch at one LSN are the same up to it.
func (p *past) checkMatch(a, b *node) {
	for _, x := range []journal{a.log, a.disk.log} {
		for _, y := range []journal{b.log, b.disk.log} {
			for k := min(len(x), len(y)); k > 0; k-- {
				if x[k-1].epoch != y[k-1].epoch {
					continue
				}
				if !slices.Equal(x[:k], y[:k]) {
					p.fail("I3: copies %d and %d share the position %d@%d: %v, %v", a.id, b.id, k, x[k-1].epoch, x, y)
				}
				break
			}
		}
	}
}

// checkHeld: I5, w members of C hold what is confirmed.
func (w *world) checkHeld() {
	p := w.past
	if held := w.holders(w.group.place.Copies, p.confirmed); held < w.group.place.WriteQuorum {
		p.fail("I5: %v is confirmed, %d copies hold it, %d must", p.confirmed, held, w.group.place.WriteQuorum)
	}
}

// checkActivated: I4 for an epoch that becomes active, the copy whose word alone decides the next election holds what is confirmed.
// The epoch counts from here on if w copies of C hold its log up to the epoch-start record; else from when its primary serves.
func (w *world) checkActivated(before *group) {
	place := w.group.place
	if place.Status != shard.Active || before != nil && before.place.Status == shard.Active && before.place.Epoch == place.Epoch {
		return
	}
	if held := w.held(place.Primary); !held.agrees(w.past.confirmed, len(w.past.confirmed)) {
		w.past.fail("I4: epoch %d is active, confirmed is %v, copy %d has %v", place.Epoch, w.past.confirmed, place.Primary, held)
	}
	t := w.past.terms[place.Epoch-1]
	if t.session != 0 && w.holders(place.Copies, t.log[:t.start]) >= place.WriteQuorum {
		w.past.term(place.Epoch).active = true
	}
}

// checkServing: I5 for a primary that begins to serve, w members of C hold its log up to the epoch-start record. One that does not
// know yet that its epoch is over harms nobody.
func (w *world) checkServing(n *node) {
	epoch := n.copy.Leads()
	if epoch == 0 || !n.copy.Serves() || w.past.terms[epoch-1].active {
		return
	}
	t, place := w.past.term(epoch), w.group.place
	t.active = true
	if held := w.holders(place.Copies, t.log[:t.start]); place.Epoch == epoch && held < place.WriteQuorum {
		w.past.fail("I5: epoch %d serves, %d copies hold %v, %d must", epoch, held, t.log[:t.start], place.WriteQuorum)
	}
}

// holders counts the copies of a C that hold a log durably. One whose data are lost counts as it was: losing it is the loss
// the write quorum is there for, and that comes on top. One that was retired is of no use to anybody.
func (w *world) holders(c []shard.Copy, log journal) int {
	held := 0
	for _, member := range c {
		if w.held(member.ID).agrees(log, len(log)) {
			held++
		}
	}
	return held
}

// held is what a copy holds durably, or held when its data were lost.
func (w *world) held(id shard.CopyID) journal {
	if _, n := w.home(id); n != nil {
		return n.disk.log
	}
	for _, g := range slices.Backward(w.past.gone) {
		if g.copy == id {
			return g.log
		}
	}
	return nil
}
