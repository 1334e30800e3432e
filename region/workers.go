package region

import (
	"context"
	"sync"
)

// maxParked is how many workers without a task wait for one. Their stacks have grown to what handlers take: making a
// goroutine and growing its stack was a third of what it cost to answer an ask.
const maxParked = 64

// workers runs tasks, each on a goroutine that does nothing else meanwhile, at most limit at once; what comes on
// top waits in line. Safe for concurrent use.
//
// A task that comes wakes a worker only if none is on its way to the line already, and a worker that leaves the line with
// tasks in it wakes the next before it begins its own. So short tasks in a burst share a few workers, and one that blocks
// holds up nobody: while there is something in line, somebody is on the way.
//
// A task that waits for others, which may be in line, leaves its place to them meanwhile. It takes it back without waiting for one,
// so for a moment more than limit may run.
//
// Invariant: with something in line, a worker is on its way, or limit of them run.
type workers struct {
	limit int
	wait  sync.WaitGroup
	mu    struct {
		sync.Mutex
		running int // on their way included, and those that have left their place not
		coming  int // on their way to the line: 0 or 1
		line    queue[task]
		parked  []chan struct{} // closed by close, the last one parked first to go
		closed  bool
	}
}

// A task is a run of handlers, a load, or a host that something has come for.
type task interface{ work() }

// start runs a task. One that comes after close finds its shard over and only answers its calls; nobody waits for it.
func (w *workers) start(t task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.closed {
		go t.work()
		return
	}
	w.mu.line.push(t)
	w.rouse()
}

// rouse sends for a worker if there is something in line that nobody is coming for. The caller holds the lock.
func (w *workers) rouse() {
	if w.mu.line.len() == 0 || w.mu.coming > 0 || w.mu.running >= w.limit {
		return
	}
	w.mu.running++
	w.mu.coming++
	if n := len(w.mu.parked); n > 0 {
		w.mu.parked[n-1] <- struct{}{}
		w.mu.parked = w.mu.parked[:n-1]
		return
	}
	w.wait.Add(1)
	go w.serve()
}

// placeKey is under what contexts of handlers that a worker runs keep its workers.
type placeKey struct{}

// mark returns a context for handlers that run here.
func (w *workers) mark(ctx context.Context) context.Context {
	return context.WithValue(ctx, placeKey{}, w)
}

// aside leaves the place of the handler whose context that is to others, until back is called with what it returns: nil when it is no
// handler's.
func aside(ctx context.Context) *workers {
	w, _ := ctx.Value(placeKey{}).(*workers)
	if w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.mu.running--
		w.rouse()
	}
	return w
}

func (w *workers) back() {
	if w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.mu.running++
	}
}

// close makes the tasks that run now the last ones that wait counts.
func (w *workers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.closed = true
	for _, p := range w.mu.parked {
		close(p)
	}
	w.mu.parked = nil
}

func (w *workers) serve() {
	defer w.wait.Done()
	wake := make(chan struct{}, 1)
	for came := true; ; came = true {
		for t := w.next(came); t != nil; t = w.next(false) {
			w.do(t)
		}
		if !w.park(wake) {
			return
		}
		if _, more := <-wake; !more {
			return
		}
	}
}

// do runs one task. A handler that ends its goroutine takes the worker with it; others may have to be done.
func (w *workers) do(t task) {
	over := false
	defer func() {
		if over {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.mu.running--
		w.rouse()
	}()
	t.work()
	over = true
}

// next takes what waits in line, nil when nothing does; came says that the worker was sent for.
func (w *workers) next(came bool) task {
	w.mu.Lock()
	defer w.mu.Unlock()
	if came {
		w.mu.coming--
	}
	if w.mu.line.len() == 0 {
		w.mu.running--
		return nil
	}
	t := w.mu.line.pop()
	w.rouse()
	return t
}

// park puts a worker without a task aside; false when there are enough of them.
func (w *workers) park(wake chan struct{}) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.closed || len(w.mu.parked) == maxParked {
		return false
	}
	w.mu.parked = append(w.mu.parked, wake)
	return true
}

// crowded reports whether tasks wait in line.
func (w *workers) crowded() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.line.len() > 0
}
