package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// opening is held while a seat is opened or given up.
//
// Newcomer is the seat of a member that the leader has asked to run Raft, until it has caught up. Only then does the rest
// of the node know of it: a follower that is far behind knows neither the map nor the leader, and the watch does.
type opening struct {
	sync.Mutex
	newcomer *voter    // nil: none
	asked    time.Time // last
}

// Seat implements the Group service.
func (s *service) Seat(ctx context.Context, req *wire.SeatRequest) (*wire.SeatReply, error) {
	caughtUp, applied, err := s.c.takeSeat(ctx, req)
	return &wire.SeatReply{CaughtUp: caughtUp, Applied: uint64(applied), Fault: transport.FaultOf(err)}, nil
}

// takeSeat does what the leader asks about this node's seat. Repeating it is harmless.
func (c *Coordinator) takeSeat(ctx context.Context, req *wire.SeatRequest) (caughtUp bool, applied shard.Index, err error) {
	if own := c.DirectoryID(); string(own) != req.Directory {
		return false, 0, shard.Errorf(shard.CodeConflict, "node %s has directory %s, not %s", c.cfg.Node, own, req.Directory)
	}
	if req.Leave {
		return false, 0, c.leaveSeat(req.Term)
	}
	v, err := c.openSeat(req.Term)
	if err != nil {
		return false, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, askReach)
	defer cancel()
	_, err = v.machine.reach(ctx.Done(), shard.Index(req.Applied))
	_, applied, _ = v.machine.look()
	if shard.CodeOf(err) == shard.CodeBehind {
		return false, applied, nil
	}
	if err == nil {
		err = c.fillSeat(v)
	}
	return err == nil, applied, err
}

// openSeat runs Raft for a seat the leader gave this node, and returns the one that runs already if any does.
//
// A store that never voted begins as one that voted in the leader's term, whatever that term has seen: when this node has
// lost a directory, what voted there may have voted in that term.
func (c *Coordinator) openSeat(term uint64) (*voter, error) {
	c.opening.Lock()
	defer c.opening.Unlock()
	c.opening.asked = time.Now()
	v := c.voter.Load()
	switch group := c.cfg.Directory.Group(); {
	case c.life.ctx.Err() != nil || c.Err() != nil:
		return nil, shard.Errorf(shard.CodeClosed, "this node is shutting down")
	case v != nil && v.raft.Load() == nil || v == nil && (group == "" || c.Session() == 0):
		return nil, shard.Errorf(shard.CodeUnavailable, "this node is not ready to run Raft")
	case v != nil:
		return v, nil
	case c.opening.newcomer != nil:
		return c.opening.newcomer, nil
	}
	v, err := c.newVoter()
	if err != nil {
		return nil, fmt.Errorf("open a seat: %w", err)
	}
	if err = v.prepare(c.cfg.Directory.Group(), term); err == nil {
		c.cfg.Port.RaftLayer().Open()
		err = v.start()
	}
	if err != nil {
		c.sitOut()
		return nil, errors.Join(err, v.close())
	}
	c.opening.newcomer = v
	c.life.Go(func() { c.probation(v) })
	c.log.Info("this node was given a seat and catches up", "term", term)
	return v, nil
}

// prepare makes the store one that may vote in the group, in later terms than the given one. That it was to vote in another means nothing
// while it has no log: the directory knows nothing of that, so nobody was told that this node agreed to form it.
func (v *voter) prepare(group shard.GroupID, term uint64) error {
	formed, err := v.store.formed()
	if err != nil || formed == group {
		return err
	}
	has, err := v.hasLog()
	switch {
	case err != nil:
		return err
	case has:
		return shard.Errorf(shard.CodeWrongGroup, "node %s holds Raft state of group %q", v.c.cfg.Node, formed)
	}
	return errors.Join(
		v.store.SetUint64([]byte("CurrentTerm"), term), v.store.SetUint64([]byte("LastVoteTerm"), term),
		v.store.Set([]byte("LastVoteCand"), []byte("nobody")), v.store.setFormed(group),
	)
}

