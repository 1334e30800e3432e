package region

import (
	"muster/replication"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// What crosses between nodes, in its wire form and back. Nothing is checked here beyond what decoding needs: the protocol
// and the hosts judge what arrives.

func shardOf(t string, number uint32) shard.ID {
	return shard.ID{Type: shard.TypeName(t), Number: shard.Number(number)}
}

func keyMessage(k replication.Key) *wire.ApartKey {
	return &wire.ApartKey{Kind: uint32(k.Kind), Entity: string(k.Entity), Session: uint64(k.Session)}
}

func keyOf(m *wire.ApartKey) replication.Key {
	return replication.Key{
		Kind: replication.Kind(m.GetKind()), Entity: shard.EntityID(m.GetEntity()), Session: shard.SessionID(m.GetSession()),
	}
}

// partMessage is a part of a shard snapshot: an append whose records stand for those up to Prev.
func partMessage(m *replication.Install, after replication.Key, last bool) appendMessage {
	return appendMessage{
		Append: replication.Append{Shard: m.Shard, Epoch: m.Epoch, From: m.From, To: m.To, Prev: m.Base},
		part:   packed(&wire.Part{After: keyMessage(after), Last: last}),
	}
}

func partOf(a *replication.Append, m *wire.Part, from *ackStream) *part {
	return &part{
		of:    replication.Install{Shard: a.Shard, Epoch: a.Epoch, From: a.From, To: a.To, Base: a.Prev},
		after: keyOf(m.After), last: m.Last, records: a.Records, from: from,
	}
}

func stagedMessage(m *replication.Install, last replication.Key, gap bool) answerback {
	return answerback{
		ack:    replication.Ack{Shard: m.Shard, Copy: m.To, Epoch: m.Epoch, LSN: m.Base.LSN},
		staged: packed(&wire.Staged{Last: keyMessage(last), Gap: gap}),
	}
}

func stagedOf(a *replication.Ack, m *wire.Staged) *staged {
	return &staged{copy: a.Copy, epoch: a.Epoch, base: a.LSN, last: keyOf(m.Last), gap: m.Gap}
}

func nackMessage(n replication.Nack) *wire.Nack {
	return &wire.Nack{
		Type: string(n.Shard.Type), Shard: uint32(n.Shard.Number), Copy: uint64(n.Copy), Epoch: uint64(n.Epoch),
		Why: uint32(n.Why), Promised: uint64(n.Promised),
		LastEpoch: uint64(n.Last.Epoch), LastLsn: uint64(n.Last.LSN), History: historyMessage(n.History),
	}
}

func nackOf(m *wire.Nack) replication.Nack {
	return replication.Nack{
		Shard: shardOf(m.Type, m.Shard), Copy: shard.CopyID(m.Copy), Epoch: shard.Epoch(m.Epoch),
		Why: replication.Why(m.Why), Promised: shard.Epoch(m.Promised),
		Last: shard.Position{Epoch: shard.Epoch(m.LastEpoch), LSN: shard.LSN(m.LastLsn)}, History: historyOf(m.History),
	}
}

func historyMessage(h shard.History) []*wire.EpochStart {
	out := make([]*wire.EpochStart, len(h))
	for i, e := range h {
		out[i] = &wire.EpochStart{Epoch: uint64(e.Epoch), First: uint64(e.First)}
	}
	return out
}

func historyOf(m []*wire.EpochStart) shard.History {
	h := make(shard.History, len(m))
	for i, e := range m {
		h[i] = shard.EpochStart{Epoch: shard.Epoch(e.Epoch), First: shard.LSN(e.First)}
	}
	return h
}

func sealedMessage(s *shard.Sealed) *wire.Sealed {
	m := &wire.Sealed{
		Type: string(s.Shard.Type), Shard: uint32(s.Shard.Number), Copy: uint64(s.Copy), Epoch: uint64(s.Epoch),
		LastEpoch: uint64(s.Last.Epoch), LastLsn: uint64(s.Last.LSN), History: historyMessage(s.History),
		Confirmed: uint64(s.Confirmed), Led: s.Led,
	}
	if s.Fault != nil {
		m.Fault = transport.FaultOf(s.Fault)
	}
	return m
}
