package replication_test

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"

	"muster/replication"
	"muster/shard"
)

// A step is one thing that happens. Steps are values, so a run is a list of them that can be played again, whole or in
// part.
type step struct {
	what verb
	node int8
	msgs [copies]int32 // the message of a delivery, the answers of an election; 0 is none
}

type verb uint8

const (
	deliver  verb = iota // a message arrives, the first time or again
	sync                 // the oldest write under way reaches the disk
	see                  // a node sees the next map
	propose              // a client's command becomes a record
	ask                  // a client reads
	tick                 // time passes on one node
	crash                // the process is gone; what was not synced is lost
	restart              // the node comes back on its directory
	wipe                 // the node comes back without its directory
	suspect              // the group takes the primary away, rightly or not
	elect                // the driver has these answers and chooses
	activate             // the driver has heard that the primary is established
)

var verbs = [...]string{
	"deliver", "sync", "see the map at", "propose at", "read at", "tick", "crash", "restart", "wipe", "suspect", "elect from", "activate",
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
			if w.can(what, n) {
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
		}
	}
	for _, set := range w.electorates(answers) {
		all = append(all, step{what: elect, msgs: set})
	}
	return all
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
			if seen[s.Copy] || s.Fault != nil {
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
	next.sent = nil
	if !next.take(s) {
		return nil, ""
	}
	if s.what == deliver {
		w.noteIdle(s, next)
	}
	next.forget()
	return next, next.past.broken
}

// An errand is a message at a node in a certain state. What it leads to is always the same.
type errand struct {
	node [2]uint64
	msg  int32
}

// idle reports whether a delivery is known to leave its node as it is and to answer only what is under way already. Most
// deliveries are: the network never forgets.
func (w *world) idle(s step) bool {
	sent, known := w.r.idle[errand{w.sum(int(s.node)), s.msgs[0]}]
	return known && !slices.ContainsFunc(sent, func(m int32) bool {
		_, under := slices.BinarySearch(w.net, m)
		return !under && w.matters(w.r.messages[m])
	})
}

func (w *world) noteIdle(s step, next *world) {
	if before := w.sum(int(s.node)); before == next.sum(int(s.node)) {
		w.r.idle[errand{before, s.msgs[0]}] = next.sent
	}
}

// sum is the fingerprint of a node.
func (w *world) sum(i int) [2]uint64 {
	n := w.nodes[i]
	if n.sum == [2]uint64{} {
		n.sum = w.r.hash(n.fingerprint(nil))
	}
	return n.sum
}

func (w *world) take(s step) bool {
	switch s.what {
	case suspect, elect, activate:
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
		w.past.gone = append(slices.Clip(w.past.gone), n.disk.log)
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
	}
	if g == nil {
		return false
	}
	w.regroup(g)
	return true
}

// begin returns the world a search starts from, and what is broken there already.
func begin(c config) (w *world, broken string) {
	r := &run{
		groups: newGroups(), known: map[string]int32{}, messages: []any{nil}, config: c, idle: map[errand][]int32{},
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
	}
	w = &world{r: r, past: &past{}, left: c.may}
	g := r.groups.found(c.quorum)
	for i := range w.nodes {
		w.nodes[i] = &node{session: g.sessionOf(i), id: g.place.Copies[i].ID}
		w.nodes[i].start()
	}
	w.regroup(g)
	if c.fresh {
		return w, ""
	}
	w.left = budget{writes: c.tail}
	w, broken = w.settle()
	w.left = c.may
	return w, broken
}

// settle plays one orderly run: what can happen by itself does, until nothing is left to happen. Then clients write, and the
// network loses all of it.
func (w *world) settle() (quiet *world, broken string) {
	seen := map[[2]uint64]bool{}
	for again := true; again; {
		again = false
		for _, s := range w.moves() {
			if s.what == propose {
				continue
			}
			next, broken := w.after(s)
			if broken != "" {
				return w, broken
			}
			if next != nil && !seen[next.key()] {
				seen[next.key()] = true
				w, again = next, true
				break
			}
		}
	}
	for w.left.writes > 0 && broken == "" {
		w, broken = w.after(step{what: propose})
	}
	w.net = nil
	return w, cmp.Or(broken, w.check())
}

