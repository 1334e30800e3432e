package replication_test

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
)

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

// begin returns the world a search starts from, and what is broken there already.
func begin(c config) (w *world, broken string) {
	r := &run{
		groups: newGroups(), known: map[string]int32{}, messages: []any{nil}, config: c, idle: map[errand][]int32{},
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
	}
	w = &world{r: r, past: &past{}, left: c.may}
	g := r.groups.found(c)
	if err := checkCopies(g); err != nil {
		return w, fmt.Sprintf("I8: %v", err)
	}
	for i := range c.members + c.spares {
		n := &node{place: i, session: g.sessionOf(i)}
		if i < c.members {
			n.id = g.place.Copies[i].ID
		}
		n.start()
		w.nodes = append(w.nodes, n)
	}
	w.regroup(g)
	if c.fresh || w.past.broken != "" {
		return w, w.past.broken
	}
	w.left = budget{}
	w, broken = w.settle()
	if c.learner.node != 0 && broken == "" {
		w.regroup(r.groups.mint(w.group, nodeID(c.learner.node-1), c.learner.replaces))
		w, broken = w.settle()
	}
	w.left = budget{writes: c.tail}
	for w.left.writes > 0 && broken == "" {
		w, broken = w.after(step{what: propose})
	}
	w.net, w.left = nil, c.may
	return w, cmp.Or(broken, w.check())
}

// settle plays one orderly run: what can happen by itself does, each message arrives once, until nothing is left to happen.
func (w *world) settle() (quiet *world, broken string) {
	seen, arrived := map[[2]uint64]bool{}, map[int32]bool{}
	for again := true; again; {
		again = false
		for _, s := range w.moves() {
			if s.what == deliver && arrived[s.msgs[0]] {
				continue
			}
			next, broken := w.after(s)
			if broken != "" {
				return w, broken
			}
			if next != nil && !seen[next.key()] {
				seen[next.key()], arrived[s.msgs[0]] = true, s.what == deliver
				w, again = next, true
				break
			}
		}
	}
	return w, ""
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
