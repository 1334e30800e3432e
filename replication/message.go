package replication

import (
	"fmt"

	"muster/shard"
)

// MaxHistoryTail is how many epochs a Nack tells of. A log with more of them is compared in several steps.
const MaxHistoryTail = 16

// Append carries records of one epoch's primary to one copy. Without records it asks the copy to acknowledge what it
// holds: a probe after silence, the carrier of a confirmed position, or a round of confirmed reads.
type Append struct {
	Shard     shard.ID
	Epoch     shard.Epoch
	From      shard.CopyID // the primary's copy
	To        shard.CopyID
	Prev      shard.Position // what must stand right before the first record
	Records   []Record       // positions Prev.LSN+1, Prev.LSN+2, …; the copy may append to them in place
	Confirmed shard.LSN
	Version   shard.ConfigVersion
	Round     uint64 // 0, or a round of confirmed reads that the Ack repeats
}

// wellFormed reports whether a correct primary could have sent m: its positions follow one another, no epoch goes back
// or is above the primary's own.
func (m *Append) wellFormed() bool {
	at := m.Prev
	if (at.LSN == 0) != (at.Epoch == 0) {
		return false
	}
	for i := range m.Records {
		next := m.Records[i].Position
		if next.LSN != at.LSN+1 || next.Epoch < at.Epoch || next.Epoch == 0 {
			return false
		}
		at = next
	}
	return at.Epoch <= m.Epoch
}

// end is the last position m vouches for.
func (m *Append) end() shard.LSN { return m.Prev.LSN + shard.LSN(len(m.Records)) }

// Ack says: I durably hold the whole prefix up to LSN as the primary of this epoch has it. Cumulative.
type Ack struct {
	Shard shard.ID
	Copy  shard.CopyID
	Epoch shard.Epoch
	LSN   shard.LSN
	Round uint64
}

// Nack says why an Append was not taken. Nothing of it was stored and nothing is acknowledged.
type Nack struct {
	Shard    shard.ID
	Copy     shard.CopyID
	Epoch    shard.Epoch // of the refused Append
	Why      Why
	Promised shard.Epoch
	Last     shard.Position
	History  shard.History // the newest epochs of the copy's log up to the refused Prev, at most MaxHistoryTail
}

// Why is the reason of a Nack. The numbers are part of the wire format.
type Why uint8

const (
	StaleEpoch Why = iota + 1 // the copy has promised a higher epoch
	WrongCopy                 // another copy lives here, or none
	Gap                       // Prev is beyond the copy's log
	Conflict                  // the copy holds another record at Prev
	Impossible                // no correct primary sends this; the sender or the copy is broken
)

func (w Why) String() string {
	names := [...]string{"", "stale epoch", "wrong copy", "gap", "conflict", "impossible"}
	if w == 0 || int(w) >= len(names) {
		return fmt.Sprintf("unknown(%d)", w)
	}
	return names[w]
}