// key is a fingerprint of all that can still matter.
func (w *world) key() [2]uint64 {
	b := w.r.scratch[:0]
	for i := range w.nodes {
		sum := w.sum(i)
		b = binary.LittleEndian.AppendUint64(b, sum[0])
		b = binary.LittleEndian.AppendUint64(b, sum[1])
	}
	b = binary.AppendUvarint(b, uint64(w.group.id))
	for _, m := range w.net {
		b = binary.AppendUvarint(b, uint64(m))
	}
	b = append(b, 0)
	b = w.past.fingerprint(b)
	l := w.left
	b = append(b, byte(l.writes), byte(l.crashes), byte(l.wipes), byte(l.suspects), byte(l.reads), byte(l.ticks))
	w.r.scratch = b
	return w.r.hash(b)
}

func (r *run) hash(b []byte) [2]uint64 {
	return [2]uint64{maphash.Bytes(r.seeds[0], b), maphash.Bytes(r.seeds[1], b)}
}

func (j journal) fingerprint(b []byte) []byte {
	b = append(b, byte(len(j)))
	for _, e := range j {
		b = append(b, byte(e.epoch), byte(e.kind), byte(e.seq))
	}
	return b
}

func (p *past) fingerprint(b []byte) []byte {
	b = p.confirmed.fingerprint(b)
	for _, t := range p.terms {
		active := byte(0)
		if t.active {
			active = 1
		}
		b = t.log.fingerprint(append(b, byte(t.session), byte(t.start), active))
	}
	for _, log := range p.gone {
		b = log.fingerprint(append(b, 'g'))
	}
	return b
}

func (n *node) fingerprint(b []byte) []byte {
	b = append(b, byte(n.session), byte(n.wiped), byte(n.life), byte(n.id), byte(n.disk.promised), byte(n.disk.confirmed))
	b = n.disk.log.fingerprint(b)
	if n.copy == nil {
		return append(b, 0)
	}
	b = n.log.fingerprint(n.copy.Fingerprint(append(b, 1)))
	for _, w := range n.queue {
		b = append(b, byte(w.Promise), byte(w.Truncate), byte(w.Confirmed))
		b = journal(nil).with(&replication.Write{Records: w.Records}).fingerprint(b)
	}
	for _, g := range n.maps {
		b = binary.AppendUvarint(append(b, 'm'), uint64(g.id))
	}
	if r := n.read; r != nil {
		b = append(b, 'r', byte(r.round), byte(r.saw), byte(r.must))
		if r.verified {
			b = append(b, 'v')
		}
	}
	return b
}

// result is what a search found.
type result struct {
	states, steps int
	full          bool   // every state was visited
	broken        string // "" when every state was right
	trace         []step
}

// explore visits every world that steps can lead to, depth first, until one is wrong or there are limit of them.
func explore(start *world, limit int) result {
	type frame struct {
		by    step
		w     *world
		moves []step
	}
	visited := map[[2]uint64]struct{}{start.key(): {}}
	stack := []frame{{w: start, moves: start.moves()}}
	r := result{}
	for len(stack) > 0 && len(visited) < limit {
		top := &stack[len(stack)-1]
		if len(top.moves) == 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		s := top.moves[len(top.moves)-1]
		top.moves = top.moves[:len(top.moves)-1]
		r.steps++
		next, broken := top.w.after(s)
		if next != nil && broken == "" {
			key := next.key()
			if _, seen := visited[key]; seen {
				continue
			}
			visited[key] = struct{}{}
			broken = next.check()
		}
		if broken != "" {
			for _, f := range stack[1:] {
				r.trace = append(r.trace, f.by)
			}
			r.broken, r.trace = broken, append(r.trace, s)
			break
		}
		if next != nil {
			stack = append(stack, frame{s, next, next.moves()})
		}
	}
	r.states, r.full = len(visited), len(stack) == 0
	return r
}

