package region

import (
	"context"
	"sync"

	"github.com/hashicorp/go-hclog"

	"muster/entity"
	"muster/replication"
	"muster/shard"
)

// A volatile is one shard of a type without journal and copies, on the node that owns it. Its entities live in memory and
// start anew with each reign. Nothing runs and nothing leaves unless this session's lease holds at that moment: that is
// all that keeps two owners apart.
//
// There is no host. An idle entity's handler runs on the goroutine that brought the call, if that goroutine is
// the caller's own; a busy entity's calls wait in its mailbox for whoever is running it. Safe for concurrent use.
type volatile struct {
	region *Region
	log    hclog.Logger
	id     shard.ID
	def    entity.Definition
	load   admission
	mu     struct {
		sync.Mutex
		placement *shard.Placement
		reign     *reign // nil unless this node owns the shard and its lease held when last looked at
		report    *shard.Report
		given     *replication.Given // what this process stepped down from; nil for nothing
		stopped   bool
	}
}

// A reign is the time in which this node owns a volatile shard without a gap in its lease. The lock of the shard guards
// what is not fixed.
type reign struct {
	of       *volatile
	epoch    shard.Epoch
	life     context.Context
	working  context.Context // life, of handlers that a worker runs
	end      context.CancelFunc
	cells    map[shard.EntityID]*volatileCell
	busy     int // of cells
	requests requests
	leaving  leaving
}

// followVolatile acts on a placement of a volatile shard. The caller holds the lock of copies.
func (c *copies) followVolatile(p *shard.Placement, spec shard.Spec) {
	r := c.region
	v := c.mu.volatile[p.Shard]
	mine := p.Node == r.cfg.Node && p.Session == r.cfg.Directory.Session()
	def := r.types[spec.Name]
	if v == nil && (!mine || def == nil) {
		return
	}
	if v == nil {
		v = &volatile{region: r, id: p.Shard, def: def, log: r.log.With("shard", p.Shard.String())}
		c.mu.volatile[p.Shard] = v
		r.owners.put(p.Shard, v)
	}
	v.follow(p, mine)
}

func (v *volatile) follow(p *shard.Placement, mine bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mu.placement, v.mu.report = nil, nil
	if v.mu.reign != nil && (!mine || v.mu.reign.epoch != p.Epoch) {
		v.abdicate(v.over())
	}
	v.succeeded(p)
	if !mine {
		return
	}
	if p.Status == shard.Establishing {
		// There is no log to bring up: what it takes to lead is to have been named.
		v.mu.report = &shard.Report{Kind: shard.ReportEstablished, Shard: v.id, Epoch: p.Epoch, Version: p.Version}
		v.region.cfg.Directory.Report(*v.mu.report)
	}
	if p.Status == shard.Active {
		v.mu.placement = p
		v.reign()
		v.handOver()
	}
}

// reign begins to serve if the map and the lease allow it. The caller holds the lock.
func (v *volatile) reign() {
	p := v.mu.placement
	if p == nil || v.mu.reign != nil || v.mu.stopped || !v.leased() || v.mu.given != nil && v.mu.given.Epoch == p.Epoch {
		return
	}
	life, end := context.WithCancel(v.region.life)
	v.mu.reign = &reign{
		of: v, epoch: p.Epoch, life: life, working: v.region.workers.mark(life), end: end,
		cells: map[shard.EntityID]*volatileCell{}, requests: newRequests(),
	}
}

// abdicate drops every entity and tells who waits that their command never ran. The caller holds the lock.
func (v *volatile) abdicate(fault *shard.Error) {
	r := v.mu.reign
	v.mu.reign = nil
	r.end()
	for _, cell := range r.cells {
		for _, c := range cell.mailbox.take() {
			v.leave(c, nil, fault)
		}
	}
	for _, c := range r.leaving.held.take() {
		v.leave(c, nil, fault)
	}
}

func (v *volatile) over() *shard.Error {
	return &shard.Error{Code: shard.CodeUnavailable, Shard: v.id, Detail: "this node's lease on the shard is over"}
}

// leased reports whether what runs or leaves now does so under the lease.
func (v *volatile) leased() bool {
	return v.region.cfg.Clock() < v.region.cfg.Directory.LeaseUntil()
}

// deliver implements owner.
func (v *volatile) deliver(c *call) *shard.Error {
	if fault := v.load.enter(c, &v.region.limits); fault != nil {
		fault.Shard = v.id
		return fault
	}
	cell, fault := v.admit(c)
	switch {
	case fault != nil:
		v.load.leave(c)
		return fault
	case cell == nil: // it joined another call, was answered, or waits in a mailbox
	case c.inline:
		v.runOne(cell, c)
	default:
		v.start(cell, c)
	}
	return nil
}

