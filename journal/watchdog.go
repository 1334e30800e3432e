package journal

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// hungCommit is how long a commit may take. With the lease that follows it, others have taken over within 10 s.
const hungCommit = 6 * time.Second

// looks is how many times the watchdog looks at a commit before it calls it hung.
const looks = 10

// ErrHung says that a commit did not end in time. Whether it will, and what it leaves behind, nobody knows.
var ErrHung = errors.New("a commit hangs in the disk")

// A watchdog takes the journal out of service whose commit hangs: the node would go on renewing its session and keep its
// shards, while none of them confirms anything.
//
// A commit is hung when the watchdog has seen it at so many looks that limit passed between them. Counting looks and not
// the time itself keeps a process that was stopped for a while from blaming the disk when it goes on.
type watchdog struct {
	limit   time.Duration
	commits atomic.Uint64 // odd while one is under way
	hung    chan struct{} // closed when one was given up
	quit    chan struct{}
	done    chan struct{}
}

func newWatchdog(limit time.Duration) *watchdog {
	return &watchdog{limit: limit, hung: make(chan struct{}), quit: make(chan struct{}), done: make(chan struct{})}
}

// begin and end enclose a commit.
func (w *watchdog) begin() { w.commits.Add(1) }
func (w *watchdog) end()   { w.commits.Add(1) }

// run calls bark once, when a commit hangs, and returns then or when the journal closes.
func (w *watchdog) run(bark func(error)) {
	defer close(w.done)
	tick := time.NewTicker(w.limit / looks)
	defer tick.Stop()
	seen, times := uint64(0), 0
	for {
		select {
		case <-w.quit:
			return
		case <-tick.C:
		}
		now := w.commits.Load()
		if now%2 == 0 || now != seen {
			seen, times = now, 0
			continue
		}
		if times++; times >= looks {
			close(w.hung)
			bark(fmt.Errorf("%w for %s", ErrHung, w.limit))
			return
		}
	}
}
