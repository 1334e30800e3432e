package replication

import (
	"time"

	"muster/shard"
)

// A Leaving is the way of a volatile shard's owner to another node, as the placement wishes. There is nothing to carry over:
// commands are held back while Paused is set, what runs finishes, and then the entities are dropped. The zero value is an
// owner without a wish.
type Leaving struct {
	Paused bool
	To     shard.NodeID
	Began  time.Duration // when the pause did, on the owner's clock
	again  time.Duration // not before
}

// Next takes the next step towards the wish of the placement; busy is how many handlers run.
func (l *Leaving) Next(now time.Duration, p *shard.Placement, busy int) HandStep {
	switch {
	case !l.Paused && (!p.Wished() || now < l.again):
		return HandWait
	case !l.Paused:
		l.Paused, l.To, l.Began = true, p.HandNode, now
	case l.To != p.HandNode:
		return HandResume
	}
	switch {
	case busy == 0:
		return HandDown
	case now >= l.Began+HandOverPatience:
		return HandStalled
	}
	return HandWait
}

// Resume ends a pause that came to nothing.
func (l *Leaving) Resume(now time.Duration) { *l = Leaving{again: now + HandOverAgain} }
