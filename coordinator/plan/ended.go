package plan

import (
	"maps"
	"slices"

	"muster/fsm"
	"muster/shard"
)

// Ended returns the commands that lift what has ended by now. Each names the end it means, so one that an operator changed
// meanwhile stays. The
// leader's clock is in Unix milliseconds, and says when, not whether it is safe: nothing rests on it.
func Ended(v *shard.View, now int64) []fsm.Command {
	var due []fsm.Command
	over := func(end int64) bool { return end != 0 && end <= now }
	off := false
	if over(v.PausedUntil) {
		due = append(due, &fsm.Pause{On: false, Ended: v.PausedUntil})
	}
	for _, id := range slices.Sorted(maps.Keys(v.Members)) {
		if until := v.Members[id].Until; over(until) {
			due = append(due, &fsm.Mark{Node: id, Maintenance: &off, Ended: until})
		}
	}
	return due
}
