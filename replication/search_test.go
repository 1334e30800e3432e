package replication_test

import (
	"flag"
	"testing"
	"time"
)

var (
	large   = flag.Bool("large", false, "run the searches that take minutes and gigabytes too")
	walks   = flag.Int("walks", 5_000, "random walks of each kind")
	mutants = flag.Bool("mutants", false, "hunt every mutant, not a sample")
	seed    = flag.Uint64("seed", 0, "take this random walk alone; 0 takes all")
)

// The searches. Each visits every state that its budget allows, so a number of states that changes means that the protocol
// or the model has changed. Three copies always; epoch 1 is active at the start unless the search is fresh.
var searches = []config{
	{name: "first-placement", members: 3, quorum: 2, epochs: 2, fresh: true, instant: true, may: budget{writes: 1, suspects: 1}},
	{name: "failover", members: 3, quorum: 2, epochs: 2, may: budget{writes: 1, suspects: 1}},
	{name: "crash", members: 3, quorum: 2, epochs: 3, late: true, may: budget{writes: 1, crashes: 1}},
	{name: "two-failovers", members: 3, quorum: 2, epochs: 3, instant: true, may: budget{suspects: 2}},
	{name: "pipeline", members: 3, quorum: 2, epochs: 1, may: budget{writes: 2}},
	{name: "wipe", members: 3, quorum: 2, epochs: 2, instant: true, may: budget{writes: 1, wipes: 1, suspects: 1}},
	{name: "lone-tail", members: 3, quorum: 2, epochs: 3, instant: true, tail: 2, may: budget{suspects: 2}},
	{name: "tail-and-read", members: 3, quorum: 2, epochs: 2, instant: true, tail: 2, may: budget{suspects: 1, reads: 1}},
	{name: "read", members: 3, quorum: 2, epochs: 2, instant: true, may: budget{suspects: 1, reads: 1}},
	{name: "every-copy", members: 3, quorum: 3, epochs: 2, may: budget{writes: 1, suspects: 1}},
	{name: "primary-alone", members: 3, quorum: 1, epochs: 2, may: budget{writes: 1, suspects: 1}},

	// C changes: a copy joins, is replaced, or is left out.
	{name: "grow", members: 2, spares: 1, learner: learner{node: 3}, quorum: 2, epochs: 2, instant: true,
		may: budget{writes: 1, changes: 1, suspects: 1}},
	{name: "swap", members: 2, spares: 1, learner: learner{3, 2}, quorum: 2, epochs: 2, may: budget{writes: 1, changes: 1}},
	{name: "replace", members: 3, spares: 1, learner: learner{4, 2}, quorum: 2, epochs: 2, instant: true,
		may: budget{writes: 1, changes: 1, wishes: 1}},
	{name: "replace-and-read", members: 3, spares: 1, learner: learner{4, 2}, quorum: 2, epochs: 2, instant: true,
		may: budget{changes: 1, suspects: 1, reads: 1}},
	{name: "learner", members: 3, spares: 1, learner: learner{4, 2}, quorum: 2, epochs: 2, instant: true,
		may: budget{writes: 1, suspects: 1}},
	{name: "evict", members: 3, quorum: 2, epochs: 1, instant: true, may: budget{writes: 1, changes: 1, reads: 1, ticks: 1}},
	{name: "mint", members: 2, spares: 1, quorum: 2, epochs: 1, instant: true,
		may: budget{writes: 1, learners: 1, changes: 1, rots: 1}},
	{name: "whims", members: 2, spares: 1, learner: learner{node: 3}, quorum: 2, epochs: 1, instant: true, whims: true,
		may: budget{writes: 1, changes: 2}},
	{name: "early", members: 2, spares: 1, quorum: 2, epochs: 1, instant: true, whims: true, may: budget{learners: 1, changes: 1}},
	{name: "two-changes", members: 3, spares: 1, learner: learner{4, 3}, quorum: 2, epochs: 1, instant: true, whims: true,
		may: budget{writes: 1, changes: 2}},
	{name: "twice", members: 2, spares: 1, quorum: 2, epochs: 1, instant: true,
		may: budget{learners: 1, changes: 1, rots: 1, crashes: 1}},

	// The lead is handed over.
	{name: "hand-off", members: 3, quorum: 2, epochs: 2, instant: true, may: budget{writes: 1, wishes: 1}},
	{name: "hand-off-recovery", members: 3, quorum: 2, epochs: 3, instant: true, may: budget{wishes: 1, suspects: 1}},
	{name: "hand-off-alone", members: 2, quorum: 1, epochs: 2, may: budget{writes: 1, wishes: 1, reads: 1}},
	{name: "hand-off-back", members: 2, quorum: 1, epochs: 4, instant: true, late: true, may: budget{writes: 1, wishes: 2}},
	{name: "hand-off-crash", members: 2, quorum: 2, epochs: 3, instant: true, may: budget{writes: 1, wishes: 1, crashes: 1}},
	{name: "hand-off-change", members: 3, quorum: 2, epochs: 2, fresh: true, instant: true, whims: true, may: budget{changes: 1, wishes: 1}},
	{name: "hand-off-in-two", members: 3, quorum: 2, epochs: 3, instant: true, heirs: nobody, may: budget{wishes: 1, suspects: 1}},

	// Logs start later; who lacks what stood before gets the shard snapshot.
	{name: "shorten", members: 3, quorum: 2, epochs: 2, instant: true, may: budget{writes: 1, suspects: 1, starts: 1}},
	{name: "shorten-crash", members: 2, quorum: 2, epochs: 3, late: true, may: budget{writes: 1, crashes: 1, starts: 1}},
	{name: "learn-by-snapshot", members: 2, spares: 1, quorum: 2, epochs: 2,
		may: budget{writes: 1, learners: 1, changes: 1, starts: 1}},
	{name: "late-snapshot", members: 3, quorum: 2, epochs: 1, instant: true, may: budget{writes: 2, starts: 1}},
	{name: "tail-and-snapshot", members: 3, quorum: 2, epochs: 2, tail: 1, may: budget{suspects: 1, starts: 1}},
}

