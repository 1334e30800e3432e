// Package replication is the protocol that keeps the copies of one shard the same: Raft's log replication with a leader
// that the control group names, and with quorums that are explicit numbers.
//
// # Shape
//
// A Copy is a state machine. Its owner feeds it messages of other copies, answers of the journal, words of the map and
// ticks; each call returns Effects, and the owner carries them out in the order of the fields. Nothing in the package
// reads a clock, starts a goroutine, takes a lock, logs or does I/O, so a test can drive it through every interleaving.
// A Copy is not safe for concurrent use: one goroutine owns it.
//
//	e := c.Propose(records)      // or Append, Ack, Nack, Offer, Install, Start, Seal, Lead, Activate, Follow, Configure,
//	                             // StepDown, Durable, Tick, Read
//	journal.Write(e.Write)       // later: c.Durable(e.Write.Ticket)
//	send(e.Appends, e.Acks, …)   // at once, the write may still be under way
//
// Several Effects may be merged and carried out once (Effects.Merge): that is how a burst of commands becomes one
// journal write and one message per peer.
//
// # Contract with the journal
//
// Writes are applied in the order they were handed over, each whole or not at all, and Durable is called when one is
// synced. Durable(t) means every write with a ticket up to t. A write that cannot be synced is never answered: the node
// stops for good. What Open is given was synced before.
//
// # Contract with the network
//
// Messages may be lost, repeated, delayed and reordered. A message that was sent by a copy's earlier process, or in an
// earlier epoch, is recognised by its epoch.
//
// # Contract with the map
//
// A copy leads an epoch only when Lead is called, and the owner calls it only when the newest map names the present
// session of this process in that epoch. It serves only after Activate, and when w copies hold its epoch-start record. The rest follows from epochs: once a copy has
// promised an epoch it takes nothing from a lower one, and w copies of C (the in-sync set, the primary among them) hold
// every confirmed record, so the |C|−w+1 copies that answer a Seal always include one that has it.
//
// # What each part promises
//
//   - An Ack of n means: every record up to n is durable here, and is what the primary of that epoch has there.
//   - A Sealed means: the promise and everything up to Last is durable, and no Ack of a lower epoch leaves afterwards.
//   - Confirmed n means: at least w members of C hold every record up to n, the primary among them, in an epoch that the
//     control group has activated. It never goes back and no truncation crosses it.
//   - Round k means: after the read began, w members of C still followed this primary.
package replication
