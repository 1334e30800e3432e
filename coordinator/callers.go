package coordinator

import (
	"context"
	"sync"

	"muster/shard"
)

// callers are the barrier calls of clients that wait through this node. A client that gives up has its call taken back by another one, and
// hears from the first what became of it. A call that breaks off is taken back too, but nobody is there to be told.
//
// Safe for concurrent use.
type callers struct {
	mu struct {
		sync.Mutex
		calls map[caller]*waitingCall
	}
}

// A caller is one call, as its client names it.
type caller struct {
	barrier string
	request uint64 // 0: it cannot be taken back
}

type waitingCall struct{ giveUp context.CancelFunc }

// enter returns a context that ends when the call is taken back, and what ends it when the call is over. Of two calls under one name the
// later one is taken back.
func (k *callers) enter(ctx context.Context, who caller) (context.Context, context.CancelFunc) {
	ctx, giveUp := context.WithCancel(ctx)
	if who.request == 0 {
		return ctx, giveUp
	}
	call := &waitingCall{giveUp}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.calls == nil {
		k.mu.calls = map[caller]*waitingCall{}
	}
	k.mu.calls[who] = call
	return ctx, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.mu.calls[who] == call {
			delete(k.mu.calls, who)
		}
		giveUp()
	}
}

// takeBack has a call give up. It fails with CodeNotFound when none of that name waits here: it is over, or not here yet.
func (k *callers) takeBack(who caller) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	call, waits := k.mu.calls[who]
	if !waits {
		return shard.Errorf(shard.CodeNotFound, "barrier %.80q: no such call waits here", who.barrier)
	}
	call.giveUp()
	return nil
}
