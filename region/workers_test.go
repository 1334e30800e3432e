package region

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

type taskFunc func()

func (f taskFunc) work() { f() }

// Tasks that block hold up nobody as long as fewer than limit of them do, however they arrive: in a burst, one behind the
// other, or started by each other. Above the limit they wait for a place.
func TestWorkersThatBlockHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &workers{limit: 100}
		release := make(chan struct{})
		var blocked, done atomic.Int32
		for i := range 300 {
			if i%3 == 0 {
				w.start(taskFunc(func() { blocked.Add(1); <-release }))
			} else {
				w.start(taskFunc(func() { w.start(taskFunc(func() { done.Add(1) })) }))
			}
		}
		synctest.Wait()
		if blocked.Load() != 100 || w.mu.running != 100 {
			t.Fatalf("%d tasks block, %d run", blocked.Load(), w.mu.running)
		}
		close(release)
		synctest.Wait()
		if done.Load() != 200 || w.mu.running != 0 || w.mu.coming != 0 || len(w.mu.parked) > maxParked {
			t.Fatalf("%d tasks done, %d run, %d coming, %d parked", done.Load(), w.mu.running, w.mu.coming, len(w.mu.parked))
		}
		w.close()
		w.wait.Wait()
	})
}

// A task that waits for one in line leaves it its place, and as many run as before once it has it back.
func TestWorkersThatStepAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &workers{limit: 2}
		ctx := w.mark(t.Context())
		var most, runs atomic.Int32
		for range 50 {
			w.start(taskFunc(func() {
				inner := make(chan struct{})
				w.start(taskFunc(func() { close(inner) }))
				defer aside(ctx).back()
				<-inner
			}))
		}
		synctest.Wait()
		for range 50 {
			w.start(taskFunc(func() {
				n := runs.Add(1)
				defer runs.Add(-1)
				most.Store(max(most.Load(), n))
				runtime.Gosched()
			}))
		}
		synctest.Wait()
		if w.mu.running != 0 || w.mu.coming != 0 || w.mu.line.len() != 0 || most.Load() > 2 {
			t.Errorf("%d run, %d coming, %d in line; %d ran at once", w.mu.running, w.mu.coming, w.mu.line.len(), most.Load())
		}
		w.close()
		w.wait.Wait()
	})
}

// A handler that ends its goroutine takes its worker along and nothing else. Close lets what is in line be done.
func TestWorkersSurviveGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &workers{limit: 2}
		var done atomic.Int32
		release := make(chan struct{})
		for range 50 {
			w.start(taskFunc(runtime.Goexit))
			w.start(taskFunc(func() { <-release; done.Add(1) }))
		}
		synctest.Wait() // two of them wait, the others are in line
		w.close()
		close(release)
		w.wait.Wait()
		if done.Load() != 50 || w.mu.running != 0 {
			t.Errorf("%d of 50 tasks done, %d run", done.Load(), w.mu.running)
		}
	})
}

// A burst of short tasks, as a frame of envelopes brings them.
func BenchmarkWorkers(b *testing.B) {
	w := &workers{limit: 1024}
	var all sync.WaitGroup
	short := taskFunc(all.Done)
	b.ReportAllocs()
	for b.Loop() {
		all.Add(64)
		for range 64 {
			w.start(short)
		}
		all.Wait()
	}
	w.close()
	w.wait.Wait()
}
