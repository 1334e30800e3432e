package region

import (
	"sync/atomic"
	"time"

	"muster/internal/boottime"
)

// A leaseClock tells boottime without a system call each time, which was most of what a local ask cost: it goes on from its
// last look by Go's monotonic clock, which stands still while the machine sleeps. A sleep shows: the wall clock goes on, so it
// moves against the monotonic one by just as much. Then, and when the look has become old, it looks again.
//
// It is never behind boottime by more than clockSlack, which is a hundredth of the margin that every lease keeps for clocks
// that drift. The wall clock's own value means nothing here; setting it costs a look. Safe for concurrent use.
type leaseClock struct{ look atomic.Pointer[look] }

// A look at all three clocks, boottime last: so what is reckoned from it is late rather than early.
type look struct {
	at   time.Time     // Go's: monotonic and wall
	gap  time.Duration // of the wall clock to the monotonic one
	boot time.Duration
}

const (
	clockSlack = time.Millisecond
	oldLook    = 100 * time.Millisecond
)

// clockStart is where the monotonic clock is counted from.
var clockStart = time.Now()

// gap is how far the wall clock is from the monotonic one, give or take what is the same in every reading.
func gap(t time.Time) time.Duration { return time.Duration(t.UnixNano()) - t.Sub(clockStart) }

func (c *leaseClock) now() time.Duration {
	t := time.Now()
	if l := c.look.Load(); l != nil {
		passed, drift := t.Sub(l.at), gap(t)-l.gap
		if passed < oldLook && drift.Abs() < clockSlack {
			return l.boot + passed
		}
	}
	l := &look{at: t, gap: gap(t), boot: boottime.Now()}
	c.look.Store(l)
	return l.boot
}
