package region

import (
	"sync"

	"muster/region/route"
	"muster/replication"
	"muster/shard"
)

// An inbox gathers what concerns one hosted copy. Anyone puts; the host takes everything at once, so the more arrives
// the larger its batches get. Kinds are kept apart: order matters only inside one of them.
//
// Its only limits are those of what feeds it: calls are counted when they are admitted, appends and acks are bounded by
// the protocol's window, the rest by what this node itself does.
type inbox struct {
	mu struct {
		sync.Mutex
		batch  *batch
		idle   bool // the host is not in line, and nobody works for it
		closed bool
	}
	ready func() // puts the host in line; called without the lock
	spare *batch // owned by the host
}

// A batch is what gathered between two takes.
type batch struct {
	placement *shard.Placement // the newest
	fate      route.Fate       // of a copy that the placement does without
	calls     []*call
	finished  []*call // their handlers have returned
	ended     []*run
	loaded    []*load
	durable   []durable
	appends   arrivals
	acks      []replication.Ack
	nacks     []replication.Nack
	seals     []sealing
	steps     []step // of the log's upkeep
	queries   []chan<- Hosted
	asks      []shard.CopyID // for a sign of life
	ticks     int
}

// durable says that a write of that ticket has reached the disk, or why not.
type durable struct {
	ticket replication.Ticket
	err    error
}

// sealing is a wish to be sealed and where the answer goes.
type sealing struct {
	epoch shard.Epoch
	done  func(shard.Sealed)
}

// newInbox returns the inbox of a host that is not idle yet.
func newInbox(ready func()) *inbox {
	in := &inbox{ready: ready, spare: &batch{}}
	in.mu.batch = &batch{}
	return in
}

// put lets add write into the open batch; false means that the host is gone.
func (in *inbox) put(add func(b *batch)) bool {
	b := in.open()
	if b == nil {
		return false
	}
	add(b)
	in.rouse()
	return true
}

// open locks the inbox and returns the open batch, to write into before rouse; nil, and no lock, when the host is gone.
func (in *inbox) open() *batch {
	in.mu.Lock()
	if in.mu.closed {
		in.mu.Unlock()
		return nil
	}
	return in.mu.batch
}

// rouse unlocks and puts the host in line if it is idle.
func (in *inbox) rouse() {
	idle := in.mu.idle
	in.mu.idle = false
	in.mu.Unlock()
	if idle {
		in.ready()
	}
}

// call puts one call; it is put without a closure because it is the hot path, like the three that follow.
func (in *inbox) call(c *call) bool {
	b := in.open()
	if b == nil {
		return false
	}
	b.calls = append(b.calls, c)
	in.rouse()
	return true
}

// finish puts a call whose handler has returned, and the end of its run with the last one.
func (in *inbox) finish(c *call, ended *run) bool {
	b := in.open()
	if b == nil {
		return false
	}
	b.finished = append(b.finished, c)
	if ended != nil {
		b.ended = append(b.ended, ended)
	}
	in.rouse()
	return true
}

// append puts what a primary sent.
func (in *inbox) append(a arrived) {
	if b := in.open(); b != nil {
		b.appends.items = append(b.appends.items, a)
		in.rouse()
	}
}

// ack puts what a peer acknowledged.
func (in *inbox) ack(a replication.Ack) {
	if b := in.open(); b != nil {
		b.acks = append(b.acks, a)
		in.rouse()
	}
}

// take takes all there is, nil for nothing: then the host is idle, or at its end if over.
func (in *inbox) take() (b *batch, over bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if b = in.mu.batch; !b.isEmpty() {
		in.mu.batch, in.spare = in.spare, nil
		return b, false
	}
	in.mu.idle = !in.mu.closed
	return nil, in.mu.closed
}

// worked takes back a batch that was worked off: it gathers again after the one that gathers now.
func (in *inbox) worked(b *batch) {
	b.reset()
	in.spare = b
}

// close refuses what comes from now on.
func (in *inbox) close() {
	in.mu.Lock()
	if in.mu.closed {
		in.mu.Unlock()
		return
	}
	in.mu.closed = true
	in.rouse()
}

func (b *batch) isEmpty() bool {
	return b.placement == nil && b.ticks == 0 &&
		len(b.calls)+len(b.finished)+len(b.ended)+len(b.loaded)+len(b.durable) == 0 &&
		len(b.appends.items)+len(b.acks)+len(b.nacks)+len(b.seals)+len(b.steps)+len(b.queries)+len(b.asks) == 0
}

// reset empties the batch and keeps its memory.
func (b *batch) reset() {
	clear(b.calls)
	clear(b.finished)
	clear(b.ended)
	clear(b.loaded)
	b.appends.reset()
	clear(b.nacks)
	clear(b.seals)
	clear(b.steps)
	clear(b.queries)
	*b = batch{
		calls: b.calls[:0], finished: b.finished[:0], ended: b.ended[:0], loaded: b.loaded[:0], durable: b.durable[:0],
		appends: b.appends, acks: b.acks[:0], nacks: b.nacks[:0], seals: b.seals[:0], queries: b.queries[:0],
		steps: b.steps[:0], asks: b.asks[:0],
	}
}

// merge returns b with what gathered since it was taken.
func (in *inbox) merge(b *batch) *batch {
	in.mu.Lock()
	defer in.mu.Unlock()
	more := in.mu.batch
	if more.isEmpty() {
		return b
	}
	if more.placement != nil {
		b.placement = more.placement
	}
	b.fate = max(b.fate, more.fate)
	b.calls = append(b.calls, more.calls...)
	b.finished = append(b.finished, more.finished...)
	b.ended = append(b.ended, more.ended...)
	b.loaded = append(b.loaded, more.loaded...)
	b.durable = append(b.durable, more.durable...)
	b.appends.join(&more.appends)
	b.acks = append(b.acks, more.acks...)
	b.nacks = append(b.nacks, more.nacks...)
	b.seals = append(b.seals, more.seals...)
	b.steps = append(b.steps, more.steps...)
	b.queries = append(b.queries, more.queries...)
	b.asks = append(b.asks, more.asks...)
	b.ticks += more.ticks
	more.reset()
	return b
}
