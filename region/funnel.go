package region

import (
	"context"
	"runtime"
	"slices"
	"sync"
)

// A funnel gathers what many put until one takes it all. Safe for concurrent use, with a single taker.
type funnel[T any] struct {
	mu struct {
		sync.Mutex
		items  []T
		asleep bool
	}
	wake chan struct{}
}

func newFunnel[T any]() *funnel[T] { return &funnel[T]{wake: make(chan struct{}, 1)} }

func (f *funnel[T]) put(v T) {
	f.mu.Lock()
	f.mu.items = append(f.mu.items, v)
	asleep := f.mu.asleep
	f.mu.asleep = false
	f.mu.Unlock()
	if asleep {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// wait returns when there is something, or with ctx's error.
func (f *funnel[T]) wait(ctx context.Context) error {
	for {
		f.mu.Lock()
		some := len(f.mu.items) > 0
		f.mu.asleep = !some
		f.mu.Unlock()
		if some {
			return nil
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// gather waits until there is something, lets whoever is ready add to it, and takes it all. It yields as long as that makes it grow:
// a message goes through several goroutines before it gets here. It is not a delay: whoever else can run does, and when
// nobody can, a yield returns at once.
func (f *funnel[T]) gather(ctx context.Context, empty []T) ([]T, error) {
	if err := f.wait(ctx); err != nil {
		return nil, err
	}
	const maxYields = 8
	for n, was := 0, 0; n < maxYields; n++ {
		runtime.Gosched()
		now := f.len()
		if now == was {
			break
		}
		was = now
	}
	return f.take(empty), nil
}

// take returns all there is, at once; what it returned before, emptied, gathers from now on.
func (f *funnel[T]) take(empty []T) []T {
	f.mu.Lock()
	defer f.mu.Unlock()
	items := f.mu.items
	f.mu.items = empty
	return items
}

// back puts what was taken, and could not be used, before everything else.
func (f *funnel[T]) back(items []T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.items = append(slices.Clone(items), f.mu.items...)
}

func (f *funnel[T]) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.mu.items)
}
