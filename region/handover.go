package region

import (
	"time"

	"muster/shard"
)

const (
	handOverPatience = time.Second     // the longest pause; then the shard goes on where it is
	handOverAgain    = 2 * time.Second // after a pause that led to nothing
	handOverTaken    = 2 * time.Second // after stepping down, for the map to show it; then any copy may take over
	handOverGap      = 512             // records the target may lack when the pause begins, none of them older than a tick
)

// handing is the way of a primary to hand its shard over, as the placement wishes: pause, let what runs end, see everything
// confirmed and held by the target, step down. Until then it can turn back.
//
// Calls that arrive in the pause are held. Their number and bytes are bounded like those of all calls under way; when the
// target leads they go back to their origins, in order, which send them on as soon as their map shows it.
type handing struct {
	paused bool
	to     shard.CopyID
	began  time.Duration
	again  time.Duration // not before, on the region's clock
	held   queue[*call]
	wished shard.CopyID // what the two below were noted for
	latest shard.LSN    // where the log ended at the newest tick
	older  shard.LSN    // and at the one before, 0 before there were two
}

// given is an epoch whose lead this process gave up for good, in favour of a copy that held everything.
type given struct {
	epoch shard.Epoch
	to    shard.CopyID
	node  shard.NodeID // of a volatile shard, instead of to
	began time.Duration
	since time.Duration
	taken bool // the map shows a later epoch
}

// restless reports whether time matters to the host beyond what the protocol does with it.
func (h *host) restless() bool {
	if h.term == nil {
		return h.given != nil && !h.given.taken
	}
	return h.term.wants || h.term.placement.Wished()
}

// hold keeps a call back while the shard is paused.
func (h *host) hold(c *call) bool {
	if h.term == nil || !h.term.handing.paused {
		return false
	}
	h.term.handing.held.push(c)
	return true
}

// handOver takes the next step towards the wish of the placement, if there is one, and reports whether there are effects.
func (h *host) handOver(now time.Duration) bool {
	t := h.term
	if t == nil || !t.serving {
		return false
	}
	w := &t.handing
	switch {
	case !w.paused && !h.ripe(now):
		return false
	case !w.paused:
		w.paused, w.to, w.began = true, t.placement.HandTo, now
	case w.to != t.placement.HandTo:
		h.resume(now)
		return true
	}
	if h.drained() && h.stepDown(now) {
		return true
	}
	if now < w.began+handOverPatience {
		return false
	}
	h.region.copies.pauses.stalled.Add(1)
	h.log.Warn("the shard could not be handed over in time, it goes on", "epoch", t.epoch, "to", w.to, "waited for", h.awaited())
	h.region.cfg.Directory.Report(shard.Report{
		Kind: shard.ReportStalledHandoff, Shard: h.id, Copy: w.to, Epoch: t.epoch, Version: t.placement.Version,
	})
	h.resume(now)
	return true
}

// tick notes where the log ends, so that ripe can tell how old the records are that the target lacks.
func (w *handing) tick(last shard.LSN) { w.older, w.latest = w.latest, last }

// ripe reports whether a pause would be short as far as the copies go: nothing is pending about C, and the target holds
// everything that was in the log a tick ago, for the pause lasts as long as its answers take. Records alone do not tell: a
// few are much to a node that has just come back and catches up with all its shards. How long the handlers take cannot be
// known.
func (h *host) ripe(now time.Duration) bool {
	t := h.term
	if w := &t.handing; w.wished != t.placement.HandTo {
		w.wished, w.latest, w.older = t.placement.HandTo, 0, 0
	}
	if t.placement.HandTo == 0 || now < t.handing.again {
		return false
	}
	s := h.protocol.Status()
	if s.Change != nil {
		return false
	}
	for _, p := range s.Peers {
		if p.Copy == t.placement.HandTo {
			prompt := t.handing.older > 0 && p.Matched >= t.handing.older
			return !p.Learner && prompt && p.Matched+handOverGap >= s.Last.LSN
		}
	}
	return false
}

// drained reports whether no handler runs and every output has left.
func (h *host) drained() bool {
	if h.outputs.len() > 0 || len(h.term.proposal.records) > 0 || h.storage.confirmed < h.storage.last {
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
func (h *host) stepDown(now time.Duration) bool {
	w := &h.term.handing
	effects, ok := h.protocol.StepDown(w.to)
	if !ok {
		return false
	}
	h.log.Info("hands over", "epoch", h.term.epoch, "to", w.to, "paused", now-w.began, "held", w.held.len())
	h.given = &given{epoch: h.term.epoch, to: w.to, began: w.began, since: now}
	version := h.term.placement.Version
	h.do(effects)
	h.tell(shard.Report{Kind: shard.ReportHandoff, Copy: h.given.to, Epoch: h.given.epoch, Version: version})
	return true
}

// resume ends a pause that came to nothing. Calls go on in their order.
func (h *host) resume(now time.Duration) {
	held := h.term.handing.held.take()
	h.term.handing = handing{again: now + handOverAgain}
	for _, r := range h.cells.residents {
		h.start(r)
	}
	for _, c := range held {
		h.arrive(c)
	}
}

// succeeded looks at what the map makes of a lead that was given up. A version that moved on has refused the report, so it
// is made anew; once another primary serves, the pause is over and its length is known.
func (h *host) succeeded(p *shard.Placement) {
	g := h.given
	switch {
	case g == nil || p.Epoch < g.epoch:
	case p.Epoch == g.epoch:
		h.tell(shard.Report{Kind: shard.ReportHandoff, Copy: g.to, Epoch: g.epoch, Version: p.Version})
	case p.Status == shard.Active:
		h.region.copies.pauses.add(h.region.now() - g.began)
		h.given = nil
	default:
		g.taken = true
	}
}

// recant asks for a recovery when the map does not show the next primary: somebody has to lead, and it cannot be this
// process.
func (h *host) recant(now time.Duration) {
	if g := h.given; g != nil && !g.taken && now >= g.since+handOverTaken {
		h.tell(shard.Report{Kind: shard.ReportRecover, Epoch: g.epoch})
	}
}