// fillSeat makes the seat of a newcomer that has caught up this node's. The directory knows it before the leader does: from
// then on the group may count on this vote, also after a restart.
func (c *Coordinator) fillSeat(v *voter) error {
	c.opening.Lock()
	defer c.opening.Unlock()
	switch {
	case c.life.ctx.Err() != nil:
		return shard.Errorf(shard.CodeClosed, "this node is shutting down")
	case c.voter.Load() == v:
		return nil
	case c.opening.newcomer != v:
		return shard.Errorf(shard.CodeUnavailable, "the seat was given up meanwhile")
	}
	if err := c.cfg.Directory.sit(seatTaken); err != nil {
		return err
	}
	c.opening.newcomer = nil
	c.voter.Store(v)
	c.leaders.ring()
	c.log.Info("this node has caught up and takes its seat")
	return nil
}

// leaveSeat stops Raft on this node. Its store stays as it is: it may be given a seat again, and must know how it voted. A leader
// of an older term than this node has seen may not know of the seat, and is refused.
func (c *Coordinator) leaveSeat(term uint64) error {
	c.opening.Lock()
	defer c.opening.Unlock()
	if c.life.ctx.Err() != nil {
		return shard.Errorf(shard.CodeClosed, "this node is shutting down")
	}
	v := c.voter.Load()
	if v == nil {
		v = c.opening.newcomer
	}
	if v == nil {
		return nil
	}
	if r := v.raft.Load(); r == nil || r.CurrentTerm() > term {
		return shard.Errorf(shard.CodeConflict, "a leader of term %d does not decide about this seat", term)
	}
	return c.quitSeat(v)
}

// quitSeat ends this node's Raft. The caller holds opening.
func (c *Coordinator) quitSeat(v *voter) error {
	if err := c.cfg.Directory.sit(seatLeft); err != nil {
		return err
	}
	c.opening.newcomer = nil
	c.voter.Store(nil)
	c.leaders.ring()
	c.log.Info("this node has no seat any more: it goes on as a member")
	return v.close()
}

// probation ends a newcomer's Raft when no leader asks for it any more: without a leader's word it is of no use.
func (c *Coordinator) probation(v *voter) {
	for pause(c.life.ctx, c.cfg.Times.CatchUp/4) {
		over, err := c.tryNewcomer(v)
		if err != nil {
			c.log.Warn("the seat that no leader asks for was not given up in good order", "error", err)
		}
		if over {
			return
		}
	}
}

// tryNewcomer gives the seat up if no leader has asked for it for too long, and reports whether v is no newcomer any more.
func (c *Coordinator) tryNewcomer(v *voter) (over bool, err error) {
	c.opening.Lock()
	defer c.opening.Unlock()
	switch {
	case c.opening.newcomer != v || c.life.ctx.Err() != nil:
		return true, nil
	case time.Since(c.opening.asked) <= c.cfg.Times.CatchUp:
		return false, nil
	}
	err = c.quitSeat(v)
	return c.opening.newcomer == nil, err
}

// declareSeat tells the group when this node has begun or ceased to run Raft since it registered.
func (c *Coordinator) declareSeat() {
	ctx := c.session.life.ctx
	for pause(ctx, c.cfg.Times.Renew/2) {
		view, id := c.View(), c.Session()
		m := view.Members[c.cfg.Node]
		if m.Session != id || view.Ended(id) || m.Voter == c.Voter() {
			continue
		}
		nonce, _ := c.session.nonce()
		if _, index, err := c.proposeSurely(ctx, c.registration(nonce)); err != nil {
			c.log.Debug("the group could not be told of this node's seat", "error", err)
		} else {
			c.follower.reach(ctx, index) // fails only when the node shuts down
		}
	}
}
