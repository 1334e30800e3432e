package region

import (
	"bytes"
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"muster/replication"
	"muster/shard"
	"muster/transport/wire"
)

// appended hands an append to the copy it is for. Its records stand in the frame.
func (r *Region) appended(m *appendMessage, frame mem.Buffer, from *ackStream) {
	a := &m.Append
	h := r.copies.host(a.To)
	switch {
	case h == nil || h.id != a.Shard:
		from.queue.put(answerback{nack: packed(nackMessage(replication.Nack{
			Shard: a.Shard, Copy: a.To, Epoch: a.Epoch, Why: replication.WrongCopy,
		}))})
	case m.part == nil:
		frame.Ref()
		h.inbox.append(arrived{m: *a, records: m.records, frame: frame, from: from})
	default:
		r.part(h, m, from)
	}
}

// part hands a part of a shard snapshot to the copy that is filled. One that is damaged is dropped: the primary sends it again.
func (r *Region) part(h *host, m *appendMessage, from *ackStream) {
	var described wire.Part
	if err := proto.Unmarshal(m.part, &described); err != nil {
		r.log.Warn("part of a snapshot without a description", "shard", m.Shard, "error", err)
		return
	}
	a := m.Append
	var err error
	if a.Records, err = replication.DecodeRecords(nil, bytes.Clone(m.records)); err != nil {
		r.log.Warn("part of a snapshot with damaged records", "shard", m.Shard, "error", err)
		return
	}
	p := partOf(&a, &described, from)
	h.inbox.put(func(b *batch) { b.steps = append(b.steps, p) })
}

// hear takes what a peer's copies answer, until the stream breaks.
func (r *Region) hear(s grpc.ClientStream, from *peer) error {
	var f incomingAcks
	for {
		if err := s.RecvMsg(&f); err != nil {
			return err
		}
		from.heard()
		for i := range f.answers {
			if err := r.acked(&f.answers[i]); err != nil {
				return err
			}
		}
	}
}

// acked hands the answer of a peer's copy to the primary here.
func (r *Region) acked(m *answerback) error {
	switch {
	case m.nack != nil:
		var why wire.Nack
		if err := proto.Unmarshal(m.nack, &why); err != nil {
			return err
		}
		n := nackOf(&why)
		if h, ok := r.owner(n.Shard).(*host); ok {
			h.log.Debug("append refused", "by", n.Copy, "why", n.Why, "promised", n.Promised, "last", n.Last)
			h.inbox.put(func(b *batch) { b.nacks = append(b.nacks, n) })
		}
	case m.staged != nil:
		var of wire.Staged
		if err := proto.Unmarshal(m.staged, &of); err != nil {
			return err
		}
		if h, ok := r.owner(m.ack.Shard).(*host); ok {
			s := stagedOf(&m.ack, &of)
			h.inbox.put(func(b *batch) { b.steps = append(b.steps, s) })
		}
	default:
		if h, ok := r.owner(m.ack.Shard).(*host); ok {
			h.inbox.ack(m.ack)
		}
	}
	return nil
}

// Seal makes copies promise an epoch. It returns one verdict for each item that was answered before ctx ended; a copy
// that this node does not hold, or cannot trust, is a Fault at once. It waits until this process is registered.
func (r *Region) Seal(ctx context.Context, items []shard.SealItem) []shard.Sealed {
	if r.admitted(ctx) != nil {
		return nil
	}
	answers := make(chan shard.Sealed, len(items))
	sealed := make([]shard.Sealed, 0, len(items))
	for _, i := range items {
		h := r.copies.host(i.Copy)
		if h == nil || h.id != i.Shard || !h.inbox.put(func(b *batch) {
			b.seals = append(b.seals, sealing{i.Epoch, func(s shard.Sealed) { answers <- s }})
		}) {
			answers <- shard.Sealed{
				Shard: i.Shard, Copy: i.Copy, Epoch: i.Epoch,
				Fault: shard.Errorf(shard.CodeConflict, "node %s does not hold copy %d of %s", r.cfg.Node, i.Copy, i.Shard),
			}
		}
	}
	for range items {
		select {
		case s := <-answers:
			sealed = append(sealed, s)
		case <-ctx.Done():
			return sealed
		}
	}
	return sealed
}
