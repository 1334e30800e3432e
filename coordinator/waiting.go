package coordinator

import (
	"slices"
	"sync"

	"muster/barrier"
	"muster/shard"
)

// A waitingRoom is where the arrivals that this node serves wait for their barrier to open. The state machine calls it after
// every entry, so the leader's parties hear of a release as soon as it is applied here.
//
// An arrival is entered before it is proposed: its release may come in the same entry.
type waitingRoom struct {
	mu struct {
		sync.Mutex
		waiting map[waitKey][]*waiter
	}
}

type waitKey struct {
	name        barrier.Name
	participant barrier.Participant
}

type waiter struct {
	key     waitKey
	session shard.SessionID
	request uint64
	entry   shard.Index   // that the arrival came in with, 0 while that is not known; under the room's lock
	news    chan waitNews // of one
}

// supersededBy reports whether the other call, which waits in the barrier, took the place of this one: see barrier.Party. A call of another
// session whose own entry is not known to be before may be about to take the place itself.
func (w *waiter) supersededBy(by *waiter) bool {
	if w.session == by.session {
		return w.request < by.request
	}
	return w.entry != 0 && w.entry < by.entry
}

// waitNews is why a waiter is woken: an outcome, the end of its session, a call in its place, or nothing certain, so that it asks again.
type waitNews struct {
	outcome  *barrier.Outcome
	ended    bool
	replaced bool
}

func newWaitingRoom() *waitingRoom {
	r := &waitingRoom{}
	r.mu.waiting = map[waitKey][]*waiter{}
	return r
}

func (r *waitingRoom) enter(a arrival) *waiter {
	w := &waiter{key: a.key(), session: a.session, request: a.request, news: make(chan waitNews, 1)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.waiting[w.key] = append(r.mu.waiting[w.key], w)
	return w
}

func (r *waitingRoom) leave(w *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest := slices.DeleteFunc(r.mu.waiting[w.key], func(x *waiter) bool { return x == w })
	if len(rest) == 0 {
		delete(r.mu.waiting, w.key)
	} else {
		r.mu.waiting[w.key] = rest
	}
}

// settle tells what an entry decided.
func (r *waitingRoom) settle(releases []barrier.Release, ended []shard.SessionID) {
	if len(releases)+len(ended) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range releases {
		outcome := releases[i].Outcome()
		for _, p := range releases[i].Parties {
			for _, w := range r.mu.waiting[waitKey{releases[i].Name, p.Participant}] {
				w.tell(waitNews{outcome: &outcome})
			}
		}
	}
	if len(ended) > 0 {
		r.each(func(w *waiter) {
			if slices.Contains(ended, w.session) {
				w.tell(waitNews{ended: true})
			}
		})
	}
}

// arrived notes the entry that the call came in with.
func (r *waitingRoom) arrived(w *waiter, entry shard.Index) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.entry = entry
}

// supersede tells the calls whose place in the barrier this one has taken. One whose entry is not noted yet finds that out itself.
func (r *waitingRoom) supersede(by *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.mu.waiting[by.key] {
		if w.supersededBy(by) {
			w.tell(waitNews{replaced: true})
		}
	}
}

// disturb makes everyone ask again: entries were skipped, or this node leads no more.
func (r *waitingRoom) disturb() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.each(func(w *waiter) { w.tell(waitNews{}) })
}

func (r *waitingRoom) each(visit func(*waiter)) {
	for _, ws := range r.mu.waiting {
		for _, w := range ws {
			visit(w)
		}
	}
}

// tell never blocks: the first news is enough, the waiter looks again after it.
func (w *waiter) tell(n waitNews) {
	select {
	case w.news <- n:
	default:
	}
}
