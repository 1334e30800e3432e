package plan

import (
	"fmt"
	"math"

	"muster/shard"
)

// Kind is what a Move changes.
type Kind string

// The kinds of moves.
const (
	CopyMove Kind = "copy" // a copy is made on To; when it has caught up, the one on From, if any, leaves C
	LeadMove Kind = "lead" // the primary on From hands over to To
)

// A Move is one shard's change of place that a plan wants. Comparable.
type Move struct {
	Shard  shard.ID
	Kind   Kind
	From   shard.NodeID // "" when nothing leaves: C grows
	To     shard.NodeID
	Copy   shard.CopyID // of a CopyMove the copy that leaves, of a LeadMove the one that is to lead; 0 when there is none yet
	Reason Reason
}

func (m Move) String() string {
	from := m.From
	if from == "" {
		from = "-"
	}
	return fmt.Sprintf("%s %s: %s -> %s (%s)", m.Shard, m.Kind, from, m.To, m.Reason)
}

// Balance returns every move that the view calls for, in the order in which they should be made, as if none would ever be
// waited for: nodes that are down count as given up unless they are under maintenance. What is under way already, a learner
// or a wish, counts as done. Nothing of a balanced and healthy view is moved, so a plan that was carried out is the last.
//
// The order is the order of importance, and no later aim undoes an earlier one: copies that are missing, the least redundant
// shards first; primaries off nodes that leave or drain, and then their copies; pins; and unless the group is paused what the
// strategy of each type wants beyond that. Each aim is reached with as few moves as it takes.
func Balance(v *shard.View) []Move {
	l := survey(v, func(m shard.Member) bool { return !m.Maintenance })
	l.plan(everything)
	return l.moves(len(l.planned))
}

// planned is a Move as the layout notes it: small, and without pointers, for there may be many.
type planned struct {
	row, from, to int32 // from is nowhere when no home left
	table         uint16
	lead          bool
	why           why
	copy          shard.CopyID // that is made up for, when no home left; 0 for none
}

// plan finds moves in their order, all of them or at least one more than enough, and puts the layout back.
//
// Rejected: all of them always. When a zone is gone that is a place found anew for most shards, each among all nodes, a few times a second
// for as long as it takes; and before most of them can be begun the map has changed.
func (l *layout) plan(enough int) {
	l.planned = l.planned[:0]
	l.begin()
	l.repair(enough)
	if len(l.planned) <= enough {
		l.vacate()
	}
	if len(l.planned) <= enough && !l.view.Paused {
		for _, t := range l.tables {
			t.tactics.level(t)
		}
	}
	l.restore()
}

// everything is enough for plans that are to be whole.
const everything = math.MaxInt

func (l *layout) vacate() {
	for _, t := range l.tables {
		t.complete()
		t.vacateLeads()
	}
	for _, t := range l.tables {
		t.vacateCopies()
	}
	for _, t := range l.tables {
		t.pins()
	}
}

// copyTo plans that the row gets a copy on the site to. The home on from leaves, none when that is nowhere.
func (t *table) copyTo(i, from, to int32, w why, copy shard.CopyID) {
	if h := t.at(i, from); h != nil {
		t.copies[from]--
		t.total[from]--
		*h = home{site: to, was: from}
	} else {
		t.settle(i, home{site: to, was: nowhere})
	}
	t.copies[to]++
	t.total[to]++
	if t.holds.made {
		t.bring(i, to)
	}
	t.planned = append(t.planned, planned{row: i, from: from, to: to, table: t.ordinal, why: w, copy: copy})
}

// bring adds a row to what the site holds.
func (t *table) bring(i, to int32) {
	if t.holds.more == nil {
		t.holds.more = make([][]int32, len(t.sites))
	}
	t.holds.more[to] = append(t.holds.more[to], i)
}

// relocate plans that the copy on one site moves to another.
func (t *table) relocate(i, from, to int32, w why) { t.copyTo(i, from, to, w, 0) }

// carry plans that the only copy of the row moves, and the lead with it.
func (t *table) carry(i, to int32, w why) {
	t.relocate(i, t.of(i)[0].site, to, w)
	t.handTo(i, to, w)
}

// handTo plans that the row is led by the site. If it was to be handed to another, that is changed: it moves once or not at
// all.
func (t *table) handTo(i, to int32, w why) {
	t.leads[t.lead[i]]--
	t.leads[to]++
	if t.passed[i] == 0 {
		t.planned = append(t.planned, planned{row: i, from: t.lead[i], to: to, table: t.ordinal, lead: true, why: w})
		t.passed[i] = int32(len(t.planned))
	} else {
		m := &t.planned[t.passed[i]-1]
		m.to, m.why = to, w
	}
	t.lead[i] = to
}

// restore undoes in the layout what was planned, last first, so that it shows the view again.
func (l *layout) restore() {
	for k := len(l.planned) - 1; k >= 0; k-- {
		m := &l.planned[k]
		t := l.tables[m.table]
		if m.lead {
			t.leads[m.to]--
			t.leads[m.from]++
			t.lead[m.row], t.passed[m.row] = m.from, 0
			continue
		}
		t.copies[m.to]--
		l.total[m.to]--
		if m.from == nowhere {
			t.n[m.row]-- // it was the last to settle
			continue
		}
		t.copies[m.from]++
		l.total[m.from]++
		*t.at(m.row, m.to) = home{m.from, nowhere, true}
	}
	for _, t := range l.tables {
		t.holds.more, t.holds.made = nil, t.holds.made && !t.holds.amid
	}
}

// moves returns the first so many moves that were planned.
func (l *layout) moves(most int) []Move {
	list := make([]Move, 0, min(most, len(l.planned)))
	for _, p := range l.planned {
		if len(list) == most {
			break
		}
		if !p.lead || p.from != p.to {
			list = append(list, l.move(p))
		}
	}
	return list
}

func (l *layout) move(m planned) Move {
	p := l.tables[m.table].placement(m.row)
	move := Move{Shard: p.Shard, Kind: CopyMove, To: l.sites[m.to].member.ID, Copy: m.copy, Reason: reasonOf[m.why]}
	if m.from != nowhere {
		move.From = l.sites[m.from].member.ID
	}
	switch {
	case m.lead:
		move.Kind = LeadMove
		move.Copy = readyOn(p, move.To)
	case m.from != nowhere:
		move.Copy = readyOn(p, move.From)
	default:
		c, _ := p.Copy(m.copy)
		move.From = c.Node
	}
	return move
}

// readyOn returns the ready member of C on the node that is not about to leave, 0 when there is none.
func readyOn(p *shard.Placement, node shard.NodeID) shard.CopyID {
	for i := range p.Copies {
		if c := &p.Copies[i]; c.Node == node && c.State == shard.CopyReady && c.ID != p.Retiring && !isReplaced(p, c.ID) {
			return c.ID
		}
	}
	return 0
}
