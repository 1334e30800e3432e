package region

import (
	"errors"
	"runtime"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/entity"
	"muster/journal"
	"muster/replication"
	"muster/shard"
)

// A host is one copy of one journaled shard on this node, replica or primary.
//
// Whoever works for it alone owns everything here but the inbox and load: one goroutine at a time, and none while the inbox is
// empty. He takes whatever gathered there, feeds it to the protocol and to the cells, and carries out the merged effects: one
// proposal, one append per peer and one round of reads per batch. Handlers and loads run on other goroutines and come back
// through the inbox.
//
// Invariant: an answer leaves through settle, expire or abandon, and only there is the call taken off load.
type host struct {
	region *Region
	log    hclog.Logger
	id     shard.ID
	copy   shard.CopyID
	def    entity.Definition // nil when this node holds a copy of a type that it does not define
	spec   shard.Spec        // of def
	inbox  *inbox
	load   admission
	pulse  pulse

	protocol *replication.Copy
	storage  storage
	tenure
	cells   cells
	outputs outputs
	out     outgoing
}

func newHost(r *Region, s journal.CopyState, x index) *host {
	h := &host{
		region: r, id: s.Shard, copy: s.State.Copy, def: r.types[s.Shard.Type],
		log:      r.log.With("shard", s.Shard.String(), "copy", s.State.Copy),
		protocol: replication.Open(s.Shard, s.State),
		cells:    newCells(r.limits.Cells),
		storage:  newStorage(r, s.State, x),
	}
	h.inbox = newInbox(func() { r.copies.workers.start(h) })
	if h.def != nil {
		h.spec = h.def.Spec()
	}
	return h
}

// finished takes a handler's outcome back; ended is the run, with its last one.
func (h *host) finished(c *call, ended *run) {
	if h.inbox.finish(c, ended) {
		return
	}
	h.leave(c, nil, closedFault(h.id))
	if ended != nil {
		for _, behind := range ended.calls[ended.done:] { // of a run that spoiled its cell: they did not run
			h.leave(behind, nil, closedFault(h.id))
		}
	}
}

// deliver takes a call in, or says why not. Any goroutine.
func (h *host) deliver(c *call) *shard.Error {
	if fault := h.load.enter(c, &h.region.limits); fault != nil {
		fault.Shard = h.id
		return fault
	}
	if h.inbox.call(c) {
		return nil
	}
	h.load.leave(c)
	return closedFault(h.id)
}

func closedFault(id shard.ID) *shard.Error {
	return &shard.Error{Code: shard.CodeClosed, Shard: id, Outcome: shard.Unknown, Detail: "the node is stopping"}
}

// work implements task: it works off what has gathered, until there is nothing.
func (h *host) work() {
	if !h.remember() {
		h.region.wait.Done()
		return
	}
	for {
		b, over := h.inbox.take()
		if over {
			h.depose(nil)
			h.region.wait.Done()
		}
		if b == nil {
			return
		}
		if len(b.calls)+len(b.finished)+len(b.acks) > 0 {
			b = h.gather(b)
		}
		h.drain(b)
		h.inbox.worked(b)
	}
}

// remember reads the requests whose records the log has no more, of a few copies at once. What arrives meanwhile waits in the inbox.
func (h *host) remember() bool {
	if h.storage.remembered {
		return true
	}
	h.storage.remembered = true
	if h.storage.base == 0 {
		return true
	}
	select {
	case h.region.copies.reading <- struct{}{}:
	case <-h.region.life.Done():
		return false
	}
	defer func() { <-h.region.copies.reading }()
	if err := h.storage.remember(); err != nil {
		h.region.damaged(h, err)
		return false
	}
	return true
}

// gather yields once, so that more arrives before the batch is worked on. It is not a delay: whoever else can run does. Where other
// hosts are in line this one has been, which was as good, and the yield would hold them up.
func (h *host) gather(b *batch) *batch {
	if h.region.copies.workers.crowded() {
		return b
	}
	runtime.Gosched()
	return h.inbox.merge(b)
}

