package simulation

import (
	"slices"
	"time"

	"muster/replication"
	"muster/shard"
)

// A lag is the worst that can become of a hand-over: too few copies to be written to have got everything when the primary steps down, and of
// what the next one sends them again they get the beginning; the primary before is gone, mostly with its data; and the next has not heard that all
// it begins with is confirmed. So C is to be changed to copies of which too few hold what is, before the first record of the epoch
// is on the write quorum.
type lag struct {
	shard  shard.ID
	epoch  shard.Epoch // that is handed over
	to     shard.CopyID
	behind []shard.CopyID
	limit  shard.LSN // they get nothing after it
}

// handedIn is how long a hand-over may take that is to leave copies behind.
const handedIn = 2 * time.Second

// lags begins with a placement that wishes for another primary. Until it is handed over the primary is given commands, of which those
// copies get nothing, and then follows succeeded.
func (w *world) lags(p *shard.Placement) {
	if !p.Wished() || p.Status != shard.Active || p.WriteQuorum < 2 || p.WriteQuorum >= len(p.Copies) ||
		w.healed || w.torn || w.now < warmUp || !w.chance(w.swarm.lag) {
		return
	}
	owner, leader := w.node(p.Node).process, w.raft.leader
	if owner == nil || owner.adopted() != p.Session || leader == nil || leader == owner {
		return
	}
	l := &lag{shard: p.Shard, epoch: p.Epoch, to: p.HandTo}
	for _, i := range w.dice.Perm(len(p.Copies)) {
		c := p.Copies[i]
		if c.State == shard.CopyReady && c.ID != p.Primary && c.ID != p.HandTo && len(l.behind) < len(p.Copies)-p.WriteQuorum {
			l.behind = append(l.behind, c.ID)
		}
	}
	w.log("lag: %s is to go from %s to %s, and copies %v get nothing", p.Shard, p.Node, p.HandNode, l.behind)
	w.lagging, w.torn = l, true
	w.insist(8*time.Millisecond, handedIn, func(last bool) bool {
		now := w.raft.state().View.Placement(l.shard)
		switch {
		case w.lagging != l || l.limit > 0:
			return true
		case last || w.healed || owner.n.process != owner || now.Epoch != l.epoch || now.HandTo != l.to:
			w.catchUp(l)
			return true
		}
		if h := w.hosting(p); h != nil && h.serves != nil && !h.serves.paused() {
			for range w.dice.IntN(4) {
				w.ask(p.Shard, entityNames[w.dice.IntN(3)], owner)
			}
		}
		return false
	})
}

// catchUp ends a lag.
func (w *world) catchUp(l *lag) {
	if w.lagging == l {
		w.lagging, w.torn = nil, false
	}
}

// succeeded goes on with an epoch that a hand-over has made active: the copies that lag get some of what they lack, and the primary before is gone.
func (w *world) succeeded(before, p *shard.Placement) {
	l := w.lagging
	if l == nil || l.shard != p.Shard || l.limit > 0 || p.Epoch == l.epoch {
		return
	}
	h := w.hosting(p)
	if w.healed || p.Epoch != l.epoch+1 || p.Status != shard.Active || p.Primary != l.to || h == nil {
		w.catchUp(l)
		return
	}
	least, most := h.confirmed, h.log.end()-1
	for _, id := range l.behind {
		least = max(least, w.check.copies[id].log.end())
	}
	if least == 0 || least > most {
		w.catchUp(l)
		return
	}
	l.limit = least + shard.LSN(w.dice.IntN(int(most-least+1)))
	w.counts.Lagged++
	w.log("lag: %s has heard that %d of %d are confirmed, copies %v get %d", p.Node, h.confirmed, h.log.end(), l.behind, l.limit)
	if old := w.node(before.Node); w.chance(0.8) {
		w.setAside(old, w.between(0, 300*time.Millisecond))
	} else {
		w.kill(old, w.between(0, 4*time.Second))
	}
	w.after(w.between(time.Second, 2*time.Second), func() { w.catchUp(l) })
}

// hosting returns the host of a primary, nil for none.
func (w *world) hosting(p *shard.Placement) *host {
	if p.Node == "" || w.node(p.Node).process == nil {
		return nil
	}
	return w.node(p.Node).process.host(p.Primary)
}

// trim takes off of an Append what its copy is not to get.
func (l *lag) trim(m *replication.Append) {
	if m.Shard != l.shard || !slices.Contains(l.behind, m.To) {
		return
	}
	room := max(l.limit, m.Prev.LSN) - m.Prev.LSN
	m.Records = m.Records[:min(len(m.Records), int(room))]
}
