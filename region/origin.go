package region

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"muster/shard"
)

// origin numbers the commands of this node and knows which of them are still awaited. Safe for concurrent use.
//
// Numbers rise over all shards; floors are told per shard, because one shard without an owner must not keep the others
// from forgetting what is answered.
type origin struct {
	region   *Region
	numbers  atomic.Uint64
	waiting  admission   // asks that wait for an owner
	underWay tally       // asks that have no answer for their callers yet
	shut     atomic.Bool // nothing new is asked through this node
	mu       struct {
		sync.RWMutex
		desks map[shard.ID]*desk
	}
}

// A desk holds this session's open asks to one shard, by number.
//
// An ask that stays open keeps the places of all that were numbered since. When they are needed it is passed over: the floor
// rises above it, its answer is waited for on, and it is not sent again, for its owner would not know any more whether it ran.
//
// Invariant: at most maxOpen numbers at or above the floor, so the owner never has to refuse one.
type desk struct {
	session shard.SessionID
	places  chan struct{} // one for each open number
	before  *desk         // of the session before, at which asks may be open still; it does not change
	mu      struct {
		sync.Mutex
		open     queue[open]
		answered int             // of open, behind one that is awaited
		passed   map[uint64]*ask // over, and awaited still
	}
}

// An open is a number that is awaited, or not any more (no ask) but behind one that is.
type open struct {
	number uint64
	ask    *ask
}

// begin counts an ask in a place of the tally, or reports that the node is stopping. Counted first, so that Close misses none
// that gets in.
func (o *origin) begin(place uint32) bool {
	o.underWay.add(place, 1)
	if o.shut.Load() {
		o.underWay.add(place, -1)
		return false
	}
	return true
}

func (o *origin) end(place uint32) { o.underWay.add(place, -1) }

// A tally is a number that many change and hardly anyone reads, in several places of memory, so that processors do not take it
// from each other. What is added in a place has to be taken off there, or the sum could be too small while it is made. Safe for
// concurrent use.
type tally [16]struct {
	n atomic.Int64
	_ [56]byte // the rest of what a processor takes at once
}

func (t *tally) add(place uint32, n int64) { t[place%uint32(len(t))].n.Add(n) }

// sum misses nothing that was added before and is still there after.
func (t *tally) sum() (n int64) {
	for i := range t {
		n += t[i].n.Load()
	}
	return n
}

func (o *origin) init(r *Region) {
	o.region = r
	o.mu.desks = map[shard.ID]*desk{}
}

// desk returns the shard's desk for the present session.
func (o *origin) desk(id shard.ID, session shard.SessionID) *desk {
	o.mu.RLock()
	d := o.mu.desks[id]
	o.mu.RUnlock()
	if d != nil && d.session == session {
		return d
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if d = o.mu.desks[id]; d == nil || d.session < session {
		d = &desk{session: session, places: make(chan struct{}, maxOpen), before: d.busy()}
		o.mu.desks[id] = d
	}
	return d
}

// busy returns the newest desk, from this one back, at which asks are open.
func (d *desk) busy() *desk {
	for ; d != nil; d = d.before {
		d.mu.Lock()
		n := d.mu.open.len() + len(d.mu.passed)
		d.mu.Unlock()
		if n > 0 {
			return d
		}
	}
	return nil
}

// number gives the ask the next number. The caller has taken a place.
func (d *desk) number(a *ask, numbers *atomic.Uint64) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := numbers.Add(1)
	d.mu.open.push(open{n, a})
	d.pass()
	return n
}

// floor is the lowest number that may be sent again; false when number was passed over and is not.
func (d *desk) floor(number uint64) (uint64, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.open.len() == 0 || d.mu.open.front().number > number {
		return 0, false
	}
	return d.mu.open.front().number, true
}

// close takes a number off. Places are given back from the front, because an open number keeps the younger ones from
// being forgotten by the owner.
func (d *desk) close(number uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, found := slices.BinarySearchFunc(d.mu.open.all(), number, func(o open, number uint64) int { return cmp.Compare(o.number, number) })
	if !found {
		delete(d.mu.passed, number)
		return
	}
	d.mu.open.all()[i].ask = nil
	d.mu.answered++
	d.clear()
	d.pass()
}

// clear gives back the places at the front that nobody awaits anything in. The caller holds the lock.
func (d *desk) clear() {
	for d.mu.open.len() > 0 && d.mu.open.front().ask == nil {
		d.mu.open.pop()
		d.mu.answered--
		<-d.places
	}
}

// pass passes over the oldest ask when all places are taken and half of them are behind it for no other reason: so many were
// answered meanwhile that came later. The caller holds the lock.
func (d *desk) pass() {
	if d.mu.open.len() < maxOpen || d.mu.answered < maxOpen/2 {
		return
	}
	first := d.mu.open.pop()
	<-d.places
	if d.mu.passed == nil {
		d.mu.passed = map[uint64]*ask{}
	}
	d.mu.passed[first.number] = first.ask
	d.clear()
}

// nudge makes every open ask look at the map again.
func (d *desk) nudge() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.mu.open.all() {
		if o.ask != nil {
			o.ask.nudge()
		}
	}
	for _, a := range d.mu.passed {
		a.nudge()
	}
}

// moved tells the open asks of a shard that its placement changed.
func (o *origin) moved(id shard.ID) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for d := o.mu.desks[id]; d != nil; d = d.before {
		d.nudge()
	}
}

// close wakes every open ask, so that it sees that the region has stopped.
func (o *origin) close() {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for _, d := range o.mu.desks {
		for ; d != nil; d = d.before {
			d.nudge()
		}
	}
}
