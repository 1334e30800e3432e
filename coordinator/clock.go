package coordinator

import "time"

// clock counts the time of one coordinator's life. The leader's loop runs on it; that it stands still while the machine
// sleeps only delays an expiry.
type clock struct{ started time.Time }

func newClock() clock { return clock{time.Now()} }

func (c clock) now() time.Duration { return time.Since(c.started) }

// at is the moment on this clock; one before its start is negative.
func (c clock) at(t time.Time) time.Duration { return t.Sub(c.started) }