// The large searches take minutes and gigabytes each.
var largeSearches = []config{
	{name: "large-two-crashes", members: 3, quorum: 2, epochs: 4, instant: true, may: budget{writes: 1, crashes: 2}},
	{name: "large-read", members: 3, quorum: 2, epochs: 2, instant: true, may: budget{writes: 1, suspects: 1, reads: 1}},
	{name: "large-ticks", members: 3, quorum: 2, epochs: 2, instant: true, may: budget{writes: 1, suspects: 1, ticks: 3}},
	{name: "large-failovers", members: 3, quorum: 2, epochs: 3, instant: true, may: budget{writes: 1, suspects: 2}},
	{name: "large-two-writes", members: 3, quorum: 2, epochs: 2, instant: true, may: budget{writes: 2, suspects: 1}},
	{name: "large-crash", members: 3, quorum: 2, epochs: 3, may: budget{writes: 2, crashes: 1}},
	{name: "large-mint", members: 2, spares: 1, quorum: 2, epochs: 1, instant: true,
		may: budget{writes: 1, learners: 1, changes: 1, rots: 1, wishes: 1}},
	{name: "large-replace", members: 3, spares: 1, learner: learner{4, 2}, quorum: 2, epochs: 2, instant: true,
		may: budget{writes: 1, changes: 1, suspects: 1, reads: 1}},
	{name: "large-hand-off", members: 3, quorum: 2, epochs: 3, instant: true, may: budget{writes: 1, wishes: 1, suspects: 1}},
	{name: "large-snapshot", members: 3, quorum: 2, epochs: 2, tail: 1, instant: true,
		may: budget{writes: 1, suspects: 1, starts: 1}},
}

// TestExplore visits every state of the searches and checks the invariants in each.
func TestExplore(t *testing.T) {
	limit, all := 4_000_000, searches
	if *large {
		limit, all = 60_000_000, largeSearches
	}
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.search(t, limit)
		})
	}
}

// The walks have more of everything than a search can visit.
var everything = budget{writes: 6, crashes: 3, wipes: 1, suspects: 4, reads: 2, ticks: 3}

// The walks in which shards move.
var moving = budget{
	writes: 6, crashes: 2, wipes: 1, suspects: 2, reads: 2, ticks: 3, rots: 1, learners: 4, drops: 1, changes: 5, wishes: 3, starts: 3,
}

var randomWalks = []config{
	{name: "walk-1", members: 3, quorum: 1, epochs: 9, late: true, may: everything},
	{name: "walk-2", members: 3, quorum: 2, epochs: 9, late: true, may: everything},
	{name: "walk-3", members: 3, quorum: 3, epochs: 9, late: true, may: everything},
	{name: "moves-1", members: 2, spares: 2, quorum: 1, epochs: 9, late: true, whims: true, heirs: some, may: moving},
	{name: "moves-2", members: 3, spares: 2, quorum: 2, epochs: 9, late: true, whims: true, may: moving},
	{name: "moves-3", members: 3, spares: 2, quorum: 3, epochs: 9, late: true, whims: true, heirs: some, may: moving},
}

// TestWalk takes random ways and checks the invariants after each step.
func TestWalk(t *testing.T) {
	for _, c := range randomWalks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.walk(t)
		})
	}
}

func (c config) walk(t *testing.T) {
	t.Helper()
	begun, taken := time.Now(), 0
	first, last := uint64(1), uint64(*walks)
	if *seed != 0 {
		first, last = *seed, *seed
	}
	for n := first; n <= last; n++ {
		start, broken := begin(c) // afresh, or a walk would depend on those before it
		if broken != "" {
			t.Fatalf("%s\nat the start", broken)
		}
		steps, broken := walk(start, n, 150)
		taken += len(steps)
		if broken != "" {
			steps, broken = start.shrink(steps)
			t.Fatalf("%s\n%sAgain: go test ./replication -run '%s' -seed %d", broken, start.story(steps), t.Name(), n)
		}
	}
	t.Logf("%d steps, %s", taken, time.Since(begun).Round(time.Millisecond))
}

func (c config) search(t *testing.T, limit int) {
	t.Helper()
	begun := time.Now()
	start, broken := begin(c)
	if broken != "" {
		t.Fatalf("%s\nat the start", broken)
	}
	r := explore(start, limit)
	t.Logf("%d states, %d steps, %s", r.states, r.steps, time.Since(begun).Round(time.Millisecond))
	switch {
	case r.broken != "":
		steps, broken := start.shrink(r.trace)
		t.Errorf("%s\n%sAgain: go test ./replication -run '%s'", broken, start.story(steps), t.Name())
	case !r.full:
		t.Errorf("more than %d states: the search is not exhaustive any more; make its budget smaller", limit)
	}
}