// walk goes one random way of so many steps, choosing what happens before which of it: deliveries are many and would drown
// the rest. Walks go where exhaustive searches cannot: long runs, many epochs.
func walk(start *world, seed uint64, length int) (steps []step, broken string) {
	dice := rand.New(rand.NewPCG(seed, 0))
	for w := start; len(steps) < length && broken == ""; {
		by := map[verb][]step{}
		var verbs []verb
		for _, s := range w.moves() {
			if by[s.what] == nil {
				verbs = append(verbs, s.what)
			}
			by[s.what] = append(by[s.what], s)
		}
		if len(verbs) == 0 {
			break
		}
		choice := by[verbs[dice.IntN(len(verbs))]]
		s := choice[dice.IntN(len(choice))]
		steps = append(steps, s)
		var next *world
		if next, broken = w.after(s); next == nil && broken == "" {
			steps = steps[:len(steps)-1]
			length--
			continue
		}
		if broken == "" {
			broken = next.check()
		}
		w = next
	}
	return steps, broken
}

// play repeats steps and returns what the last one breaks, "" when it breaks nothing or a step is not possible. A step that
// changes nothing is no harm.
func (w *world) play(steps []step) string {
	broken := ""
	for _, s := range steps {
		if broken != "" || !slices.Contains(w.moves(), s) {
			return ""
		}
		next, now := w.after(s)
		if now == "" && next != nil {
			w = next
			now = w.check()
		}
		broken = now
	}
	return broken
}

// shrink leaves out what a violation does not need, long stretches first, so that a person can read the rest.
func (w *world) shrink(steps []step) ([]step, string) {
	broken := w.play(steps)
	for size := len(steps) / 2; size > 0; size /= 2 {
		for i := len(steps) - 1 - size; i >= 0; i = min(i, len(steps)-1) - size {
			fewer := slices.Delete(slices.Clone(steps), i, i+size)
			if b := w.play(fewer); b != "" {
				steps, broken = fewer, b
			}
		}
	}
	return steps, broken
}

// story tells steps one a line.
func (w *world) story(steps []step) string {
	var b strings.Builder
	for i, s := range steps {
		fmt.Fprintf(&b, "%3d. %s", i+1, verbs[s.what])
		if s.what >= sync && s.what <= wipe {
			fmt.Fprintf(&b, " n%d", s.node+1)
		}
		for _, m := range s.msgs {
			if m != 0 {
				fmt.Fprintf(&b, " %s", tell(w.r.messages[m]))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func tell(m any) string {
	switch m := m.(type) {
	case replication.Append:
		var records journal
		records = records.with(&replication.Write{Records: m.Records})
		return fmt.Sprintf("append of epoch %d to copy %d: after %s %v, confirmed %d, round %d", m.Epoch, m.To, m.Prev, records, m.Confirmed, m.Round)
	case replication.Ack:
		return fmt.Sprintf("ack of epoch %d by copy %d: %d, round %d", m.Epoch, m.Copy, m.LSN, m.Round)
	case replication.Nack:
		return fmt.Sprintf("nack of epoch %d by copy %d: %s, promised %d, last %s", m.Epoch, m.Copy, m.Why, m.Promised, m.Last)
	case sealItem:
		return fmt.Sprintf("seal of epoch %d to copy %d", m.Epoch, m.Copy)
	case shard.Sealed:
		return fmt.Sprintf("[sealed of epoch %d by copy %d: last %s]", m.Epoch, m.Copy, m.Last)
	case established:
		return fmt.Sprintf("epoch %d of session %d", m.Epoch, m.Session)
	}
	return fmt.Sprint(m)
}
