package replication

import (
	"time"

	"muster/shard"
)

// Times and limits of a hand-over.
const (
	HandOverPatience = time.Second     // the longest pause; then the shard goes on where it is
	HandOverAgain    = 2 * time.Second // after a pause that led to nothing
	HandOverTaken    = 2 * time.Second // after stepping down, for the map to show it; then any copy may take over
	HandOverGap      = 512             // records the target may lack when the pause begins, none of them older than a tick
)

// HandStep is what the owner of a primary does next about a hand-over.
type HandStep uint8

const (
	HandWait    HandStep = iota // as it is
	HandDown                    // the lead is given up for good: carry the effects out, then report
	HandResume                  // the wish was withdrawn: call Resume and go on
	HandStalled                 // the pause lasted too long: call Resume, go on, and report that
)

// A Handing is the way of a primary to hand its shard over, as the placement wishes: pause, let what runs end, see everything
// confirmed and held by the target, step down. Until then it can turn back. The zero value is a primary without a wish. It
// belongs to its Copy's goroutine.
//
// While Paused is set the owner holds new commands back and begins no change of C.
type Handing struct {
	Paused bool
	To     shard.CopyID
	Began  time.Duration // when the pause did, on the owner's clock
	again  time.Duration // not before

	wished shard.CopyID // what the two below were noted for
	latest shard.LSN    // where the log ended at the newest tick
	older  shard.LSN    // and at the one before, 0 before there were two
}

// Tick notes where the log ends, so that ripe can tell how old the records are that the target lacks.
func (w *Handing) Tick(last shard.LSN) { w.older, w.latest = w.latest, last }

// Next takes the next step of a serving primary towards the wish, 0 for none. Drained tells whether no handler runs and
// every output has left; it is asked only while paused. The effects are those of HandDown.
func (w *Handing) Next(now time.Duration, wish shard.CopyID, c *Copy, drained func() bool) (HandStep, Effects) {
	switch {
	case !w.Paused && !w.ripe(now, wish, c):
		return HandWait, Effects{}
	case !w.Paused:
		w.Paused, w.To, w.Began = true, wish, now
	case w.To != wish:
		return HandResume, Effects{}
	}
	if drained() {
		if e, down := c.StepDown(w.To); down {
			return HandDown, e
		}
	}
	if now < w.Began+HandOverPatience {
		return HandWait, Effects{}
	}
	return HandStalled, Effects{}
}

// Resume ends a pause that came to nothing.
func (w *Handing) Resume(now time.Duration) { *w = Handing{again: now + HandOverAgain} }

// ripe reports whether a pause would be short as far as the copies go: nothing is pending about C, and the target holds
// everything that was in the log a tick ago, for the pause lasts as long as its answers take. Records alone do not tell: a
// few are much to a node that has just come back and catches up with all its shards. How long the handlers take cannot be
// known.
func (w *Handing) ripe(now time.Duration, wish shard.CopyID, c *Copy) bool {
	if w.wished != wish {
		w.wished, w.latest, w.older = wish, 0, 0
	}
	if wish == 0 || now < w.again || !c.serving() || c.leading.change != nil {
		return false
	}
	p := c.leading.peer(wish)
	return p != nil && p.member && w.older > 0 && p.match >= w.older && p.match+HandOverGap >= c.log.last.LSN
}

// A Given is an epoch whose lead a process gave up for good, in favour of a copy that held everything, or of a node that
// takes over a volatile shard. It lasts until another primary serves.
type Given struct {
	Epoch shard.Epoch
	To    shard.CopyID
	Node  shard.NodeID  // of a volatile shard, instead of To
	End   shard.LSN     // where the log ended, all of it confirmed; 0 for a volatile shard
	Began time.Duration // of the pause, on the owner's clock
	Since time.Duration // of stepping down
	Taken bool          // the map shows a later epoch
}

// GivenStep is what to do about a lead that was given up.
type GivenStep uint8

const (
	GivenWait  GivenStep = iota // as it is
	GivenAgain                  // report it against the version that the map shows: that has refused the last report
	GivenOver                   // another primary serves: forget it
)

// Shown looks at what the map makes of it. An epoch that is active because it was handed over is served when something of it is
// confirmed, as far as the copy here knows; a later one, and that of a volatile shard, when it is active.
func (g *Given) Shown(p *shard.Placement, confirmed shard.LSN) GivenStep {
	switch {
	case p.Epoch < g.Epoch:
		return GivenWait
	case p.Epoch == g.Epoch:
		return GivenAgain
	}
	g.Taken = true
	if p.Status == shard.Active && (g.To == 0 || confirmed > g.End || p.Epoch > g.Epoch+1) {
		return GivenOver
	}
	return GivenWait
}

// Recants reports whether a recovery has to be asked for: the map does not show the next primary, somebody has to lead, and
// it cannot be this process.
func (g *Given) Recants(now time.Duration) bool { return !g.Taken && now >= g.Since+HandOverTaken }
