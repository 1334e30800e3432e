package coordinator_test

import (
	"context"
	"sync"

	"muster/coordinator"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// copies stands in for a node's region: it creates the copies the map mints for its directory, promises epochs, and
// establishes what its session is elected for. It holds no records. What it has survives a restart of the node.
type copies struct {
	wire.UnimplementedPeerServer
	n  *node
	mu struct {
		sync.Mutex
		c        *coordinator.Coordinator // nil while the node is down
		promised map[shard.CopyID]shard.Epoch
		deaf     bool // it does nothing any more
	}
}

func newCopies(n *node) *copies {
	c := &copies{n: n}
	c.mu.promised = map[shard.CopyID]shard.Epoch{}
	return c
}

func (c *copies) attach(to *coordinator.Coordinator) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.c = to
}

// Seal implements the Peer service for the leader of the group.
func (c *copies) Seal(ctx context.Context, req *wire.SealRequest) (*wire.SealReply, error) {
	var items []shard.SealItem
	for _, w := range req.Items {
		items = append(items, shard.SealItem{
			Shard: shard.ID{Type: shard.TypeName(w.Type), Number: shard.Number(w.Shard)}, Copy: shard.CopyID(w.Copy), Epoch: shard.Epoch(w.Epoch),
		})
	}
	reply := &wire.SealReply{}
	for _, s := range c.seal(ctx, items) {
		reply.Sealed = append(reply.Sealed, &wire.Sealed{
			Type: string(s.Shard.Type), Shard: uint32(s.Shard.Number), Copy: uint64(s.Copy), Epoch: uint64(s.Epoch),
			LastEpoch: uint64(s.Last.Epoch), LastLsn: uint64(s.Last.LSN), Fault: transport.FaultOf(asError(s.Fault)),
		})
	}
	return reply, nil
}

func asError(e *shard.Error) error {
	if e == nil {
		return nil
	}
	return e
}

// update reports what the map wants of this node.
func (c *copies) update(v *shard.View) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.c == nil || c.mu.deaf {
		return
	}
	directory, session := c.mu.c.DirectoryID(), c.mu.c.Session()
	for _, t := range v.Types {
		for _, p := range t.Placements {
			if p == nil {
				continue
			}
			if own, here := p.CopyOn(directory); here && own.State == shard.CopyMinted {
				c.mu.promised[own.ID] = max(c.mu.promised[own.ID], 1)
				c.mu.c.Report(shard.Report{Kind: shard.ReportReady, Shard: p.Shard, Copy: own.ID})
			}
			if p.Status == shard.Establishing && p.Session == session {
				c.mu.c.Report(shard.Report{
					Kind: shard.ReportEstablished, Shard: p.Shard, Copy: p.Primary, Epoch: p.Epoch, Version: p.Version,
				})
			}
		}
	}
}

// deafen has it create nothing, answer no seal, and establish nothing any more.
func (c *copies) deafen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.deaf = true
}

// seal promises what it is asked to.
func (c *copies) seal(_ context.Context, items []shard.SealItem) []shard.Sealed {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []shard.Sealed
	if c.mu.deaf {
		return nil
	}
	for _, item := range items {
		s := shard.Sealed{Shard: item.Shard, Copy: item.Copy, Epoch: item.Epoch, Last: shard.Position{Epoch: 1, LSN: 1}}
		if promised, here := c.mu.promised[item.Copy]; !here || promised > item.Epoch {
			s.Fault = shard.Errorf(shard.CodeConflict, "no such copy, or it promised more")
		} else {
			c.mu.promised[item.Copy] = item.Epoch
		}
		all = append(all, s)
	}
	return all
}