// admit decides what becomes of a call. A cell means: run it now, the cell is yours. Whether the lease holds is looked at when
// it runs.
func (v *volatile) admit(c *call) (*volatileCell, *shard.Error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.mu.reign
	switch {
	case r == nil && v.mu.given != nil:
		return nil, v.moving()
	case r == nil:
		return nil, v.over()
	case c.epoch != r.epoch:
		return nil, &shard.Error{Code: shard.CodeUnavailable, Shard: v.id, Epoch: r.epoch}
	}
	if r.leaving.Paused {
		r.leaving.held.push(c)
		return nil, nil
	}
	if c.env.Request.Session != 0 {
		if done, fault := v.met(r, c); done || fault != nil {
			return nil, fault
		}
	}
	cell := r.cells[c.env.Entity]
	switch {
	case cell == nil && len(r.cells) >= v.region.limits.VolatileCells:
		r.requests.drop(c.env.Request)
		return nil, shard.Errorf(shard.CodeOverloaded, "shard %s has %d entities, more than VolatileCells allows", v.id, len(r.cells))
	case cell == nil:
		cell = &volatileCell{reign: r, cell: v.def.NewCell(c.env.Entity)}
		r.cells[c.env.Entity] = cell
	case cell.busy && cell.mailbox.len() >= v.region.limits.Mailbox && !c.oneWay:
		r.requests.drop(c.env.Request)
		return nil, shard.Errorf(shard.CodeOverloaded, "entity %s has %d commands waiting, more than Mailbox allows", c.env.Entity, cell.mailbox.len())
	case cell.busy:
		cell.mailbox.push(c)
		return nil, nil
	}
	cell.busy = true
	r.busy++
	return cell, nil
}

// met recognises a duplicate: done means that it was answered or waits for its first attempt's answer.
func (v *volatile) met(r *reign, c *call) (done bool, fault *shard.Error) {
	id := c.env.Request
	w, fault := r.requests.admitted(v.region.view.Load(), v.id, id.Session)
	if fault != nil {
		return false, fault
	}
	if id.Number >= w.floor {
		w.raise(min(c.env.Floor, id.Number))
	}
	q := w.find(id.Number)
	switch {
	case id.Number < w.floor:
		return false, shard.Unknownf(shard.CodeRequestTooOld, "request %d of session %d: its sender no longer awaits numbers below %d", id.Number, id.Session, w.floor)
	case q == nil && w.open.len() >= maxOpen:
		return false, shard.Errorf(shard.CodeOverloaded, "session %d has %d open requests in shard %s", id.Session, w.open.len(), v.id)
	case q == nil:
		w.put(request{number: id.Number, call: c})
		return false, nil
	case q.call != nil && q.call.env.Digest() == c.env.Digest():
		q.call.join(c)
		return true, nil
	case !v.leased():
		return false, v.over()
	case q.kept != nil && q.kept.digest == c.env.Digest() && q.kept.lost:
		return false, shard.Unknownf(shard.CodeRequestTooOld, "request %d was answered, its reply is not kept", id.Number)
	case q.kept != nil && q.kept.digest == c.env.Digest():
		v.leave(c, q.kept.reply, q.kept.fault)
		return true, nil
	}
	return false, reused(c)
}

// finish answers a call that was admitted, and keeps the answer for a duplicate.
func (v *volatile) finish(r *reign, c *call, reply []byte, fault *shard.Error) {
	if c.env.Request.Session == 0 {
		v.leave(c, reply, fault)
		return
	}
	v.mu.Lock()
	if w := r.requests.sessions[c.env.Request.Session]; w != nil && c.env.Request.Number >= w.floor {
		k := &kept{digest: c.digest(), reply: reply, fault: fault, lost: len(reply) > maxKeptReply}
		if k.lost {
			k.reply = nil
		}
		w.put(request{number: c.env.Request.Number, kept: k})
	}
	v.mu.Unlock()
	v.leave(c, reply, fault)
}

// unremembered refuses a call as if it had never come, so that a retry may run.
func (v *volatile) unremembered(r *reign, c *call, fault *shard.Error) {
	v.mu.Lock()
	r.requests.drop(c.env.Request)
	v.mu.Unlock()
	v.leave(c, nil, fault)
}

func (v *volatile) leave(c *call, reply []byte, fault *shard.Error) {
	v.load.leave(c)
	c.reply(reply, fault)
}

// tick ends a reign whose lease has run out, begins one whose lease is back, and repeats the report.
func (v *volatile) tick(again bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.mu.reign != nil && !v.leased() {
		v.log.Warn("the lease has run out, the shard's entities are dropped", "epoch", v.mu.reign.epoch)
		v.abdicate(v.over())
	}
	v.reign()
	v.handOver()
	v.recant()
	if v.mu.reign != nil {
		v.mu.reign.requests.forget(v.region.view.Load(), v.region.now())
	}
	if again && v.mu.report != nil {
		v.region.cfg.Directory.Report(*v.mu.report)
	}
}

func (v *volatile) stop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mu.stopped = true
	if v.mu.reign != nil {
		v.abdicate(v.over())
	}
}

func (v *volatile) status() (Hosted, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.mu.reign != nil:
		return Hosted{Shard: v.id, Role: "owner", Epoch: v.mu.reign.epoch, Entities: len(v.mu.reign.cells)}, true
	case v.mu.placement != nil:
		return Hosted{Shard: v.id, Role: "owner", Epoch: v.mu.placement.Epoch, Waiting: "a lease"}, true
	}
	return Hosted{}, false
}
