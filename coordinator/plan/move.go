package plan

import (
	"fmt"
	"slices"

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
// shards first; primaries off nodes that leave or drain, and then their copies; pins; zones; and unless the group is paused
// an even share of copies, then of primaries. Even means that of each type no two nodes differ by more than one, where that
// can be had. Each aim is reached with as few moves as it takes.
func Balance(v *shard.View) []Move {
	l := survey(v, func(m shard.Member) bool { return !m.Maintenance })
	return l.plan()
}

// plan finds all moves.
func (l *layout) plan() []Move {
	l.repair()
	l.vacate()
	if !l.view.Paused {
		l.level()
	}
	return slices.DeleteFunc(l.moves, func(m Move) bool { return m.Kind == LeadMove && m.From == m.To })
}

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

func (l *layout) level() {
	for _, t := range l.tables {
		t.spread()
		t.levelCopies()
		t.levelLeads()
	}
}
