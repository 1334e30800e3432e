package replication_test

import (
	"fmt"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// A report is what a node tells the group, as the entry that the coordinator makes of it. It stays in the network like any
// message: it may be applied at any later time, again and again, or never. What the state machine refuses of it has no effect.
type report []fsm.Command

// heirs says to which sessions a lead is handed in one entry. The others get it in two, as before a leader knows that they can take it.
type heirs uint8

const (
	everybody heirs = iota
	nobody
	some
)

func (h heirs) takes(id shard.SessionID) bool { return h == everybody || h == some && id%2 == 0 }

// report tells the group something. The coordinator makes an entry of it by the map that the node has seen; a newer one could
// only make it drop the report.
func (w *world) report(n *node, seen *group, r shard.Report) {
	from := plan.Reporter{Directory: n.directory(), Session: n.session}
	news, err := plan.Sort(seen.state.View, from, []shard.Report{r}, w.r.config.heirs.takes)
	if err != nil {
		panic(err)
	}
	if len(news.Commands) > 0 {
		w.send(report(news.Commands))
	}
}

func (r report) encode(b []byte) []byte {
	entry, err := fsm.Encode(r...)
	if err != nil {
		panic(err)
	}
	return append(b, entry...)
}

func (r report) String() string {
	switch c := r[0].(type) {
	case *fsm.CopyReady:
		return fmt.Sprintf("copy %d is ready", c.Items[0].Copy)
	case *fsm.CopyLost:
		return fmt.Sprintf("copy %d is lost", c.Items[0].Copy)
	case *fsm.Reconfig:
		return fmt.Sprintf("the primary of %d.%d wants C = %v", c.Items[0].Epoch, c.Items[0].Version, c.Items[0].Copies)
	case *fsm.HandOver:
		how := "which establishes first"
		if len(r) > 1 {
			how = "which is active at once"
		}
		return fmt.Sprintf("the primary of %d.%d has stepped down for copy %d, %s", c.Items[0].Epoch, c.Items[0].Version, c.Items[0].To, how)
	}
	return fmt.Sprintf("%+v", r[0])
}

// mayHelp reports whether a report can still change the group. One of an older epoch cannot; with config.late it is kept all
// the same, for the state machine must refuse it.
func (w *world) mayHelp(r report) bool {
	p := w.group.place
	switch c := r[0].(type) {
	case *fsm.CopyReady:
		return stateOf(p, c.Items[0].Copy) == shard.CopyMinted
	case *fsm.CopyLost:
		s := stateOf(p, c.Items[0].Copy)
		return s == shard.CopyMinted || s == shard.CopyReady
	case *fsm.Reconfig:
		return w.r.config.late || c.Items[0].Epoch == p.Epoch
	case *fsm.HandOver:
		return w.r.config.late || c.Items[0].Epoch == p.Epoch
	}
	return true
}

// stateOf returns the state of a member of C or learner, 0 for neither.
func stateOf(p *shard.Placement, id shard.CopyID) shard.CopyState {
	if l, learns := p.Learner(id); learns {
		return l.Copy.State
	}
	c, _ := p.Copy(id)
	return c.State
}
