package replication

import (
	"fmt"
	"time"

	"muster/shard"
)

// TickInterval is how often the owner calls Tick.
const TickInterval = 100 * time.Millisecond

// Times, in ticks.
const (
	ProbeTicks = 3  // silence before a peer that owes an answer is asked again; doubled each time
	MaxProbe   = 10 // the longest silence between two questions

	LearnerTicks = 50 // for so long a learner that never holds all that is confirmed has kept up when it may join
)

// Limits.
const (
	MaxInFlight    = 4096   // records sent to a peer and not acknowledged; more wait for its Ack
	MaxUnconfirmed = 65_536 // records proposed and not confirmed; Propose refuses with CodeOverloaded
)

// State is what the journal holds durably of one copy, synced before it is given to Open.
type State struct {
	Copy      shard.CopyID
	Promised  shard.Epoch
	Base      shard.Position // right before the log's first record; confirmed. Zero for a log from LSN 1 on
	Last      shard.Position // Base for an empty log
	History   shard.History  // from Base on, as if its epoch began there
	Confirmed shard.LSN      // Base or more
}

// Check reports a state that no run of the protocol leaves behind: rot, or a defect.
func (s State) Check() error {
	l := s.log()
	if s.Copy == 0 {
		return fmt.Errorf("state without a copy id")
	}
	return l.check()
}

func (s State) log() log {
	return log{
		promised: s.Promised, kept: s.Promised, base: s.Base, last: s.Last, history: s.History,
		confirmed: s.Confirmed, durable: s.Last.LSN,
	}
}

// Copy is the protocol of one copy of one shard: a replica until it is told to lead, and then a primary.
//
// One promise fences everything: a copy takes nothing of an epoch below promised, and every answer that rests on a
// promise or a record leaves after the write that made it durable.
//
// Invariant: it leads only the epoch it has promised, and the log then ends in that epoch. See Check.
//
// Rejected: two types, Replica and Primary, that turn into each other. Sealing, durability and the log belong to both,
// and a write under way survives the change of role.
type Copy struct {
	shard shard.ID
	id    shard.CopyID
	log   log

	following following   // what the primary of the promised epoch was told; zero while there is none
	sealing   sealing     // the Sealed that waits for the disk
	leading   *leading    // nil unless this process leads
	led       shard.Epoch // the newest epoch this process led, 0 for none
	rounds    uint64      // rounds of confirmed reads this process began
}

// sealing is an answer to a Seal and the write it waits for.
type sealing struct {
	answer shard.Sealed
	after  Ticket
	waits  bool
}

// Open returns the copy whose durable state is given. It is a replica.
func Open(id shard.ID, s State) *Copy {
	return &Copy{shard: id, id: s.Copy, log: s.log()}
}

// Durable says that every write up to t is synced. Whatever waited for it leaves now.
func (c *Copy) Durable(t Ticket) Effects {
	var e Effects
	c.log.synced(t)
	if c.leading != nil {
		c.confirm(&e)
	}
	c.answer(&e)
	c.finishSeal(&e)
	return e
}

// Seal asks the copy to promise epoch and to take nothing lower from now on. It stops leading a lower epoch at once; the
// Sealed leaves in these or later Effects, when the promise and every record taken before are durable. An epoch below
// the promise is answered with a Fault, and so is a Seal that still waits when a higher one comes. A repeated Seal is answered again, and so is one of the epoch the copy follows
// or leads by now: the coordinator drops answers of an election that is over.
func (c *Copy) Seal(epoch shard.Epoch) Effects {
	var e Effects
	if epoch < c.log.promised {
		e.Sealed = []shard.Sealed{c.outdated(epoch)}
		return e
	}
	if c.promise(epoch, &e) {
		e.Write = c.log.write(Write{Promise: epoch})
	}
	if !c.sealing.waits || c.sealing.answer.Epoch != epoch {
		if c.sealing.waits { // nobody elects by it any more, and somebody waits
			e.Sealed = append(e.Sealed, c.outdated(c.sealing.answer.Epoch))
		}
		c.sealing = sealing{answer: c.sealed(epoch), after: c.log.tickets, waits: true}
	}
	c.finishSeal(&e)
	return e
}

// outdated is the answer to a Seal of an epoch below the promise.
func (c *Copy) outdated(epoch shard.Epoch) shard.Sealed {
	fault := c.fault(shard.CodeConflict, c.log.promised, "copy %d has promised epoch %d", c.id, c.log.promised)
	return shard.Sealed{Shard: c.shard, Copy: c.id, Epoch: epoch, Fault: fault}
}

// sealed describes the log as it is now. Records of the epoch itself may follow before the answer leaves; they are not
// part of it, because they may be under way to the disk.
func (c *Copy) sealed(epoch shard.Epoch) shard.Sealed {
	return shard.Sealed{
		Shard: c.shard, Copy: c.id, Epoch: epoch,
		Last: c.log.last, History: c.log.history, Confirmed: c.log.confirmed,
		Led: c.led != 0 && c.led < epoch,
	}
}

func (c *Copy) finishSeal(e *Effects) {
	if c.sealing.waits && c.log.settled(c.sealing.after) {
		e.Sealed = append(e.Sealed, c.sealing.answer)
		c.sealing = sealing{}
	}
}

// Follow says that the map has another primary, or none, in epoch: a copy that leads this or a lower epoch stops. It
// promises nothing; the Seal or the new primary's first Append does. A map older than what the copy leads is ignored.
func (c *Copy) Follow(epoch shard.Epoch) Effects {
	var e Effects
	if c.leading != nil && c.leading.Epoch <= epoch {
		c.stop(&e)
	}
	return e
}

// promise raises the promise in memory; the caller writes it when the answer is true. Whatever was said to the primary of
// a lower epoch is forgotten, so no Ack of it leaves any more, not even for a write under way.
func (c *Copy) promise(epoch shard.Epoch, e *Effects) bool {
	if epoch <= c.log.promised {
		return false
	}
	c.log.promised = epoch
	c.following = following{}
	c.stop(e)
	return true
}

// stop ends this process's leadership. What it wrote stays in its log, unconfirmed, for the next primary to keep or cut.
func (c *Copy) stop(e *Effects) {
	if c.leading != nil {
		c.leading = nil
		e.Deposed = true
	}
}

// fault is an error about this copy's shard.
func (c *Copy) fault(code shard.Code, epoch shard.Epoch, format string, args ...any) *shard.Error {
	err := shard.Errorf(code, format, args...)
	err.Shard, err.Epoch = c.shard, epoch
	return err
}
