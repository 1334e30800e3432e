package coordinator

import (
	"context"
	"sync"
)

// A bell wakes everyone who listens. Listen first, look second, then wait: nothing is missed between.
type bell struct {
	mu struct {
		sync.Mutex
		ringing chan struct{}
	}
}

// listen returns a channel that the next ring closes.
func (b *bell) listen() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.ringing == nil {
		b.mu.ringing = make(chan struct{})
	}
	return b.mu.ringing
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.ringing != nil {
		close(b.mu.ringing)
		b.mu.ringing = nil
	}
}

// A life is the time a set of goroutines runs: they start by Go, see the end by ctx, and are joined by end.
type life struct {
	ctx    context.Context
	cancel context.CancelFunc
	mu     struct {
		sync.Mutex
		over    bool
		running sync.WaitGroup
	}
}

func newLife(parent context.Context) *life {
	l := &life{}
	l.ctx, l.cancel = context.WithCancel(parent)
	return l
}

// Go runs f in a goroutine; after the end it does nothing and reports false.
func (l *life) Go(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.over {
		l.mu.running.Go(f)
	}
	return !l.mu.over
}

func (l *life) done() <-chan struct{} { return l.ctx.Done() }

// end cancels the context and waits for every goroutine.
func (l *life) end() {
	l.mu.Lock()
	l.mu.over = true
	l.mu.Unlock()
	l.cancel()
	l.mu.running.Wait()
}

// within returns ctx, ended also by the end of l.
func (l *life) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}
