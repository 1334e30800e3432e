package region

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
)

// loads are the entities of this node, of all shards alike, that wait to be read back. A pass takes those that wait, shard by shard
// and up to maxPass records, and reads them together: in one sweep over the journal, without a goroutine, a transaction or a
// message to the host for each. As many passes run as there are processors, and what is asked for meanwhile gathers for the next: a
// lone entity is read at once, and the more are asked for the less each costs.
//
// What a shard waits for stays together, because records that were written together stand together, and those are one shard's. Safe for
// concurrent use.
//
// A fold that does not return holds up nobody else for long: at the next tick the others of its pass begin anew without it.
//
// Rejected: a worker for each entity. Its 100 records stood far apart, and each cost a transaction.
type loads struct {
	region *Region
	mu     struct {
		sync.Mutex
		hosts   queue[*host] // those with something in waiting, by when it came
		waiting map[*host]*waiting
		passes  []*pass // that run, but for those that were given up
	}
}

// maxPass bounds the records of a pass, so that the first of its entities do not wait long for the last: some 50 ms where folds are
// cheap. The log of a shard, which has 65,536 of them at most as a rule, is read in one. A longer entity is read alone.
const maxPass = 96 << 10

// waiting is what one host lets be read.
type waiting struct {
	loads   []*load
	records int // of them
}

func (l *loads) init(r *Region) { l.region, l.mu.waiting = r, map[*host]*waiting{} }

// start lets entities of one host be read.
func (l *loads) start(some ...*load) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(some)
	l.rouse()
}

// add puts entities of one host in line. The caller holds the lock.
func (l *loads) add(some []*load) {
	h := some[0].host
	w := l.mu.waiting[h]
	if w == nil {
		w = &waiting{}
		l.mu.waiting[h] = w
		l.mu.hosts.push(h)
	}
	w.loads, w.records = append(w.loads, some...), w.records+recordsOf(some)
}

// rouse begins a pass if there is something to read and a processor for it. The caller holds the lock.
func (l *loads) rouse() {
	if l.mu.hosts.len() > 0 && len(l.mu.passes) < runtime.GOMAXPROCS(0) {
		p := &pass{of: l}
		l.mu.passes = append(l.mu.passes, p)
		l.region.workers.start(p)
	}
}

// take gives a pass what it reads next; false lets it end.
func (l *loads) take(p *pass) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.loads = p.loads[:0]
	for room := maxPass; !p.lone && room > 0 && l.mu.hosts.len() > 0; {
		h := l.mu.hosts.front()
		w := l.mu.waiting[h]
		if w.records > room && len(p.loads) > 0 {
			break // what is one shard's stays together
		}
		some := w.take(room)
		p.loads, room = append(p.loads, some...), room-recordsOf(some)
		l.mu.hosts.pop()
		if len(w.loads) > 0 {
			l.mu.hosts.push(h) // what is left waits behind the others
		} else {
			delete(l.mu.waiting, h)
		}
	}
	if len(p.loads) > 0 {
		return true
	}
	l.remove(p)
	return false
}

// take returns the first of the loads, with so many records or one load at least.
func (w *waiting) take(room int) []*load {
	n := 0
	for n < len(w.loads) && room > 0 {
		room -= w.loads[n].records()
		n++
	}
	some := w.loads[:n]
	w.loads, w.records = w.loads[n:], w.records-recordsOf(some)
	return some
}

// remove ends the count of a pass. The caller holds the lock.
func (l *loads) remove(p *pass) {
	l.mu.passes = slices.DeleteFunc(l.mu.passes, func(q *pass) bool { return q == p })
}

// tick gives up the passes that are still at the fold they were at before.
func (l *loads) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range slices.Clone(l.mu.passes) {
		turn, at := p.turn.Load(), p.folding.Load()
		if at != nil && turn == p.seen {
			l.leave(p, at)
		}
		p.seen = turn
	}
}

// leave leaves a pass to the load it is at; its others begin anew. The caller holds the lock.
func (l *loads) leave(p *pass, at *load) {
	for _, x := range p.loads {
		if x != at {
			l.add([]*load{{host: x.host, term: x.term, of: x.of, path: x.path}})
		}
	}
	p.loads, p.lone = []*load{at}, true
	p.only.Store(at)
	l.remove(p)
	l.rouse()
}

// A pass reads entities back, on a worker. Its loads are guarded by the lock of the loads while it is at a fold.
type pass struct {
	of    *loads
	lone  bool   // given up but for one load; guarded by the lock of the loads
	seen  uint64 // turn at the last tick; guarded by it, too
	loads []*load
	replay
}

func (p *pass) work() {
	over := false
	defer func() {
		if !over {
			p.abort()
		}
	}()
	for runtime.Gosched(); p.of.take(p); runtime.Gosched() { // whoever can run may ask for another entity; it is no delay
		p.run(p.of.region.cfg.Journal, p.loads)
		p.deliver()
	}
	over = true
}

// deliver tells each host what was read for it.
func (p *pass) deliver() {
	p.of.mu.Lock()
	all := slices.Clone(p.loads)
	p.loads = p.loads[:0]
	p.of.mu.Unlock()
	slices.SortStableFunc(all, func(a, b *load) int { return cmp.Compare(a.host.copy, b.host.copy) })
	for len(all) > 0 {
		h, n := all[0].host, 1
		for n < len(all) && all[n].host == h {
			n++
		}
		some := all[:n]
		h.inbox.put(func(b *batch) { b.loaded = append(b.loaded, some...) })
		all = all[n:]
	}
}

// abort ends a pass in which a fold ended the goroutine: that entity's load has failed, the others begin anew.
func (p *pass) abort() {
	at := p.folding.Load()
	p.of.mu.Lock()
	if !p.lone {
		p.of.leave(p, at)
	}
	p.of.mu.Unlock()
	at.err = errGoexit
	p.deliver()
}
