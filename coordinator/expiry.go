package coordinator

import (
	"context"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
)

const (
	expiryCheck    = time.Second     // how often the leader looks for settings whose end has come
	expiryDeadline = 5 * time.Second // of the command that lifts one
)

// expire lifts maintenances and pauses whose end has come, as long as this node leads.
func (l *leading) expire(work *life) {
	tick := time.NewTicker(expiryCheck)
	defer tick.Stop()
	for {
		for _, c := range plan.Ended(l.v.machine.state().View, time.Now().UnixMilli()) {
			l.lift(work.ctx, c)
		}
		select {
		case <-tick.C:
		case <-work.ctx.Done():
			return
		}
	}
}

func (l *leading) lift(ctx context.Context, c fsm.Command) {
	ctx, cancel := context.WithTimeout(ctx, expiryDeadline)
	defer cancel()
	if err := l.v.proposeOne(ctx, c); err != nil {
		l.v.log.Warn("a setting whose time is over was not lifted; the leader tries again", "command", fsm.NameOf(c), "error", err)
		return
	}
	l.v.c.log.Info("the time of a setting is over", "command", fsm.NameOf(c), "what", c)
}
