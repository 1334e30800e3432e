package replication

import (
	"slices"

	"muster/shard"
)

// Ticket numbers the writes of one Copy from 1.
type Ticket uint64

// Effects is what the owner of a Copy does after a call. The order of the fields is the order of execution.
type Effects struct {
	// Deposed says that this copy no longer leads: drop the cells and the Appends under way; the outcome of waiting outputs
	// is unknown. It comes first, and before any Merge: the same Append that deposes a primary may teach it a Confirmed of
	// the next epoch, which says nothing about outputs of its own.
	Deposed bool

	Write   *Write     // hand to the journal; answered by Durable
	Appends []Outgoing // may leave before the write is synced: the primary counts itself only afterwards
	// Peers whose logs end below the start of this one: send them the shard snapshot, and Install when all of it is staged
	// there. Told again while they are silent. Void, like Appends, once the copy is deposed.
	Installs []Install

	Acks   []Ack  // to the primary of their epoch
	Nacks  []Nack // to the sender of the refused Append
	Sealed []shard.Sealed

	Confirmed   shard.LSN // 0 is unchanged; outputs that saw no more than this may leave
	Round       uint64    // 0 is unchanged; rounds up to it are verified
	Established bool      // w copies hold the epoch-start record: report it until the map shows the effect
}

// Write is a change of what the journal holds of one copy. It is applied whole or not at all, in the order Promise,
// Install, Truncate, Records, and it is followed by one sync.
type Write struct {
	Ticket    Ticket
	Promise   shard.Epoch    // 0 is unchanged
	Install   shard.Position // the shard snapshot staged for this position replaces the log and what is apart; zero is none
	Truncate  shard.LSN      // remove the records from here on; 0 is none
	Records   []Record
	Confirmed shard.LSN // what is known to be confirmed; a hint that costs no write of its own
}

// Outgoing is an Append on its way to a peer. Its Records are nil: the owner fills in the records after Prev up to
// Through, from memory or the journal, and may split them into several Appends, each with its own Prev. An Outgoing is
// void once the copy is deposed.
type Outgoing struct {
	Append
	Through shard.LSN
}

// Merge adds the effects of a later call, so that several calls are carried out at once: one write whose ticket answers
// for all, one message per peer where positions follow one another, the newest of each cumulative answer.
func (e *Effects) Merge(later Effects) {
	e.Write = mergeWrites(e.Write, later.Write)
	for i := range later.Appends {
		e.addAppend(&later.Appends[i])
	}
	for _, i := range later.Installs {
		e.addInstall(i)
	}
	for _, a := range later.Acks {
		e.addAck(a)
	}
	e.Nacks = append(e.Nacks, later.Nacks...)
	e.Sealed = append(e.Sealed, later.Sealed...)
	e.Confirmed = max(e.Confirmed, later.Confirmed)
	e.Round = max(e.Round, later.Round)
	e.Established = e.Established || later.Established
	e.Deposed = e.Deposed || later.Deposed
}

// Reset empties e and keeps memory of what is in most effects, for those of the next calls.
func (e *Effects) Reset() {
	clear(e.Appends)
	*e = Effects{Appends: e.Appends[:0], Acks: e.Acks[:0]}
}

// mergeWrites makes one write of two that follow one another. What the second one truncates or replaces of the first is
// never written. The first write's slice may grow in place: nobody else appends to it.
func mergeWrites(a, b *Write) *Write {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	if b.Install.LSN != 0 {
		a.Install, a.Truncate, a.Records = b.Install, 0, nil
	}
	if b.Truncate != 0 {
		a.truncate(b.Truncate)
	}
	a.Ticket = b.Ticket
	a.Promise = max(a.Promise, b.Promise)
	a.Records = append(a.Records, b.Records...)
	a.Confirmed = max(a.Confirmed, b.Confirmed)
	return a
}

// truncate takes the records from lsn on back, those that a itself brings, or those that were there before.
func (a *Write) truncate(lsn shard.LSN) {
	keep := slices.IndexFunc(a.Records, func(r Record) bool { return r.LSN >= lsn })
	if keep >= 0 {
		a.Records = a.Records[:keep:keep]
	}
	within := keep > 0 // what was there before ends below lsn
	if !within && (a.Truncate == 0 || lsn < a.Truncate) {
		a.Truncate = lsn
	}
}

// addInstall keeps the newest for each peer.
func (e *Effects) addInstall(i Install) {
	e.Installs = slices.DeleteFunc(e.Installs, func(older Install) bool { return older.To == i.To })
	e.Installs = append(e.Installs, i)
}

func (e *Effects) addAppend(o *Outgoing) {
	for i := len(e.Appends) - 1; i >= 0; i-- {
		p := &e.Appends[i]
		if p.To != o.To {
			continue
		}
		if p.Epoch != o.Epoch || p.Through != o.Prev.LSN {
			break
		}
		p.Through = o.Through
		p.Confirmed = max(p.Confirmed, o.Confirmed)
		p.Version = max(p.Version, o.Version)
		p.Round = max(p.Round, o.Round)
		return
	}
	e.Appends = append(e.Appends, *o)
}

func (e *Effects) addAck(a Ack) {
	if n := len(e.Acks); n > 0 && e.Acks[n-1].Epoch == a.Epoch {
		last := &e.Acks[n-1]
		last.LSN, last.Round = max(last.LSN, a.LSN), max(last.Round, a.Round)
		return
	}
	e.Acks = append(e.Acks, a)
}
