package simulation

import (
	"time"

	"muster/replication"
	"muster/shard"
)

// serving is who was last seen to let an output of a volatile shard leave.
type serving struct {
	epoch shard.Epoch
	node  shard.NodeID
	at    time.Duration
}

// reign is what a process knows of a volatile shard. It owns the shard while the newest placement names its session, its lease
// holds, and it has not given the epoch away.
type reign struct {
	placement *shard.Placement
	leaving   replication.Leaving
	given     *replication.Given
	report    *shard.Report
	running   int // handlers of this epoch
	held      []request
}

func (p *process) reign(id shard.ID) *reign {
	v := p.volatile[id]
	if v == nil {
		v = &reign{}
		p.volatile[id] = v
	}
	return v
}

// followVolatile acts on a placement of a volatile shard.
func (p *process) followVolatile(pl *shard.Placement) {
	v := p.reign(pl.Shard)
	if old := v.placement; old != nil && old.Epoch != pl.Epoch {
		v.dismiss(pl.Epoch)
		v.running, v.leaving = 0, replication.Leaving{}
	}
	v.placement, v.report = pl, nil
	if g := v.given; g != nil {
		switch g.Shown(pl, 0) {
		case replication.GivenAgain:
			p.tellVolatile(v, shard.Report{Kind: shard.ReportHandoff, Epoch: g.Epoch, Version: pl.Version, Detail: string(g.Node)})
		case replication.GivenOver:
			v.given = nil
		}
	}
	if p.adopted() != 0 && pl.Session == p.adopted() && pl.Status == shard.Establishing {
		p.tellVolatile(v, shard.Report{Kind: shard.ReportEstablished, Epoch: pl.Epoch, Version: pl.Version})
	}
	p.leave(v)
}

func (p *process) tellVolatile(v *reign, r shard.Report) {
	r.Shard = v.placement.Shard
	v.report = &r
	p.report(r)
}

// dismiss answers what was held: it did nothing.
func (v *reign) dismiss(epoch shard.Epoch) {
	held := v.held
	v.held = nil
	for _, r := range held {
		r.reply(answer{fault: &shard.Error{Code: shard.CodeUnavailable, Shard: r.shard, Epoch: epoch}})
	}
}

// leave takes the next step towards the wish of the placement, if there is one.
func (p *process) leave(v *reign) {
	pl := v.placement
	if pl == nil || !p.reigns(pl.Shard, pl.Epoch) {
		return
	}
	now := p.n.local()
	switch v.leaving.Next(now, pl, v.running) {
	case replication.HandDown:
		p.n.w.counts.volatileHandOffs++
		p.n.w.log("%s: %s: hands epoch %d over to %s", p.n.id, pl.Shard, pl.Epoch, v.leaving.To)
		v.given = &replication.Given{Epoch: pl.Epoch, Node: v.leaving.To, Began: v.leaving.Began, Since: now}
		v.dismiss(pl.Epoch + 1)
		p.tellVolatile(v, shard.Report{Kind: shard.ReportHandoff, Epoch: pl.Epoch, Version: pl.Version, Detail: string(v.given.Node)})
	case replication.HandStalled:
		p.report(shard.Report{Kind: shard.ReportStalledHandoff, Shard: pl.Shard, Epoch: pl.Epoch, Version: pl.Version})
		p.resumeVolatile(v)
	case replication.HandResume:
		p.resumeVolatile(v)
	}
}

func (p *process) resumeVolatile(v *reign) {
	v.leaving.Resume(p.n.local())
	held := v.held
	v.held = nil
	for _, r := range held {
		p.handleVolatile(r)
	}
}

// handleVolatile runs a request. The owner looks at its map and its lease before the handler runs and once more before the
// output leaves, and nothing else stops it.
func (p *process) handleVolatile(r request) {
	v := p.reign(r.shard)
	if !p.reigns(r.shard, r.epoch) {
		r.reply(answer{fault: &shard.Error{Code: shard.CodeUnavailable, Shard: r.shard, Epoch: r.epoch}})
		return
	}
	if v.leaving.Paused {
		v.held = append(v.held, r)
		return
	}
	v.running++
	p.after(p.n.w.between(0, 20*time.Millisecond), func() {
		if v.placement.Epoch == r.epoch {
			v.running--
		}
		if !p.reigns(r.shard, r.epoch) {
			r.reply(answer{fault: shard.Unknownf(shard.CodeUnavailable, "the reign is over")})
			return
		}
		p.n.w.check.volatileOutput(p, r.shard, r.epoch)
		r.reply(answer{})
		p.leave(v)
	})
}

// reigns reports whether this process owns the volatile shard now, in that epoch.
func (p *process) reigns(id shard.ID, epoch shard.Epoch) bool {
	pl := p.view.Placement(id)
	if pl == nil || pl.Status != shard.Active || !p.leased() || pl.Session != p.adopted() {
		return false
	}
	v := p.reign(id)
	return pl.Epoch == epoch && (v.given == nil || v.given.Epoch != epoch) && !p.stopped
}

// tickVolatile lets time pass for the volatile shards.
func (p *process) tickVolatile() {
	for _, id := range p.n.w.setup.ids {
		v := p.volatile[id]
		if v == nil {
			continue
		}
		if g := v.given; g != nil && v.placement != nil && g.Recants(p.n.local()) {
			if v.report == nil || v.report.Kind != shard.ReportRecover {
				p.tellVolatile(v, shard.Report{Kind: shard.ReportRecover, Epoch: g.Epoch, Version: v.placement.Version})
			}
		}
		p.leave(v)
	}
}

func (p *process) reportVolatile() {
	for _, id := range p.n.w.setup.ids {
		if v := p.volatile[id]; v != nil && v.report != nil {
			p.report(*v.report)
		}
	}
}
