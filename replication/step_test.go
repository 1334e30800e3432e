package replication_test

import (
	"fmt"
	"slices"

	"muster/replication"
	"muster/shard"
)

// A step is one thing that happens. Steps are values, so a run is a list of them that can be played again, whole or in
// part.
type step struct {
	what verb
	node int8
	msgs [copies]int32        // the message of a delivery, the answers of an election; 0 is none
	of   [copies]shard.CopyID // what it is about: who is replaced, dropped or to lead, or a whole C; 0 is none
}

type verb uint8

const (
	deliver     verb = iota // a message arrives, the first time or again
	sync                    // the oldest write under way reaches the disk
	see                     // a node sees the next map
	propose                 // a client's command becomes a record
	ask                     // a client reads
	tick                    // time passes on one node
	reconfigure             // a primary asks for another C
	stepDown                // a primary gives up its lead, as the map wishes
	rot                     // the data of a copy are found damaged
	shorten                 // a log starts later: what its first records came to is put apart
	crash                   // the process is gone; what was not synced is lost
	restart                 // the node comes back on its directory
	wipe                    // the node comes back without its directory
	suspect                 // the group takes the primary away, rightly or not
	elect                   // the driver has these answers and chooses
	activate                // the driver has heard that the primary is established
	mint                    // a copy that is to join C, perhaps in place of another
	drop                    // a learner is given up
	wish                    // another member is to lead
	apply                   // what a node has reported becomes an entry
)

var verbs = [...]string{
	"deliver", "sync", "see the map at", "propose at", "read at", "tick", "ask for another C at", "step down at", "rot at", "shorten the log of",
	"crash",
	"restart", "wipe", "suspect", "elect from", "activate", "mint a learner on", "drop the learner", "wish to lead", "apply",
}

// moves lists all steps that are possible. A search takes the last first: decisions of the group lead into trouble sooner
// than one more delivery.
func (w *world) moves() []step {
	var all []step
	for _, m := range w.net {
		if i, to := w.receiver(w.r.messages[m]); to {
			all = append(all, step{what: deliver, node: int8(i), msgs: [copies]int32{m}})
		}
	}
	for i, n := range w.nodes {
		for what := sync; what <= wipe; what++ {
			switch {
			case !w.can(what, n):
			case what == reconfigure:
				all = append(all, w.changes(n)...)
			default:
				all = append(all, step{what: what, node: int8(i)})
			}
		}
	}
	return append(all, w.decisions()...)
}

// can reports whether a step of one node is possible.
func (w *world) can(what verb, n *node) bool {
	switch what {
	case sync:
		return len(n.queue) > 0
	case see:
		return len(n.maps) > 0
	case propose:
		return w.left.writes > 0 && n.copy != nil && n.copy.Serves()
	case ask:
		return w.left.reads > 0 && n.copy != nil && n.copy.Serves() && n.read == nil
	case tick:
		return w.left.ticks > 0 && n.copy != nil && n.copy.Leads() != 0
	case reconfigure:
		return w.left.changes > 0 && n.copy != nil && n.copy.Active()
	case stepDown:
		return n.copy != nil && n.copy.Serves() && n.seen.place.HandTo != 0
	case rot:
		return w.left.rots > 0 && n.copy != nil
	case shorten:
		return w.left.starts > 0 && n.copy != nil && n.copy.Base() < shard.LSN(len(n.log))
	case crash:
		return w.left.crashes > 0 && n.up && n.id != 0
	case restart:
		return !n.up
	case wipe:
		return w.left.wipes > 0 && n.id != 0
	}
	return false
}

// decisions are the steps of the control group.
func (w *world) decisions() []step {
	var all []step
	p := w.group.place
	if w.left.suspects > 0 && p.Session != 0 && p.Epoch < w.r.config.epochs {
		all = append(all, step{what: suspect})
	}
	var answers []int32
	for _, m := range w.net {
		switch w.r.messages[m].(type) {
		case shard.Sealed:
			answers = append(answers, m)
		case established:
			all = append(all, step{what: activate, msgs: [copies]int32{m}})
		case report:
			all = append(all, step{what: apply, msgs: [copies]int32{m}})
		}
	}
	for _, set := range w.electorates(answers) {
		all = append(all, step{what: elect, msgs: set})
	}
	return append(all, w.plans()...)
}

// electorates lists the sets of answers an election may have heard, one of each copy at most.
func (w *world) electorates(answers []int32) (sets [][copies]int32) {
	for bits := 1; bits < 1<<len(answers); bits++ {
		var set [copies]int32
		size, seen := 0, map[shard.CopyID]bool{}
		for i, m := range answers {
			if bits>>i&1 == 0 {
				continue
			}
			s := w.r.messages[m].(shard.Sealed)
			if seen[s.Copy] || s.Fault != nil || size == copies {
				size = 0
				break
			}
			set[size], seen[s.Copy] = m, true
			size++
		}
		if size > 0 {
			sets = append(sets, set)
		}
	}
	return sets
}

