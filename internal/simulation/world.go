// Package simulation runs a whole cluster in one goroutine, from one seed: the real state machine behind a simulated Raft
// log, the real recovery driver on whoever leads it, the real replication protocol for every copy on every node; simulated
// are the network, the disks, the clocks, and the thin shells between them. The same seed gives the same run, to the bit.
//
// A run has two phases. First clients work while a nemesis crashes, pauses, cuts off and wipes nodes and slows their disks,
// and the invariants of the protocol are checked after each step. Then everything heals, and the run demands that every
// shard that can be recovered is served again and that its copies agree, and it judges the clients' history.
//
// What is where: world.go is time, chance and the trace; network.go, disk.go and raft.go are what the cluster runs on;
// node.go, session.go and leader.go are a node's control plane; custody.go, host.go, change.go, shorten.go, serve.go and volatile.go
// its shards; client.go and meet.go are the users, nemesis.go, rift.go, rot.go and lag.go the faults, operator.go and unclean.go the operators, swarm.go what a seed has of
// both; check.go, rendezvous.go, history.go and converge.go are the judges; run.go puts it together.
package simulation

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"muster/shard"
)

// world is one run. Everything in it happens in the order of its events, on one goroutine.
type world struct {
	seed   uint64
	dice   *rand.Rand
	digest uint64 // of everything that happened: two runs of a seed must agree
	trace  io.Writer
	agenda
	phase

	setup   setup
	net     network
	raft    *raft
	nodes   []*node
	clients []*client
	check   *checker
	swarm   swarm
	acted   [Acts]int
	counts  counts
}

// agenda is the time, and what will happen.
type agenda struct {
	now    time.Duration
	queue  events
	serial uint64
}

// phase is how far a run is: first faults, then rest.
type phase struct {
	drains  map[shard.NodeID]bool // nodes that stay drained after the faults
	stuck   map[shard.ID]bool     // shards without enough copies to go on, when everything else was well
	unstuck bool                  // one of those has changed since
	healed  bool                  // the second phase
	torn    bool                  // a shard is torn apart: nothing else happens
	lagging *lag                  // likewise, copies of a shard are left behind; nil for none
	resting bool                  // nobody begins anything new
	lifted  bool                  // what operators had said is taken back
}

// event is something that happens at a moment. Events of one moment happen in the order in which they were planned.
type event struct {
	at     time.Duration
	serial uint64
	run    func()
	of     *process // it happens in this process, see later; nil for in none
}

// events is a heap of four children to a node, by time and plan: it is the busiest thing of a run, and container/heap boxes
// each event.
type events []event

func (e *event) before(o *event) bool { return e.at < o.at || (e.at == o.at && e.serial < o.serial) }

func (q *events) push(e event) {
	*q = append(*q, e)
	h := *q
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !e.before(&h[up]) {
			break
		}
		h[i], i = h[up], up
	}
	h[i] = e
}

func (q *events) pop() event {
	h := *q
	first, last := h[0], h[len(h)-1]
	h[len(h)-1] = event{}
	h = h[:len(h)-1]
	*q = h
	if len(h) == 0 {
		return first
	}
	i := 0
	for {
		least := 4*i + 1
		if least >= len(h) {
			break
		}
		for k := least + 1; k < min(4*i+5, len(h)); k++ {
			if h[k].before(&h[least]) {
				least = k
			}
		}
		if !h[least].before(&last) {
			break
		}
		h[i], i = h[least], least
	}
	h[i] = last
	return first
}

// after plans an event.
func (w *world) after(d time.Duration, run func()) { w.plan(d, nil, run) }

func (w *world) plan(d time.Duration, of *process, run func()) {
	w.serial++
	w.queue.push(event{w.now + max(0, d), w.serial, run, of})
}

// until runs events up to a moment, or until done says so after one of them.
func (w *world) until(end time.Duration, done func() bool) {
	for len(w.queue) > 0 && w.queue[0].at <= end {
		e := w.queue.pop()
		w.now = e.at
		w.note(uint64(e.at), e.serial)
		if e.of != nil {
			e.of.later(e.run)
		} else {
			e.run()
		}
		if done() {
			return
		}
	}
	w.now = max(w.now, end)
}

// note mixes numbers into the digest.
func (w *world) note(numbers ...uint64) {
	for _, n := range numbers {
		w.digest = mix(w.digest, n)
	}
}

// mix is a step of a 64-bit hash (the finisher of MurmurHash3, by Austin Appleby, over a running product).
func mix(h, n uint64) uint64 {
	h = (h ^ n) * 0x9e3779b97f4a7c15
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 29
	return h
}

// log writes a line of the trace.
func (w *world) log(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%9.4f  %s\n", w.now.Seconds(), fmt.Sprintf(format, args...))
	}
}

// violation is a broken invariant. It ends the run.
type violation struct{ text string }

// fail ends the run.
func (w *world) fail(format string, args ...any) {
	v := violation{fmt.Sprintf("at %.4fs: ", w.now.Seconds()) + fmt.Sprintf(format, args...)}
	w.log("VIOLATION %s", v.text)
	panic(v)
}

// chance is true with probability p.
func (w *world) chance(p float64) bool { return w.dice.Float64() < p }

// between draws a duration.
func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.dice.Int64N(int64(most-least)+1))
}

// pick draws one of a list.
func pick[T any](w *world, list []T) T { return list[w.dice.IntN(len(list))] }