// drain works one batch off: first what the protocol has to know, then what handlers did, then what is new.
func (h *host) drain(b *batch) {
	now := h.region.now()
	for _, d := range b.durable {
		h.durable(d)
	}
	if b.placement != nil {
		h.place(b.placement)
	}
	if b.fate != 0 {
		h.retire(b.placement, b.fate)
	}
	h.converse(b)
	h.announce()
	h.overheard()
	for _, id := range b.asks {
		h.do(h.protocol.Ask(id))
	}
	for _, s := range b.seals {
		h.seal(s)
	}
	for _, l := range b.loaded {
		h.loaded(l)
	}
	h.collect(b, now)
	if len(b.calls) > 0 {
		h.storage.crowded = h.region.cfg.Journal.Backlog() >= journal.MaxQueuedBytes
		h.pulse.tally(b.calls, h.storage.last)
	}
	h.admitHeld()
	for _, c := range b.calls {
		if !h.hold(c) {
			h.arrive(c)
		}
	}
	for _, r := range b.ended {
		h.ended(r)
	}
	if b.ticks > 0 {
		h.tick(now)
	}
	h.flush()
	h.settle(now)
	h.flush()
	if h.handOver(now) {
		h.flush()
	}
	for _, s := range b.steps {
		s.finish(h, now)
	}
	h.compact(now)
	h.flush()
	for _, q := range b.queries {
		q <- h.status()
	}
	h.pulse.drained(b, h)
}

// converse feeds what other copies said to the protocol.
func (h *host) converse(b *batch) {
	b.appends.room()
	for i := range b.appends.items {
		m, err := b.appends.next(i)
		if err != nil {
			h.log.Warn("append with damaged records", "error", err)
			continue // the primary sends it again
		}
		h.out.upstream(m.Epoch, b.appends.items[i].from)
		h.do(h.protocol.Append(*m))
	}
	for _, a := range b.acks {
		h.do(h.protocol.Ack(a))
	}
	for _, n := range b.nacks {
		h.do(h.protocol.Nack(n))
	}
}

// durable tells the protocol that a write has reached the disk. A journal that failed stops the whole region, rot costs the copy.
func (h *host) durable(d durable) {
	if d.err != nil {
		if !h.rotten(d.err) {
			h.region.fail(d.err)
		}
		return
	}
	if err := h.storage.synced(d.ticket); err != nil {
		h.region.damaged(h, err)
		return
	}
	h.do(h.protocol.Durable(d.ticket))
}

// rotten reports whether an error of the journal is of this copy's data alone, and gives the copy up then.
func (h *host) rotten(err error) bool {
	var damage *journal.DamagedError
	if !errors.As(err, &damage) || damage.Copy == 0 {
		return false
	}
	h.region.damaged(h, err)
	return true
}

// seal makes the copy promise an epoch. The answer leaves when the promise is durable.
func (h *host) seal(s sealing) {
	h.out.seals = append(h.out.seals, s)
	h.do(h.protocol.Seal(s.epoch))
}

// do takes one step's effects. What ends or changes the term happens now, the rest is merged and carried out by flush. What is
// confirmed counts at once for a primary: entities are loaded from what is. To a replica it may come with a write that cuts
// the log, and counts for the log as that makes it.
func (h *host) do(e replication.Effects) {
	if e.Deposed {
		h.out.effects.Appends, h.out.effects.Installs = nil, nil // void: they speak for an epoch that is not led any more
		h.depose(h.elsewhere())
	}
	h.out.effects.Merge(e)
	if h.term != nil {
		h.storage.confirm(e.Confirmed)
	}
	if e.Established && h.term != nil {
		h.established()
	}
}

// tick lets time pass: the protocol probes and resends, outputs that waited for too long become unknown.
func (h *host) tick(now time.Duration) {
	h.do(h.protocol.Tick())
	if h.term != nil {
		h.term.handing.Tick(h.storage.last)
	}
	h.expire(now)
	h.refuseLate()
	if !h.deserted() {
		h.desire()
	}
	h.recant(now)
	h.storage.compaction.measure(h, now)
	h.storage.requests.forget(h.region.view.Load(), now)
}
