package region

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"muster/entity"
	"muster/shard"
)

// An ask is one command at its origin, from the first attempt to the answer. It belongs to the caller's goroutine;
// answers and nudges come from others, under its lock.
//
// Asks are used again, so an answer that comes too late must not reach the next user: tokens never repeat.
type ask struct {
	region *Region
	shard  shard.ID
	env    entity.Envelope
	tell   bool
	maybe  bool          // an attempt may have taken effect and its answer is lost
	pause  time.Duration // before the next attempt, if nothing changes

	call call // the attempt's, where nobody else looks at it once it is answered
	lent bool // somebody may still hold call

	place  uint32 // in tallies: asks that are used again stay with a processor, and their places with them
	signal chan struct{}
	mu     struct {
		sync.Mutex
		token  uint64 // of the attempt whose answer is wanted
		done   bool
		nudged bool
		asleep bool // its goroutine has looked for an answer and waits for the signal now
		reply  []byte
		fault  *shard.Error
	}
}

var (
	asks      = sync.Pool{New: func() any { return &ask{signal: make(chan struct{}, 1), place: lastPlace.Add(1)} }}
	lastPlace atomic.Uint32
)

func newAsk() *ask { return asks.Get().(*ask) }

// free gives the ask back. From here on no answer is wanted.
func (a *ask) free() {
	if a.lent {
		return
	}
	a.mu.Lock()
	a.mu.token++
	a.mu.done, a.mu.nudged, a.mu.asleep, a.mu.reply, a.mu.fault = false, false, false, nil, nil
	a.mu.Unlock()
	select {
	case <-a.signal:
	default:
	}
	a.env, a.region, a.maybe, a.pause, a.call = entity.Envelope{}, nil, false, 0, call{}
	asks.Put(a)
}

// answer implements sink. Only the present attempt's answer counts.
func (a *ask) answer(token uint64, reply []byte, fault *shard.Error) {
	a.mu.Lock()
	if token != a.mu.token || a.mu.done {
		a.mu.Unlock()
		return
	}
	a.mu.done, a.mu.reply, a.mu.fault = true, reply, fault
	asleep := a.mu.asleep
	a.mu.Unlock()
	if asleep { // otherwise its goroutine, which may be this one, looks before it waits
		a.wake()
	}
}

func (a *ask) answered() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.done
}

// nudge makes the ask look at the map again.
func (a *ask) nudge() {
	a.mu.Lock()
	a.mu.nudged = true
	a.mu.Unlock()
	a.wake()
}

func (a *ask) wake() {
	select {
	case a.signal <- struct{}{}:
	default:
	}
}

// attempt begins a new attempt and returns its token.
func (a *ask) attempt() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.token++
	a.mu.done, a.mu.nudged, a.mu.asleep, a.mu.reply, a.mu.fault = false, false, false, nil, nil
	return a.mu.token
}

// What ended a wait.
type waited uint8

const (
	answered waited = iota + 1
	nudged          // the shard has another owner or epoch than the attempt was sent to
	stopped
	timedOut
)

// wait returns when the attempt is answered or there is no point in waiting any more.
func (a *ask) wait(ctx context.Context, epoch shard.Epoch) waited {
	for {
		done, moved := a.look()
		switch {
		case done:
			return answered
		case a.region.life.Err() != nil:
			return stopped
		case moved && a.elsewhere(epoch):
			return nudged
		}
		select {
		case <-a.signal:
		case <-ctx.Done():
			return timedOut
		}
	}
}

// look returns what has happened; when that is not an answer, one that comes from now on signals.
func (a *ask) look() (done, moved bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	done, moved = a.mu.done, a.mu.nudged
	a.mu.nudged, a.mu.asleep = false, !done
	return done, moved
}

// elsewhere reports whether the map shows a newer epoch than the attempt was sent in, so its answer may never come.
func (a *ask) elsewhere(epoch shard.Epoch) bool {
	p := a.region.view.Load().Placement(a.shard)
	return p != nil && p.Epoch > epoch
}
