package region

import (
	"time"

	"muster/replication"
	"muster/shard"
)

// A transfer is the way of the shard snapshot to one peer, whose log ends below the start of the primary's: what is apart
// from the log, in parts, in the order of keys, a few of them ahead of their answers. Owned by the host.
//
// While one gets on the log's start stays where it is.
type transfer struct {
	of     replication.Install
	sent   replication.Key
	taken  replication.Key // durable there, up to this key
	flying int             // parts that are not answered
	whole  bool            // the last part was sent
	moved  time.Duration   // when the peer last answered, on the region's clock
}

// staged is a peer's answer to a part: what of the snapshot it holds by now.
type staged struct {
	copy  shard.CopyID
	epoch shard.Epoch
	base  shard.LSN
	last  replication.Key
	gap   bool // the part did not follow
}

// fill begins to send the shard snapshot to a peer. When it is told again the peer was silent: what is not answered is sent
// anew.
func (h *host) fill(m replication.Install) {
	if h.term == nil {
		return
	}
	x := h.term.transfers[m.To]
	if x == nil || x.of.Base != m.Base {
		h.log.Info("a copy lacks what is not in the log any more, it is sent the snapshot", "to", m.To, "base", m.Base)
		x = &transfer{moved: h.region.now()}
		h.term.transfers[m.To] = x
	}
	x.of, x.sent, x.flying, x.whole = m, x.taken, 0, false
	h.pump(x)
}

// pump sends the next parts.
func (h *host) pump(x *transfer) {
	to, ok := h.term.peer(x.of.To)
	if !ok {
		return
	}
	lane := h.region.peers.of(to)
	for lane != nil && x.flying < partsInFlight && !x.whole {
		records, more, err := h.storage.journal.Apart(h.copy, x.sent, partBytes)
		if err != nil {
			if !h.rotten(err) {
				h.log.Warn("cannot send the snapshot", "to", x.of.To, "error", err)
			}
			return
		}
		lane.replicate(partWith(x, records, !more))
		if len(records) > 0 {
			x.sent = records[len(records)-1].Key()
		}
		x.flying, x.whole = x.flying+1, !more
	}
}

func partWith(x *transfer, records []replication.Record, last bool) appendMessage {
	m := partMessage(&x.of, x.sent, last)
	for i := range records {
		m.records = records[i].Append(m.records)
	}
	return m
}

// finish takes a peer's answer to a part. A peer that holds more than it was sent, from before a stream or a process ended,
// goes on from there; one that lacks something gets it again.
func (s *staged) finish(h *host, now time.Duration) {
	if h.term == nil {
		return
	}
	x := h.term.transfers[s.copy]
	if x == nil || x.of.Base.LSN != s.base || !h.protocol.Filling(s.copy, h.id, s.epoch) {
		return
	}
	x.moved = now
	x.flying = max(0, x.flying-1)
	x.taken = s.last
	if ahead := s.last.Compare(x.sent); ahead > 0 || ahead < 0 && s.gap {
		x.sent, x.flying, x.whole = s.last, 0, false
	}
	h.pump(x)
}

// filling reports whether a peer is getting on with a snapshot, and forgets the transfers that are over.
func (h *host) filling(now time.Duration) bool {
	if h.term == nil || len(h.term.transfers) == 0 {
		return false
	}
	under := false
	for _, p := range h.protocol.Status().Peers {
		x := h.term.transfers[p.Copy]
		switch {
		case x == nil:
		case !p.Filling || now > x.moved+fillPatience:
			delete(h.term.transfers, p.Copy)
		default:
			under = true
		}
	}
	return under
}
