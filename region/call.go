package region

import (
	"time"

	"muster/entity"
	"muster/shard"
)

// A sink takes the answer of a call: a local Ask, or the stream another node's call came by. Its token is the sink's own
// name of the call. Safe for concurrent use; never blocks.
type sink interface {
	answer(token uint64, reply []byte, fault *shard.Error)
}

// routed is a command and where the map of its sender had it go.
type routed struct {
	env      entity.Envelope
	shard    shard.ID
	epoch    shard.Epoch // it runs in this epoch or not at all
	deadline time.Time   // zero for none
	tell     bool        // the reply itself is not wanted
}

// A call is one attempt at one command. It is owned by whoever holds it: the sender's lane, then the shard's host, for a
// while a handler's goroutine, and the host again until it is answered, exactly once.
type call struct {
	routed
	inline bool // the goroutine that delivers it may run its handler
	oneWay bool // its lane bounds how many there are, so that the mailbox need not refuse it
	to     sink
	token  uint64

	run     *run // the run it belongs to
	outcome entity.Outcome
	fault   *shard.Error // the handler's, when there is no outcome
	seq     shard.Seq    // of the entity after it
	state   []byte       // snapshot taken after it, nil for none

	grounds
	joined *call // a list of its duplicates, which get the same answer
}

// grounds are what an answer waits for.
type grounds struct {
	at      shard.LSN     // its record, or for a read the newest record it may have seen
	read    bool          // there is no record
	round   uint64        // for a read, the round that has to be verified; 0: none was begun, the lease has to run
	expires time.Duration // on the region's clock, when an unconfirmed output becomes unknown
}

// size is what the command counts for against limits on bytes.
func (c *routed) size() int { return len(c.env.Payload) + len(c.env.Entity) + len(c.env.Command) }

// digest is that of its envelope.
func (c *call) digest() uint64 {
	if c.outcome.Digest != 0 { // it was made when the handler ran
		return c.outcome.Digest
	}
	return c.env.Digest()
}

// reply answers the call and its duplicates.
func (c *call) reply(reply []byte, fault *shard.Error) {
	for c != nil {
		next := c.joined // once it is answered its sender may use the call again
		if c.tell {
			c.to.answer(c.token, nil, fault)
		} else {
			c.to.answer(c.token, reply, fault)
		}
		c = next
	}
}

// join adds a duplicate that waits for the same answer.
func (c *call) join(twin *call) {
	twin.joined, c.joined = c.joined, twin
}

// late reports whether the caller no longer waits.
func (c *routed) late() bool { return !c.deadline.IsZero() && time.Now().After(c.deadline) }
