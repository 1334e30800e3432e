package region

import (
	"context"

	"google.golang.org/grpc"

	"muster/replication"
	"muster/shard"
	"muster/transport/wire"
)

// appended hands an append to the copy it is for.
func (r *Region) appended(m *wire.Append, from *ackStream) {
	a, err := appendOf(m)
	if err != nil {
		r.log.Warn("append with damaged records", "shard", a.Shard, "error", err)
		return // the primary sends it again
	}
	h := r.copies.host(a.To)
	if h == nil || h.id != a.Shard {
		from.queue.put(answerback{nack: &wire.Nack{
			Type: m.Type, Shard: m.Shard, Copy: m.To, Epoch: m.Epoch, Why: uint32(replication.WrongCopy),
		}})
		return
	}
	if m.Part != nil {
		p := partOf(&a, m.Part, from)
		h.inbox.put(func(b *batch) { b.steps = append(b.steps, p) })
		return
	}
	h.inbox.put(func(b *batch) { b.appends = append(b.appends, arrived{a, from}) })
}

// hear takes what a peer's copies answer, until the stream breaks.
func (r *Region) hear(s grpc.ClientStream) error {
	for {
		f := new(wire.AckFrame)
		if err := s.RecvMsg(f); err != nil {
			return err
		}
		r.acked(f)
	}
}

// acked hands the answers of a peer's copies to the primaries here.
func (r *Region) acked(f *wire.AckFrame) {
	for _, m := range f.Acks {
		a := ackOf(m)
		h, ok := r.owner(a.Shard).(*host)
		switch {
		case !ok:
		case m.Staged != nil:
			h.inbox.put(func(b *batch) { b.steps = append(b.steps, stagedOf(&a, m.Staged)) })
		default:
			h.inbox.put(func(b *batch) { b.acks = append(b.acks, a) })
		}
	}
	for _, m := range f.Nacks {
		n := nackOf(m)
		if h, ok := r.owner(n.Shard).(*host); ok {
			h.log.Debug("append refused", "by", n.Copy, "why", n.Why, "promised", n.Promised, "last", n.Last)
			h.inbox.put(func(b *batch) { b.nacks = append(b.nacks, n) })
		}
	}
}

// Seal makes copies promise an epoch. It returns one verdict for each item that was answered before ctx ended; a copy
// that this node does not hold, or cannot trust, is a Fault at once.
func (r *Region) Seal(ctx context.Context, items []shard.SealItem) []shard.Sealed {
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
