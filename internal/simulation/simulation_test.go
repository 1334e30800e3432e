package simulation_test

import (
	"bytes"
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"muster/internal/simulation"
)

var (
	seed    = flag.Uint64("seed", 0, "run this seed alone")
	count   = flag.Uint64("n", 0, "run so many seeds")
	first   = flag.Uint64("from", 1, "with -n or -for, the first seed")
	spend   = flag.Duration("for", 3*time.Second, "without -n, run seeds for so long")
	mutants = flag.Bool("mutants", false, "take safeguards away, one at a time, and demand that seeds find it")
	trace   = flag.Bool("trace", false, "print the trace of -seed")
)

// A run leaves much garbage and keeps little: a larger heap saves a third of the time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(2000)
	os.Exit(m.Run())
}

// TestSeeds runs whole clusters under faults, seed after seed, and prints how to run again what failed.
func TestSeeds(t *testing.T) {
	if *seed != 0 {
		var out *os.File
		if *trace {
			out = os.Stdout
		}
		one(t, *seed, out)
		return
	}
	begun := time.Now()
	n, total := many(t, begun)
	if slight := uint64(total.Slight); slight > 2+n/500 {
		t.Errorf("%d of %d runs prove nothing: next to no command was done", slight, n)
	}
	took := time.Since(begun).Seconds()
	t.Logf("%d seeds in %.1f s, %.1f seeds/s: %s", n, took, float64(n)/took, total)
}

// many runs seeds, as many at once as the machine has cores for, until there are enough of them or one has failed. Each run is one
// goroutine's alone.
func many(t *testing.T, begun time.Time) (n uint64, total simulation.Result) {
	var mu sync.Mutex
	draw := func() (seed uint64, more bool) {
		mu.Lock()
		defer mu.Unlock()
		if t.Failed() || *count != 0 && n == *count || *count == 0 && time.Since(begun) >= *spend {
			return 0, false
		}
		n++
		return *first + n - 1, true
	}
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed, more := draw(); more; seed, more = draw() {
				r := one(t, seed, nil)
				mu.Lock()
				total.Add(r)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return n, total
}

func one(t *testing.T, seed uint64, out *os.File) simulation.Result {
	t.Helper()
	var r simulation.Result
	var err error
	if out == nil {
		r, err = simulation.Run(seed, nil)
	} else {
		r, err = simulation.Run(seed, out)
	}
	if err != nil {
		t.Errorf("%v\nrun it again:  make sim SEED=%d V=1", err, seed)
	}
	return r
}

// The same seed gives the same run, to the bit and to the line, whether it is traced or not.
func TestReplay(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		var first, second bytes.Buffer
		a, _ := simulation.Run(seed, &first)
		b, _ := simulation.Run(seed, &second)
		c, _ := simulation.Run(seed, nil)
		if a != b || a != c || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Fatalf("seed %d gives %+v, then %+v, untraced %+v", seed, a, b, c)
		}
	}
}
