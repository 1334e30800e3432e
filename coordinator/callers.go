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
		giveUp map[caller]context.CancelFunc
	}
}

// A caller is one call, as its client names it.
type caller struct {
	barrier string
	request uint64 // 0: it cannot be taken back
}

// enter returns a context that ends when the call is taken back, and what ends it when the call is over.
func (k *callers) enter(ctx context.Context, who caller) (context.Context, context.CancelFunc) {
	ctx, giveUp := context.WithCancel(ctx)
	if who.request == 0 {
		return ctx, giveUp
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.giveUp == nil {
		k.mu.giveUp = map[caller]context.CancelFunc{}
	}
	k.mu.giveUp[who] = giveUp
	return ctx, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.mu.giveUp, who)
		giveUp()
	}
}

// takeBack has a call give up. It fails with CodeNotFound when none of that name waits here: it is over, or not here yet.
func (k *callers) takeBack(who caller) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	giveUp, waits := k.mu.giveUp[who]
	if !waits {
		return shard.Errorf(shard.CodeNotFound, "barrier %.80q: no such call waits here", who.barrier)
	}
	giveUp()
	return nil
}
