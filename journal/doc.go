// Package journal keeps the durable data of all shard copies of one node: one bbolt file, one log in arrival order, one
// group commit for everybody.
//
// # Layout
//
// Three buckets. "journal" names the format and the data directory. "copies" has one checksummed value per copy: its
// shard and the epoch it has promised. "log" maps a counter that rises by one to values of at most ChunkSize bytes; a value
// holds whole entries of one commit, and an entry that is larger than a value spans consecutive keys of the same commit.
// An entry is a checksummed header (copy, kind, length) and a payload with a checksum of its own: a record, a truncation, or
// the position up to which the copy knew its records confirmed.
//
// Keys in arrival order keep the cost of a commit at the bytes it carries: with keys that start with the shard every commit
// rewrites a page per shard, which was measured at ten times the bytes. Where a record stands (16 bytes each) is kept in
// memory and rebuilt by reading the file at Open, so the time to open and the memory grow with the length of the logs.
//
// # Promises
//
// A write is durable when its done function is called with nil; done functions are called in the order of submission. A
// truncation and the records after it become durable together or not at all.
//
// bbolt checks no data and dies of a truncated file, so Open compares the size with what the file says of itself and walks
// its pages with ordinary reads before it lets bbolt map them, then checks every entry. What a rotten entry belongs to is
// reported damaged and left as it is.
//
// The outcome of a failed commit is not known: in half of the injected failures the data was there. The first error
// stops the journal for good. After a failed sync even a read proves nothing, because the page cache shows what the disk may
// not have; a marker file is left, and the next Open sets the file aside whole and starts an empty one.
package journal
