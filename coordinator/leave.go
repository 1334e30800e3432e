package coordinator

import (
	"context"
	"time"

	"muster/coordinator/plan"
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
		now := plan.Movable(c.View(), id)
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
