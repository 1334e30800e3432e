package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// lastWord is how long the answer of a node is waited for when another one leads by then, of a call that is not repeated or that had that very
// effect: a leader that hands over the lead says so when the next one is known already.
const lastWord = 250 * time.Millisecond

// errElsewhere is why an attempt was given up.
var errElsewhere = errors.New("another node leads the group by now")

// An attempt is one asking of one node. It is given up when another node leads by then: a leader that is stopped, hangs or is cut off answers
// nobody and refuses nobody, and whoever asks it would wait out the whole deadline though the next one could answer. That another leads a voter
// hears from Raft, and a member from its watch, both about an election timeout after the leader fell silent.
//
// Without that word nobody is given up, however long an answer takes: a slow leader is still the only one there is.
//
// This is the only place where a call to a leader is broken off before its deadline; what may be done then is for leaderCall to say.
type attempt struct {
	c      *Coordinator
	addr   string       // who is asked; this node's own for itself
	before shard.NodeID // who was known to lead when that was chosen
}

// run makes the call. When it was given up it fails with CodeUnavailable, and says as before whether it may have happened.
func (a attempt) run(ctx context.Context, lingers time.Duration, call func(context.Context) error) error {
	asking, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	a.c.life.Go(func() {
		if a.overtaken(asking) && (lingers == 0 || pause(asking, lingers)) {
			giveUp(errElsewhere)
		}
	})
	err := call(asking)
	fault := transport.Typed(err)
	if fault == nil || permanent(fault) || ctx.Err() != nil || !errors.Is(context.Cause(asking), errElsewhere) {
		return err
	}
	return &shard.Error{
		Code: shard.CodeUnavailable, Outcome: fault.Outcome, Detail: fmt.Sprintf("%s was asked and has not answered, and %v", a.addr, errElsewhere),
	}
}

// overtaken waits until another node than the one that is asked is known to lead, and reports false when the attempt is over before.
func (a attempt) overtaken(asking context.Context) bool {
	for {
		news := a.c.leaders.listen()
		if a.elsewhere() {
			return true
		}
		select {
		case <-news:
		case <-asking.Done():
			return false
		case <-a.c.life.done():
			return false
		}
	}
}

// elsewhere reports whether another node is known to lead. What was known when the attempt began is no news: a hint that it follows may be ahead of that.
func (a attempt) elsewhere() bool {
	node, addr, _ := a.c.Leader()
	if a.addr == a.c.cfg.Addr {
		return node != "" && node != a.c.cfg.Node
	}
	return node != "" && node != a.before && addr != a.addr
}

// try asks once: this node when it leads, otherwise the one at the hint, the leader that is known, or one that may know it.
func (c *Coordinator) try(ctx context.Context, hint string, call leaderCall) error {
	before, addr, _ := c.Leader()
	if v := c.voter.Load(); v != nil && v.leads() {
		here := attempt{c, c.cfg.Addr, before}
		return here.run(ctx, call.lingers, func(ctx context.Context) error { return call.local(ctx, v) })
	}
	if hint != "" && hint != c.cfg.Addr {
		addr = hint
	}
	if addr == "" || addr == c.cfg.Addr {
		addr = c.contact() // anyone may know: the leader itself may not find this node, when its address is new
	}
	if addr == "" {
		return shard.Errorf(shard.CodeNoLeader, "no node is known to lead the group")
	}
	conn := c.cfg.Port.Peer
	if call.waits {
		conn = c.cfg.Port.Waiting
	}
	there := attempt{c, addr, before}
	err := there.run(ctx, call.lingers, func(ctx context.Context) error { return call.remote(ctx, wire.NewGroupClient(conn(addr))) })
	if fault := transport.Typed(err); fault != nil {
		c.contacts.failed(addr, fault.Code != shard.CodeNotLeader && fault.Code != shard.CodeNoLeader)
	}
	return err
}
