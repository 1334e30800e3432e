package replication

import "muster/shard"

// Append carries records of one epoch's primary to one copy. Without records it asks the copy to acknowledge what it
// holds: a probe after silence, the carrier of a confirmed position, or a round of confirmed reads.
type Append struct {
	Shard     shard.ID
	Epoch     shard.Epoch
	From      shard.CopyID // the primary's copy
	To        shard.CopyID
	Prev      shard.Position // what must stand right before the first record
	Records   []Record       // positions Prev.LSN+1, Prev.LSN+2, …
	Confirmed shard.LSN
	Version   shard.ConfigVersion
	Round     uint64 // 0, or a round of confirmed reads that the Ack repeats
}

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
	History  shard.History // the newest epochs of the copy's log, at most MaxHistoryTail
}

// Why is the reason of a Nack.
type Why uint8

const (
	StaleEpoch Why = iota + 1 // the copy has promised a higher epoch
	WrongCopy                 // another copy lives here, or none
	Gap                       // Prev is beyond the copy's log
	Conflict                  // the copy holds another record at Prev
)
