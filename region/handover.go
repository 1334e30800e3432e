package region

import (
	"time"

	"muster/replication"
	"muster/shard"
)

// handing is a hand-over that the protocol conducts, and the calls that arrive in the pause. Their number and bytes are
// bounded like those of all calls under way; when the target leads they go back to their origins, in order, which send them
// on as soon as their map shows it. Calls that reach the target before it serves are held likewise, and go in when it does.
type handing struct {
	replication.Handing
	held queue[*call]
}

// restless reports whether time matters to the host beyond what the protocol does with it.
func (h *host) restless() bool {
	if h.storage.compaction.busy || h.storage.compaction.goal > h.storage.base {
		return true
	}
	if h.term == nil {
		return h.given != nil && !h.given.Taken
	}
	return h.term.wants || h.term.placement.Wished()
}

// hold keeps a call back while the shard is paused, or about to be served in the epoch that the call is meant for.
func (h *host) hold(c *call) bool {
	t := h.term
	if t == nil || !t.handing.Paused && (t.serving || !t.active || c.epoch != t.epoch) {
		return false
	}
	t.handing.held.push(c)
	return true
}

// handOver takes the next step towards the wish of the placement, if there is one, and reports whether there are effects.
func (h *host) handOver(now time.Duration) bool {
	t := h.term
	if t == nil || !t.serving {
		return false
	}
	step, effects := t.handing.Next(now, t.placement.HandTo, h.protocol, h.drained)
	switch step {
	case replication.HandDown:
		h.stepDown(now, effects)
	case replication.HandStalled:
		h.stalled()
		h.resume(now)
	case replication.HandResume:
		h.resume(now)
	}
	return step != replication.HandWait
}

// stalled says that the shard stays because the pause would have become too long.
func (h *host) stalled() {
	t := h.term
	h.region.copies.pauses.stalled.Add(1)
	h.log.Warn("the shard could not be handed over in time, it goes on", "epoch", t.epoch, "to", t.handing.To, "waited for", h.awaited())
	h.region.cfg.Directory.Report(shard.Report{
		Kind: shard.ReportStalledHandoff, Shard: h.id, Copy: t.handing.To, Epoch: t.epoch, Version: t.placement.Version,
	})
}

// drained reports whether no handler runs and every output has left.
func (h *host) drained() bool {
	if h.outputs.len() > 0 || h.term.proposal.pending() > 0 || h.storage.confirmed < h.storage.last {
		return false
	}
	for _, r := range h.cells.residents {
		if r.run != nil {
			return false
		}
	}
	return true
}

// stepDown gives the lead up in favour of the target. From here on this process does not lead the epoch again, whatever
// becomes of the report.
func (h *host) stepDown(now time.Duration, effects replication.Effects) {
	w := &h.term.handing
	h.log.Info("hands over", "epoch", h.term.epoch, "to", w.To, "paused", now-w.Began, "held", w.held.len())
	h.given = &replication.Given{Epoch: h.term.epoch, To: w.To, End: h.storage.last, Began: w.Began, Since: now}
	version := h.term.placement.Version
	h.pulse.given.Store(true)
	h.do(effects)
	h.tell(shard.Report{Kind: shard.ReportHandoff, Copy: h.given.To, Epoch: h.given.Epoch, Version: version})
}

// resume ends a pause that came to nothing. Calls go on in their order.
func (h *host) resume(now time.Duration) {
	held := h.term.handing.held.take()
	h.term.handing.Resume(now)
	for _, r := range h.cells.residents {
		h.start(r)
	}
	for _, c := range held {
		h.arrive(c)
	}
}

// succeeded looks at what the map makes of a lead that was given up. Once another primary serves, the pause is over and its
// length is known.
func (h *host) succeeded(p *shard.Placement) {
	g := h.given
	if g == nil {
		return
	}
	switch g.Shown(p, h.protocol.Confirmed()) {
	case replication.GivenAgain:
		h.tell(shard.Report{Kind: shard.ReportHandoff, Copy: g.To, Epoch: g.Epoch, Version: p.Version})
	case replication.GivenOver:
		paused := h.region.now() - g.Began
		h.log.Info("handed over", "epoch", g.Epoch, "to", g.To, "paused", paused)
		h.region.copies.pauses.add(paused)
		h.given = nil
		h.pulse.given.Store(false)
	}
}

// overheard looks whether the next primary, which the map shows, has begun to serve.
func (h *host) overheard() {
	if g := h.given; g == nil || !g.Taken || h.protocol.Confirmed() <= g.End {
		return
	}
	if p := h.region.view.Load().Placement(h.id); p != nil {
		h.succeeded(p)
	}
}

// recant asks for a recovery when the map does not show the next primary.
func (h *host) recant(now time.Duration) {
	if g := h.given; g != nil && g.Recants(now) {
		h.tell(shard.Report{Kind: shard.ReportRecover, Epoch: g.Epoch})
	}
}
