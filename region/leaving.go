package region

import (
	"time"

	"muster/replication"
	"muster/shard"
)

// leaving is a reign's way to another node, and the calls that arrive in the pause. The lock of the shard guards it.
type leaving struct {
	replication.Leaving
	held queue[*call]
}

// handOver takes the next step towards the wish of the placement, if there is one. The caller holds the lock.
func (v *volatile) handOver() {
	r, p, now := v.mu.reign, v.mu.placement, v.region.now()
	if r == nil || p == nil {
		return
	}
	l := &r.leaving
	switch l.Next(now, p, r.busy) {
	case replication.HandDown:
		v.stepDown(r, p, now)
	case replication.HandResume:
		v.resume(r, now)
	case replication.HandStalled:
		v.region.copies.pauses.stalled.Add(1)
		v.log.Warn("the shard could not be handed over in time, it goes on", "epoch", r.epoch, "to", l.To, "running", r.busy)
		v.region.cfg.Directory.Report(shard.Report{Kind: shard.ReportStalledHandoff, Shard: v.id, Epoch: p.Epoch, Version: p.Version})
		v.resume(r, now)
	}
}

// stepDown ends the reign for good: this process does not own the shard in this epoch again. The caller holds the lock.
func (v *volatile) stepDown(r *reign, p *shard.Placement, now time.Duration) {
	v.log.Info("hands over", "epoch", r.epoch, "to", r.leaving.To, "paused", now-r.leaving.Began, "held", r.leaving.held.len())
	v.mu.given = &replication.Given{Epoch: r.epoch, Node: r.leaving.To, Began: r.leaving.Began, Since: now}
	v.abdicate(v.moving())
	v.tell(v.handedOver(p))
}

// resume ends a pause that came to nothing. What waits in mailboxes came first. The caller holds the lock.
func (v *volatile) resume(r *reign, now time.Duration) {
	held := r.leaving.held.take()
	r.leaving.Resume(now)
	for _, cell := range r.cells {
		if !cell.busy && cell.mailbox.len() > 0 {
			cell.busy = true
			r.busy++
			v.start(cell, cell.mailbox.pop())
		}
	}
	if len(held) > 0 {
		v.region.workers.start(&redelivery{v, held})
	}
}

// A redelivery takes calls that were held and delivers them after all, in their order.
type redelivery struct {
	v     *volatile
	calls []*call
}

func (t *redelivery) work() {
	for _, c := range t.calls {
		t.v.load.leave(c)
		c.inline = false
		if fault := t.v.deliver(c); fault != nil {
			c.reply(nil, fault)
		}
	}
}

// moving is what callers hear once the shard was given away: the map will name the next owner.
func (v *volatile) moving() *shard.Error {
	return &shard.Error{
		Code: shard.CodeUnavailable, Shard: v.id, Epoch: v.mu.given.Epoch + 1, Detail: "the shard goes to node " + string(v.mu.given.Node),
	}
}

// handedOver is the report of a reign that was given away, made against the newest version of the placement.
func (v *volatile) handedOver(p *shard.Placement) shard.Report {
	return shard.Report{
		Kind: shard.ReportHandoff, Shard: v.id, Epoch: v.mu.given.Epoch, Version: p.Version, Detail: string(v.mu.given.Node),
	}
}

// tell reports to the coordinator, again and again until follow sees another placement. The caller holds the lock.
func (v *volatile) tell(r shard.Report) {
	v.mu.report = &r
	v.region.cfg.Directory.Report(r)
}

// succeeded looks at what the map makes of a reign that was given away. The caller holds the lock.
func (v *volatile) succeeded(p *shard.Placement) {
	g := v.mu.given
	if g == nil {
		return
	}
	switch g.Shown(p, 0) {
	case replication.GivenAgain:
		v.tell(v.handedOver(p))
	case replication.GivenOver:
		v.region.copies.pauses.add(v.region.now() - g.Began)
		v.mu.given = nil
	}
}

// recant asks for a recovery when the map does not show the next owner. The caller holds the lock.
func (v *volatile) recant() {
	g, p := v.mu.given, v.mu.placement
	if g == nil || p == nil || !g.Recants(v.region.now()) {
		return
	}
	if r := v.mu.report; r == nil || r.Kind != shard.ReportRecover {
		v.tell(shard.Report{Kind: shard.ReportRecover, Shard: v.id, Epoch: g.Epoch, Version: p.Version})
	}
}
