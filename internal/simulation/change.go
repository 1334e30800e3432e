package simulation

import (
	"muster/replication"
	"muster/shard"
)

// configure tells the protocol what the map says about the epoch that this copy leads.
func (h *host) configure(pl *shard.Placement) {
	if h.term == nil || h.term.epoch != pl.Epoch {
		return
	}
	h.term.placement = pl
	h.run(h.copy.Configure(replication.LeadershipOf(pl, h.spec)))
	h.desire()
}

// desire asks for another C when one is due. None is begun while the shard is being handed over.
func (h *host) desire() {
	t := h.term
	if t == nil || !t.active {
		return
	}
	wanted := h.copy.Due(t.placement, replication.Patience(h.spec.AckTimeout))
	if whim := h.whim(); whim != nil {
		wanted = whim
	}
	switch {
	case wanted == nil && h.report != nil && h.report.Kind == shard.ReportReconfig:
		h.report = nil
	case wanted == nil || t.handing.Paused || !h.copy.Reconfigure(wanted):
	default:
		copies, err := shard.NewCopySet(wanted...)
		if err != nil {
			h.p.n.w.fail("%s on %s wants copies %v: %v", h.shard, h.p.n.id, wanted, err)
		}
		r := shard.Report{Kind: shard.ReportReconfig, Shard: h.shard, Copy: h.id, Copies: copies, Epoch: t.epoch, Version: t.placement.Version}
		if again := h.report != nil && h.report.Kind == shard.ReportReconfig; !again && h.p.n.w.proposed(h, wanted, r) {
			h.report = &r
			return
		}
		h.tell(r)
	}
}

// whim is a C that the group may accept, or one without the primary, for no reason; nil for none. The protocol refuses what is not safe.
func (h *host) whim() []shard.CopyID {
	w, p := h.p.n.w, h.term.placement
	if w.healed || w.swarm.whims == 0 || !w.chance(w.swarm.whims) || h.spec.Replicas == 0 {
		return nil
	}
	whim, same := []shard.CopyID{h.id}, true
	if w.chance(0.05) {
		whim, same = nil, false
	}
	for _, c := range p.Copies {
		switch in := c.State == shard.CopyReady && w.chance(0.6); {
		case c.ID == h.id:
		case in:
			whim = append(whim, c.ID)
		default:
			same = false
		}
	}
	for _, l := range p.Learners {
		if l.Copy.State == shard.CopyReady && w.chance(0.4) {
			whim, same = append(whim, l.Copy.ID), false
		}
	}
	if same || len(whim) == 0 || len(whim) > h.spec.Replicas+1 {
		return nil
	}
	return whim
}

// deserted asks for another primary when nobody answers this one, and reports whether that is so.
func (h *host) deserted() bool {
	t := h.term
	if t == nil || !t.active {
		return false
	}
	if !h.copy.Deserted(t.placement, replication.Patience(h.spec.AckTimeout), h.p.view.Up, h.p.silent) {
		if h.report != nil && h.report.Kind == shard.ReportRecover {
			h.report = nil
		}
		return false
	}
	if h.report == nil || h.report.Kind != shard.ReportRecover {
		h.p.n.w.counts.Deserted++
	}
	h.tell(shard.Report{Kind: shard.ReportRecover, Epoch: t.epoch})
	return true
}

// tell reports to the leader until the map shows the effect, or something else is to be told.
func (h *host) tell(r shard.Report) {
	r.Shard = h.shard
	if r.Copy == 0 {
		r.Copy = h.id
	}
	if h.report != nil && *h.report == r {
		return
	}
	h.report = &r
	h.p.report(r)
}

// handOver takes the next step towards the wish of the placement, if there is one.
func (h *host) handOver() {
	t := h.term
	if t == nil || h.serves == nil || h.retired {
		return
	}
	w := h.p.n.w
	paused := t.handing.Paused
	step, e := t.handing.Next(h.p.n.local(), t.placement.HandTo, h.copy, h.serves.drained)
	if !paused && t.handing.Paused {
		w.counts.pauses++
	}
	switch step {
	case replication.HandDown:
		w.counts.handOffs++
		w.log("%s: %s: hands epoch %d over to copy %d, %d commands held", h.p.n.id, h.shard, t.epoch, t.handing.To, len(h.serves.held))
		w.check.givesUp(h, t.handing.To)
		h.given = &replication.Given{Epoch: t.epoch, To: t.handing.To, End: h.log.end(), Began: t.handing.Began, Since: h.p.n.local()}
		w.steppedDown(h)
		h.run(e)
		h.tell(shard.Report{Kind: shard.ReportHandoff, Copy: h.given.To, Epoch: t.epoch, Version: t.placement.Version})
	case replication.HandStalled:
		w.counts.stalled++
		h.p.report(shard.Report{
			Kind: shard.ReportStalledHandoff, Shard: h.shard, Copy: t.handing.To, Epoch: t.epoch, Version: t.placement.Version,
		})
		h.resume()
	case replication.HandResume:
		h.resume()
	}
}

// resume ends a pause that came to nothing. Commands go on in their order.
func (h *host) resume() {
	h.term.handing.Resume(h.p.n.local())
	h.serves.resume()
}

// succeeded looks at what the map makes of a lead that was given up.
func (h *host) succeeded(pl *shard.Placement) {
	if h.given == nil {
		return
	}
	switch h.given.Shown(pl, h.copy.Confirmed()) {
	case replication.GivenAgain:
		h.tell(shard.Report{Kind: shard.ReportHandoff, Copy: h.given.To, Epoch: h.given.Epoch, Version: pl.Version})
	case replication.GivenOver:
		h.given = nil
	}
}

// recant asks for a recovery when the map does not show the next primary.
func (h *host) recant() {
	if h.given != nil && h.given.Recants(h.p.n.local()) {
		h.tell(shard.Report{Kind: shard.ReportRecover, Epoch: h.given.Epoch})
	}
}
