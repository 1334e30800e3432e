package replication

import "muster/shard"

// Kind tells what a record is to the shard.
type Kind uint8

const (
	KindEpochStart Kind = iota + 1 // the first record of an epoch; no entity
	KindCommand                    // what one command did to one entity: its events and its reply
	KindSnapshot                   // confirmed state of one entity up to Seq
)

// Record is one entry of a shard's log. The protocol looks at Position alone; the rest belongs to the region above it.
//
// One command makes one record, however many events it has, so a command is durable whole or not at all.
type Record struct {
	shard.Position
	Kind    Kind
	Entity  shard.EntityID
	Seq     shard.Seq       // the entity's sequence number after this record; a snapshot repeats that of its state
	Request shard.RequestID // zero for records no request caused
	Floor   uint64          // the lowest number Request.Session still awaits
	Body    []byte          // opaque: entity.Outcome for a command, the encoded state for a snapshot
}
