package load_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"muster/internal/load"
)

// A quantile is never below the true one and at most a bucket, 1/64, above it; JSON keeps it.
func TestQuantiles(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	var h load.Histogram
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(1) << dice.IntN(38)
		d += time.Duration(dice.Int64N(int64(d)))
		all = append(all, d)
		h.Record(d)
	}
	slices.Sort(all)
	b, err := json.Marshal(&h)
	if err != nil {
		t.Fatal(err)
	}
	var back load.Histogram
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back.Count() != 10_000 {
		t.Fatalf("%d of 10,000 came back", back.Count())
	}
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999} {
		want := all[int(q*10_000)]
		if got := back.Quantile(q); got < want || got > want+want/64+1 {
			t.Errorf("quantile %v is %d, want %d to %d", q, got, want, want+want/64+1)
		}
	}
	if last := all[len(all)-1]; back.Quantile(1) < last {
		t.Errorf("quantile 1 is %s, but %s was recorded", back.Quantile(1), last)
	}
}

// A system that answers in 1 ms, but stalls once for a second: a closed loop hardly notices, an open one charges the stall to
// everything that was due meanwhile.
func TestOpenLoopCountsFromWhenItWasDue(t *testing.T) {
	p90 := func(rate float64) time.Duration {
		var s *load.Sample
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			stall := func(context.Context, int, int) error {
				if since := time.Since(began); since > time.Second && since < 2*time.Second {
					<-time.After(2*time.Second - since)
				}
				<-time.After(time.Millisecond)
				return nil
			}
			s = load.Loop{Callers: 10, For: 4 * time.Second, Rate: rate}.Run(t.Context(), stall)
		})
		if err := s.Sound(); err != nil {
			t.Fatal(err)
		}
		return s.Latency.Quantile(0.9)
	}
	if closed := p90(0); closed > 2*time.Millisecond {
		t.Errorf("closed loop: p90 %s, want about 1 ms", closed)
	}
	if open := p90(1000); open < 500*time.Millisecond {
		t.Errorf("open loop: p90 %s, want above 500 ms: a quarter of the operations were due in the stall", open)
	}
}

// The rate is what ended in time, over the time; what ends later is told apart.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := load.Loop{Callers: 3, For: time.Second}.Run(t.Context(), func(context.Context, int, int) error {
			<-time.After(300 * time.Millisecond)
			return nil
		})
		if s.Ops != 9 || s.Late != 3 || s.Rate() != 9 {
			t.Errorf("%d in time, %d late, %v per second; want 9, 3, 9", s.Ops, s.Late, s.Rate())
		}
	})
}

// One failure makes a run void, and names itself.
func TestFailureVoidsARun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := load.Loop{Callers: 2, For: time.Minute}.Run(ctx, func(_ context.Context, caller, n int) error {
		if caller == 1 && n == 3 {
			cancel()
			return errors.New("a wrong answer")
		}
		return nil
	})
	var all load.Sample
	all.Add(s)
	if err := all.Sound(); s.Failed != 1 || err == nil {
		t.Errorf("%d failed, %v", s.Failed, err)
	}
}
