package replication_test

import (
	"testing"
	"time"
)

func TestX(t *testing.T) {
	for _, c := range []config{
		{name: "a", quorum: 2, epochs: 3, may: budget{writes: 1, suspects: 1}, instant: true},
		{name: "b", quorum: 2, epochs: 3, may: budget{writes: 1, suspects: 1}},
		{name: "c", quorum: 2, epochs: 3, may: budget{writes: 2, suspects: 2}, instant: true},
		{name: "d", quorum: 2, epochs: 3, may: budget{writes: 1, crashes: 1}},
		{name: "e", quorum: 2, epochs: 3, may: budget{writes: 2}},
		{name: "f", quorum: 2, epochs: 2, may: budget{writes: 1, suspects: 1, reads: 1}, instant: true},
		{name: "g", quorum: 2, epochs: 2, may: budget{writes: 1, wipes: 1, suspects: 1}, instant: true},
		{name: "h", quorum: 2, epochs: 1, fresh: true},
	} {
		begun := time.Now()
		w := begin(c)
		r := explore(w, 20_000)
		t.Logf("%s %d states, %d steps, full %t, %s", c.name, r.states, r.steps, r.full, time.Since(begun))
		if r.broken != "" {
			steps, broken := w.shrink(r.trace)
			t.Errorf("%s\n%s", broken, w.story(steps))
		}
	}
}
