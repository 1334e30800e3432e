package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// Two nodes take turns in losing each other, and the shard of a type that accepts loss goes on every time, until as many copies are
// kept aside as may be. Then it waits, and says for what; when an operator has discarded one it goes on.
func TestLossyUntilTooMuchIsKeptAside(t *testing.T) {
	w := newWorld(t)
	say := func(lines ...string) string {
		w.out.Reset()
		for _, line := range lines {
			w.line(strings.Fields(line))
		}
		return w.out.String()
	}
	say("found a b", "type t shards=1 replicas=1 lossy=1s", "up a b", "wait 300ms")
	for range shard.MaxAside {
		p := w.shard("t/0")
		if p.Status != shard.Active || len(p.Copies) != 2 {
			t.Fatalf("with %d kept aside: %+v", len(p.Aside), p)
		}
		say("silent "+string(p.Node), "wait 6s", "up "+string(p.Node), "wait 1s")
	}
	p := w.shard("t/0")
	if len(p.Aside) != shard.MaxAside || p.Status != shard.Active {
		t.Fatalf("%d are kept aside, it is %s", len(p.Aside), p.Status)
	}
	if said := say("silent "+string(p.Node), "wait 6s"); !strings.Contains(said, string(plan.AsideFull)) || strings.Contains(said, "refused") {
		t.Errorf("it says %s", said)
	}
	w.apply(&fsm.Discard{Shard: p.Shard, Copy: p.Aside[0].Copy.ID})
	if say("wait 1s"); w.shard("t/0").Status != shard.Active {
		t.Errorf("it is %s", fmt.Sprint(w.shard("t/0")))
	}
}
