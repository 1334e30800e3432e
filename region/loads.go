package region

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
)

// loads are the entities of this node, of all shards alike, that wait to be read back. A pass takes those that wait, up to
// maxPass records, and reads them together: in one sweep over the journal, without a goroutine, a transaction or a message to the
// host for each. As many passes run as there are processors, and what is asked for meanwhile gathers for the next: a lone
// entity is read at once, and the more are asked for the less each costs. Safe for concurrent use.
//
// A fold that does not return holds up nobody else for long: at the next tick the others of its pass begin anew without it.
//
// Rejected: a worker for each entity. Its 100 records stood far apart, and each cost a transaction.
type loads struct {
	region *Region
	mu     struct {
		sync.Mutex
		waiting queue[*load]
		passes  []*pass // that run, but for those that were given up
	}
}

// maxPass bounds the records of a pass, so that the first of its entities do not wait long for the last. A longer entity is
// read alone.
const maxPass = 32 << 10

// start lets an entity be read.
func (l *loads) start(x *load) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.waiting.push(x)
	l.rouse()
}

// rouse begins a pass if there is something to read and a processor for it. The caller holds the lock.
func (l *loads) rouse() {
	if l.mu.waiting.len() > 0 && len(l.mu.passes) < runtime.GOMAXPROCS(0) {
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
	for records := 0; !p.lone && l.mu.waiting.len() > 0; {
		if records += len(l.mu.waiting.front().path.after) + 1; records > maxPass && len(p.loads) > 0 {
			break
		}
		p.loads = append(p.loads, l.mu.waiting.pop())
	}
	if len(p.loads) > 0 {
		return true
	}
	l.remove(p)
	return false
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
			l.mu.waiting.push(&load{host: x.host, term: x.term, of: x.of, path: x.path})
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

func (p *pass) do() {
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
