package region

import (
	"fmt"

	"muster/replication"
	"muster/shard"
)

// outgoing is what a batch of steps has decided and flush carries out, and whom to answer. Owned by the host.
type outgoing struct {
	effects replication.Effects
	spare   replication.Effects // memory for the next ones
	round   uint64              // the newest verified one
	seals   []sealing
	sources []source
}

// A source is the stream that appends of an epoch come by, which their answers go back on.
type source struct {
	epoch shard.Epoch
	from  *ackStream
}

// upstream notes where an append came from. Acks are cumulative, so only the newest stream of an epoch matters.
func (o *outgoing) upstream(epoch shard.Epoch, from *ackStream) {
	for i := range o.sources {
		if o.sources[i].epoch == epoch {
			o.sources[i].from = from
			return
		}
	}
	o.sources = append(o.sources, source{epoch, from})
}

func (o *outgoing) source(e shard.Epoch) *ackStream {
	for _, s := range o.sources {
		if s.epoch == e {
			return s.from
		}
	}
	return nil
}

// forget keeps the newest epoch's source alone: a write of it may still be under way.
func (o *outgoing) forget() {
	if len(o.sources) < 2 {
		return
	}
	newest := o.sources[0]
	for _, s := range o.sources[1:] {
		if s.epoch > newest.epoch {
			newest = s
		}
	}
	o.sources = append(o.sources[:0], newest)
}

// flush carries out the merged effects in the order of their fields.
func (h *host) flush() {
	e := h.out.effects
	h.out.effects, h.out.spare = h.out.spare, replication.Effects{}
	if e.Write != nil {
		h.write(e.Write)
	}
	if h.term != nil {
		h.term.proposal.written()
	}
	h.storage.confirm(e.Confirmed)
	var s span
	for i := range e.Appends {
		if err := h.replicate(&e.Appends[i], &s); err != nil && !h.rotten(err) {
			h.log.Warn("cannot send records", "to", e.Appends[i].To, "error", err)
		}
	}
	for _, m := range e.Installs {
		h.fill(m)
	}
	for _, a := range e.Acks {
		if from := h.out.source(a.Epoch); from != nil {
			from.queue.put(answerback{ack: a})
		}
	}
	for _, n := range e.Nacks {
		if from := h.out.source(n.Epoch); from != nil {
			from.queue.put(answerback{nack: packed(nackMessage(n))})
		}
	}
	for _, s := range e.Sealed {
		h.sealed(s)
	}
	h.out.round = max(h.out.round, e.Round)
	h.out.forget()
	e.Reset()
	h.out.spare = e
}

// write notes the records and hands them to the journal.
func (h *host) write(w *replication.Write) {
	h.storage.note(w, h.term != nil)
	ticket, in := w.Ticket, h.inbox
	h.region.cfg.Journal.Write(h.copy, w, func(err error) {
		in.put(func(b *batch) { b.durable = append(b.durable, durable{ticket, err}) })
	})
}

// sealed answers everyone who asked for that epoch.
func (h *host) sealed(s shard.Sealed) {
	waiting := h.out.seals[:0]
	for _, q := range h.out.seals {
		if q.epoch == s.Epoch {
			q.done(s)
		} else {
			waiting = append(waiting, q)
		}
	}
	clear(h.out.seals[len(waiting):])
	h.out.seals = waiting
}

// A span is a run of encoded records that was sent to one peer and may be what the next one needs.
type span struct {
	first, last shard.LSN
	epoch       shard.Epoch // of the last record
	b           []byte
}

// replicate sends an append with its records, in as many messages as they need.
func (h *host) replicate(o *replication.Outgoing, s *span) error {
	to, ok := h.term.peer(o.To)
	if !ok {
		return fmt.Errorf("copy %d is not in this term's set", o.To)
	}
	lane := h.region.peers.of(to)
	if lane == nil {
		return nil // the map does not know its node's address: the protocol asks again
	}
	m := appendMessage{Append: o.Append}
	for prev := o.Prev; ; {
		if prev.LSN < o.Through {
			if err := h.read(s, prev.LSN+1, o.Through); err != nil {
				return err
			}
			m.records = s.b
			prev = shard.Position{Epoch: s.epoch, LSN: s.last}
		}
		lane.replicate(m)
		if prev.LSN >= o.Through {
			return nil
		}
		m.Prev, m.records = prev, nil
	}
}

// read fills s with records from first on, at most up to last and the size of a frame, unless it holds them already.
func (h *host) read(s *span, first, last shard.LSN) error {
	if s.first == first && s.last <= last && s.last > 0 {
		return nil
	}
	if kept, ok := h.storage.tail.span(first, last, maxFrame); ok {
		*s = kept
		return nil
	}
	*s = span{first: first}
	records, err := h.region.cfg.Journal.Read(h.copy, first, min(last, max(h.storage.durable, first)), maxFrame)
	if err != nil {
		return err
	}
	for i := range records {
		s.b = records[i].Append(s.b)
	}
	end := records[len(records)-1].Position
	s.last, s.epoch = end.LSN, end.Epoch
	return nil
}

// peer returns the node that a copy of this term is on.
func (t *term) peer(id shard.CopyID) (shard.NodeID, bool) {
	if t == nil {
		return "", false
	}
	node, ok := t.peers[id]
	return node, ok
}
