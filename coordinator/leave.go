package coordinator

import (
	"context"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// leaveLooks is how many looks a leaving node takes without that another of its shards goes, before it departs with the rest: 2 s. Looks
// and not the clock: a process that was stopped meanwhile would give up the moment it goes on.
const (
	leaveLooks = 10
	leaveLook  = 200 * time.Millisecond
)

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
	looks := time.NewTicker(leaveLook)
	defer looks.Stop()
	return c.awaitMoves(ctx, id, looks.C)
}

// awaitMoves waits until the session's shards are with others.
func (c *Coordinator) awaitMoves(ctx context.Context, id shard.SessionID, looks <-chan time.Time) error {
	left, vain := -1, 0
	for {
		news := c.follower.news.listen()
		now := plan.Movable(c.View(), id)
		if now == 0 {
			return nil
		}
		if now != left {
			left, vain = now, 0
		}
		select {
		case <-news:
		case <-looks:
			if vain++; vain < leaveLooks {
				continue
			}
			c.log.Info("some shards did not go; they are taken over when this node is gone", "node", c.cfg.Node, "shards", left)
			return nil
		case <-c.Failed():
			return c.Err()
		case <-ctx.Done():
			return shard.Errorf(shard.CodeTimeout, "%d shards are still led by node %s", left, c.cfg.Node)
		}
	}
}
