package coordinator

import (
	"cmp"
	"context"
	"slices"
	"time"

	"muster/fsm"
	"muster/shard"
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
		for _, c := range ended(l.v.machine.state().View, time.Now()) {
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

// ended returns the commands that lift what has ended by now. Each names the end it means, so one that an operator changed
// meanwhile stays.
func ended(v *shard.View, now time.Time) []fsm.Command {
	var due []fsm.Command
	over := func(end int64) bool { return end != 0 && end <= now.UnixMilli() }
	off := false
	if over(v.PausedUntil) {
		due = append(due, &fsm.Pause{On: false, Ended: v.PausedUntil})
	}
	var members []shard.Member
	for _, m := range v.Members {
		if over(m.Until) {
			members = append(members, m)
		}
	}
	slices.SortFunc(members, func(a, b shard.Member) int { return cmp.Compare(a.ID, b.ID) })
	for _, m := range members {
		due = append(due, &fsm.Mark{Node: m.ID, Maintenance: &off, Ended: m.Until})
	}
	return due
}
