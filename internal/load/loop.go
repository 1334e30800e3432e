package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A Loop says how load is put on a system.
type Loop struct {
	Callers int           `json:"callers"`
	For     time.Duration `json:"for"`
	Rate    float64       `json:"rate,omitempty"`  // operations per second in all; 0: a closed loop, each caller asks again when it was answered
	Every   int           `json:"every,omitempty"` // only one operation in so many is timed, for those that take less than looking at a clock; 0 means each
}

// An Op is one operation of one caller; n counts that caller's operations. It returns what went wrong, a wrong answer
// included.
type Op func(ctx context.Context, caller, n int) error

// A Sample is what one run of a loop was like.
type Sample struct {
	Callers int              `json:"callers"`
	Ops     uint64           `json:"ops"`     // that ended well within Seconds; the rate is made of these
	Late    uint64           `json:"late"`    // that ended well after that, having begun before
	Failed  uint64           `json:"failed"`  // a run with one of these does not count
	Fault   string           `json:"fault"`   // of the first that failed
	Seconds float64          `json:"seconds"` // of the run
	Latency Histogram        `json:"latency"`
	Counts  map[string]int64 `json:"counts"` // whatever else the process counts, over the run
}

// Rate returns operations per second.
func (s *Sample) Rate() float64 { return float64(s.Ops) / s.Seconds }

// Add joins the sample of another process that ran at the same time.
func (s *Sample) Add(o *Sample) {
	s.Callers += o.Callers
	s.Ops, s.Late, s.Failed = s.Ops+o.Ops, s.Late+o.Late, s.Failed+o.Failed
	if s.Fault == "" {
		s.Fault = o.Fault
	}
	s.Seconds = max(s.Seconds, o.Seconds)
	s.Latency.Add(&o.Latency)
	if s.Counts == nil {
		s.Counts = map[string]int64{}
	}
	for name, n := range o.Counts {
		s.Counts[name] += n
	}
}

// Run runs the loop and returns when every operation has ended. It ends early when ctx does.
//
// In an open loop each caller has a schedule of its own, and latency counts from the moment an operation was due, not from
// when the caller came to send it: a system that stalls is charged for everything that should have been asked meanwhile
// (coordinated omission, as wrk2 corrects it).
func (l Loop) Run(ctx context.Context, op Op) *Sample {
	r := &running{Loop: l, op: op, began: time.Now(), sample: &Sample{Callers: l.Callers, Seconds: l.For.Seconds(), Counts: map[string]int64{}}}
	r.ends = r.began.Add(l.For)
	stop := time.AfterFunc(l.For, func() { r.over.Store(true) })
	defer stop.Stop()
	unhook := context.AfterFunc(ctx, func() { r.over.Store(true) })
	defer unhook()
	var callers sync.WaitGroup
	for i := range l.Callers {
		callers.Go(func() {
			if l.Rate > 0 {
				r.open(ctx, i)
			} else {
				r.closed(ctx, i)
			}
		})
	}
	callers.Wait()
	r.sample.Ops, r.sample.Late, r.sample.Failed = r.ops.Load(), r.late.Load(), r.failed.Load()
	if s := time.Since(r.began); ctx.Err() != nil && s < l.For {
		r.sample.Seconds = s.Seconds()
	}
	return r.sample
}

// running is a loop under way. Callers count for themselves and add it up at the end.
type running struct {
	Loop
	op                Op
	began, ends       time.Time
	over              atomic.Bool
	ops, late, failed atomic.Uint64
	first             sync.Once
	sample            *Sample
}

func (r *running) closed(ctx context.Context, caller int) {
	var ops, late uint64
	every := max(r.Every, 1)
	for n := 0; !r.over.Load(); n++ {
		if every > 1 && n%every != 0 {
			if err := r.op(ctx, caller, n); err != nil {
				r.fail(err)
				break
			}
			ops++
			continue
		}
		began := time.Now()
		if err := r.op(ctx, caller, n); err != nil {
			r.fail(err)
			break
		}
		ended := time.Now()
		r.sample.Latency.Record(ended.Sub(began))
		if ended.After(r.ends) {
			late++
		} else {
			ops++
		}
	}
	r.ops.Add(ops)
	r.late.Add(late)
}

// fail counts an operation that went wrong. Its caller stops: such a run is void, and must not become a busy loop.
func (r *running) fail(err error) {
	r.failed.Add(1)
	r.first.Do(func() { r.sample.Fault = err.Error() })
}

func (r *running) open(ctx context.Context, caller int) {
	var ops, late uint64
	gap := time.Duration(float64(r.Callers) / r.Rate * float64(time.Second))
	due := r.began.Add(gap * time.Duration(caller) / time.Duration(r.Callers))
	for n := 0; !r.over.Load() && due.Before(r.ends); n++ {
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		if err := r.op(ctx, caller, n); err != nil {
			r.fail(err)
			break
		}
		ended := time.Now()
		r.sample.Latency.Record(ended.Sub(due))
		if ended.After(r.ends) {
			late++
		} else {
			ops++
		}
		due = due.Add(gap)
	}
	r.ops.Add(ops)
	r.late.Add(late)
}

// Sound returns why a sample does not count, nil when it does.
func (s *Sample) Sound() error {
	switch {
	case s.Failed > 0:
		return fmt.Errorf("%d operations failed, the first with: %s", s.Failed, s.Fault)
	case s.Ops == 0:
		return fmt.Errorf("no operation ended within %.1f s", s.Seconds)
	}
	return nil
}
