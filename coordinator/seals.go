package coordinator

import (
	"context"
	"sync"
	"time"

	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

const (
	sealTimeout  = 2 * time.Second // for one node's answer; its copies write their promises first
	sealsPerNode = 4               // calls to one node at a time; the driver repeats what was left out
)

// seals asks copies for their promises, node by node. A node that does not answer holds up nobody else.
type seals struct {
	v  *voter
	mu struct {
		sync.Mutex
		open map[shard.NodeID]int
	}
}

func newSeals(v *voter) *seals {
	s := &seals{v: v}
	s.mu.open = map[shard.NodeID]int{}
	return s
}

// send asks one node and calls answer, from another goroutine, with what came back.
func (s *seals) send(work *life, node shard.NodeID, items []shard.SealItem, answer func([]shard.Sealed)) {
	s.mu.Lock()
	full := s.mu.open[node] >= sealsPerNode
	if !full {
		s.mu.open[node]++
	}
	s.mu.Unlock()
	if full {
		return
	}
	begun := work.Go(func() {
		defer s.leave(node)
		ctx, cancel := context.WithTimeout(work.ctx, sealTimeout)
		defer cancel()
		sealed, err := s.ask(ctx, node, items)
		if err != nil {
			s.v.c.log.Debug("no answer to a seal", "node", node, "shards", len(items), "error", err)
			return
		}
		answer(sealed)
	})
	if !begun {
		s.leave(node)
	}
}

func (s *seals) leave(node shard.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.open[node]--; s.mu.open[node] == 0 {
		delete(s.mu.open, node)
	}
}

func (s *seals) ask(ctx context.Context, node shard.NodeID, items []shard.SealItem) ([]shard.Sealed, error) {
	c := s.v.c
	if node == c.cfg.Node {
		return c.cfg.Seal(ctx, items), nil
	}
	m, known := s.v.machine.state().View.Members[node]
	if !known {
		return nil, shard.Invalid("no member %s", node)
	}
	req := &wire.SealRequest{Items: make([]*wire.SealItem, len(items))}
	for i, item := range items {
		req.Items[i] = &wire.SealItem{
			Type: string(item.Shard.Type), Shard: uint32(item.Shard.Number), Copy: uint64(item.Copy), Epoch: uint64(item.Epoch),
		}
	}
	reply, err := wire.NewPeerClient(c.cfg.Port.Peer(m.Addr)).Seal(ctx, req)
	if err != nil {
		return nil, transport.Typed(err)
	}
	sealed := make([]shard.Sealed, len(reply.Sealed))
	for i, w := range reply.Sealed {
		sealed[i] = sealedOf(w)
	}
	return sealed, nil
}

func sealedOf(w *wire.Sealed) shard.Sealed {
	s := shard.Sealed{
		Shard: shard.ID{Type: shard.TypeName(w.Type), Number: shard.Number(w.Shard)},
		Copy:  shard.CopyID(w.Copy), Epoch: shard.Epoch(w.Epoch),
		Last:      shard.Position{Epoch: shard.Epoch(w.LastEpoch), LSN: shard.LSN(w.LastLsn)},
		Confirmed: shard.LSN(w.Confirmed), Led: w.Led, Fault: transport.ErrorOf(w.Fault),
	}
	for _, h := range w.History {
		s.History = append(s.History, shard.EpochStart{Epoch: shard.Epoch(h.Epoch), First: shard.LSN(h.First)})
	}
	return s
}