// receiver returns the running node a message is for.
func (w *world) receiver(m any) (int, bool) {
	var i int
	var n *node
	switch m := m.(type) {
	case replication.Append:
		i, n = w.home(m.To)
	case snapshot:
		i, n = w.home(m.To)
	case sealItem:
		i, n = w.home(m.Copy)
	case replication.Ack:
		return w.leader(m.Epoch)
	case replication.Nack:
		return w.leader(m.Epoch)
	}
	return i, n != nil && n.up
}

// leader returns the node of the copy that led the epoch, if it is up. It may be another process, and lead a later epoch.
func (w *world) leader(epoch shard.Epoch) (int, bool) {
	i, n := w.home(w.past.terms[epoch-1].copy)
	return i, n != nil && n.up
}

// after returns the world after a step, nil when the step is not possible, and what the step itself breaks, "" for nothing.
// The receiver stays as it was.
func (w *world) after(s step) (next *world, broken string) {
	if s.what == deliver && w.idle(s) {
		return nil, ""
	}
	c, p := *w, *w.past
	next, c.past = &c, &p
	defer func() {
		if fault := recover(); fault != nil {
			broken = fmt.Sprint("panic: ", fault)
		}
	}()
	next.sent, next.nodes = nil, slices.Clone(w.nodes)
	if !next.take(s) {
		return nil, ""
	}
	if s.what == deliver {
		w.noteIdle(s, next)
	}
	next.forget()
	return next, next.past.broken
}

func (w *world) take(s step) bool {
	switch s.what {
	case suspect, elect, activate, mint, drop, wish, apply:
		return w.decide(s)
	case restart, wipe:
		return w.comeBack(int(s.node), s.what)
	case deliver:
		w.receive(w.edit(int(s.node)), w.r.messages[s.msgs[0]])
		return true
	}
	n := w.edit(int(s.node))
	switch s.what {
	case sync:
		w.carry(n, n.copy.Durable(n.commit()))
	case see:
		w.see(n)
	case propose:
		w.left.writes--
		e, err := n.copy.Propose([]replication.Record{{Kind: replication.KindCommand, Seq: shard.Seq(w.left.writes + 1)}})
		if err != nil {
			return false
		}
		w.carry(n, e)
	case ask:
		w.left.reads--
		round, e := n.copy.Read()
		n.read = &read{round: round, saw: shard.LSN(len(n.log)), must: shard.LSN(len(w.past.confirmed))}
		w.carry(n, e)
	case tick:
		w.left.ticks--
		w.carry(n, n.copy.Tick())
	case reconfigure:
		return w.reconfigure(n, s.of)
	case stepDown:
		return w.stepDown(n)
	case rot:
		w.left.rots--
		w.rot(n)
	case shorten:
		return w.shorten(n)
	case crash:
		w.left.crashes--
		n.crash()
	}
	return true
}

func (w *world) receive(n *node, m any) {
	switch m := m.(type) {
	case replication.Append:
		w.carry(n, n.copy.Append(m))
	case snapshot:
		w.install(n, m)
	case replication.Ack:
		w.carry(n, n.copy.Ack(m))
	case replication.Nack:
		w.carry(n, n.copy.Nack(m))
	case sealItem:
		w.carry(n, n.copy.Seal(m.Epoch))
	}
}

func (w *world) comeBack(i int, how verb) bool {
	n := w.edit(i)
	var g *group
	if how == wipe {
		w.left.wipes--
		w.past.lose(n)
		n.crash()
		n.wiped++
		n.id, n.disk = 0, disk{}
		g = w.r.groups.replace(w.group, i, n)
	} else {
		g = w.r.groups.restart(w.group, i, n)
	}
	if g == nil {
		return false
	}
	n.session = g.sessionOf(i)
	n.start()
	w.regroup(g)
	return true
}

func (w *world) decide(s step) bool {
	gs := w.r.groups
	var g *group
	switch s.what {
	case suspect:
		w.left.suspects--
		g = gs.recover(w.group)
	case activate:
		m := w.r.messages[s.msgs[0]].(established)
		g = gs.activate(w.group, m.Epoch, m.Session)
	case elect:
		var answers []shard.Sealed
		for _, m := range s.msgs {
			if m != 0 {
				answers = append(answers, w.r.messages[m].(shard.Sealed))
			}
		}
		g = gs.elect(w.group, answers)
	case mint:
		w.left.learners--
		g = gs.mint(w.group, nodeID(int(s.node)), s.of[0])
	case drop:
		w.left.drops--
		g = gs.drop(w.group, s.of[0])
	case wish:
		w.left.wishes--
		g = gs.wish(w.group, s.of[0])
	case apply:
		g = gs.enter(w.group, w.r.messages[s.msgs[0]].(report)...).next
	}
	if g == nil || g == w.group {
		return false
	}
	w.regroup(g)
	return true
}
