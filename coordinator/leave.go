package coordinator

import (
	"context"
	"time"

	"muster/fsm"
	"muster/shard"
)

// leaveProgress is how long a leaving node waits for the next of its shards to go before it departs with the rest.
const leaveProgress = 2 * time.Second

// Leave prepares a Close: it hands over the lead of the group, says that this process is about to stop, and returns when the
// map shows no shard led by it that another node could lead, or when they have stopped going. Nothing is closed and everything
// is served as before; the shards move by planned hand-offs, so nobody has to wait for a failover.
//
// It fails with CodeTimeout when ctx ends first. A node that was never registered has nothing to leave.
func (c *Coordinator) Leave(ctx context.Context) error {
	id := c.Session()
	if id == 0 || c.Err() != nil || c.View().Ended(id) {
		return nil
	}
	c.transfer(ctx) // first, so that whoever plans the moves stays
	verdict, index, err := c.proposeSurely(ctx, &fsm.Leave{Session: id})
	if err == nil {
		err = verdict.Err()
	}
	if err == nil {
		err = c.follower.reach(ctx, index)
	}
	if err != nil {
		return err
	}
	return c.awaitMoves(ctx, id)
}

// awaitMoves waits until the session's shards are with others.
func (c *Coordinator) awaitMoves(ctx context.Context, id shard.SessionID) error {
	left := -1
	patience := time.NewTimer(leaveProgress)
	defer patience.Stop()
	for {
		news := c.follower.news.listen()
		now := movable(c.View(), id)
		if now == 0 {
			return nil
		}
		if now != left {
			left = now
			patience.Reset(leaveProgress)
		}
		select {
		case <-news:
		case <-patience.C:
			c.log.Info("some shards did not go; they are taken over when this node is gone", "node", c.cfg.Node, "shards", left)
			return nil
		case <-c.Failed():
			return c.Err()
		case <-ctx.Done():
			return shard.Errorf(shard.CodeTimeout, "%d shards are still led by node %s", left, c.cfg.Node)
		}
	}
}

// movable counts the shards that the session leads and another node that is up could lead, and those it gave away that
// nobody serves yet: their next primary may need the copy here.
func movable(v *shard.View, id shard.SessionID) int {
	n, node := 0, v.Sessions[id].Node
	for _, t := range v.Types {
		for _, p := range t.Placements {
			switch {
			case p == nil:
			case p.Session == id && hasHeir(v, t.Spec, p):
				n++
			case p.Status == shard.Establishing && p.ActiveNode == node && p.Session != id:
				n++
			}
		}
	}
	return n
}

// hasHeir reports whether another node could lead the shard: it holds a ready copy in C, or hosts the volatile type.
func hasHeir(v *shard.View, spec shard.Spec, p *shard.Placement) bool {
	if spec.Volatile {
		for _, m := range v.Members {
			if m.ID != p.Node && v.Up(m.ID) && m.Open() && fsm.Eligible(m, spec) {
				return true
			}
		}
		return false
	}
	for _, c := range p.Copies {
		if m := v.Members[c.Node]; c.ID != p.Primary && c.State == shard.CopyReady && v.Up(c.Node) && m.Directory == c.Directory && !m.Leaving && !m.Draining {
			return true
		}
	}
	return false
}
