package main

import (
	"testing"

	"muster/fsm"
	"muster/shard"
)

// An outage is counted from the change that took the primary away to the one after which the shard was served again, and only
// when both are remembered.
func TestHistoryTellsHowLongItTook(t *testing.T) {
	change := func(epoch shard.Epoch, status shard.Status, at int64) fsm.Change {
		return fsm.Change{Epoch: epoch, Status: status, Time: at}
	}
	placed, serves := change(0, shard.Forming, 1000), change(1, shard.Active, 1600)
	sealed, elected := change(2, shard.Recovering, 5000), change(2, shard.Establishing, 7000)
	for what, c := range map[string]struct {
		changes []fsm.Change
		want    int64 // -1: unknown
	}{
		"from nothing":               {[]fsm.Change{placed, change(1, shard.Establishing, 1200), serves}, 600},
		"a failover":                 {[]fsm.Change{placed, serves, sealed, elected, change(2, shard.Active, 7400)}, 2400},
		"two tries":                  {[]fsm.Change{serves, sealed, elected, change(3, shard.Recovering, 9000), change(3, shard.Active, 9500)}, 4500},
		"not yet":                    {[]fsm.Change{serves, sealed}, -1},
		"a change while it serves":   {[]fsm.Change{serves, change(1, shard.Active, 3000)}, -1},
		"its beginning is forgotten": {[]fsm.Change{elected, change(2, shard.Active, 7400)}, -1},
		"a time is unknown":          {[]fsm.Change{serves, change(2, shard.Recovering, 0), change(2, shard.Active, 7400)}, -1},
	} {
		if got := took(c.changes); c.want < 0 != (got == nil) || got != nil && *got != c.want {
			t.Errorf("%s: %v, want %d", what, got, c.want)
		}
	}
}

// A change whose time the log does not tell was before the next one that it does; after that there is nothing to say.
func TestHistorySaysBeforeWhen(t *testing.T) {
	all := []changeReport{{}, {}, {Time: "10:00"}, {Time: "11:00"}, {}, {Time: "12:00"}, {}}
	want := []string{"before 10:00", "before 10:00", "10:00", "11:00", "before 12:00", "12:00", ""}
	for i := range all {
		if got := timeOf(all, i); got != want[i] {
			t.Errorf("change %d: %q, want %q", i+1, got, want[i])
		}
	}
}
