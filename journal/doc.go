// Package journal keeps the durable data of all shard copies of one node: one bbolt file, one log in arrival order, one
// group commit for everybody.
//
// # Layout
//
// Four buckets. "journal" names the format and the data directory. "log" maps a counter that rises by one to values of at most
// ChunkSize bytes, each with its length; a value holds whole entries of one commit, and an entry that is larger than a value
// spans consecutive keys of the same commit. An entry is a checksummed header (copy, kind, length) and a payload with a
// checksum of its own: a record, a truncation, or the position up to which the copy knew its records confirmed.
//
// "copies" has one checksummed value per copy: its shard, the epoch it has promised, the position its log starts after (its base)
// and the place where it does. "apart" holds what a copy still needs of the records before: a snapshot per entity and the
// remembered requests per session, as ordinary records under the copy's generation. A shard snapshot on its way in is staged under another
// generation; installing it changes the generation in the copy's value, which is one small write however large the snapshot is.
//
// Keys in arrival order keep the cost of a commit at the bytes it carries: with keys that start with the shard every commit
// rewrites a page per shard, which was measured at ten times the bytes. Where a record stands (16 bytes each) is kept in
// memory and rebuilt by reading the log at Open, so the time to open and the memory grow with the length of the logs; of
// what is apart only keys and checksums are read then. Several goroutines read, each for some of the copies, and show what they read to
// Options.Reader, so that nobody has to read the logs again.
//
// # Giving space back
//
// The file does not shrink, but uses again what was deleted. Keys that no copy's log needs are deleted from the front, a few with each
// commit, and so are replaced generations. A few live records in front of a long file, of a shard that is not written
// to, are written again at the end. While a copy is damaged nothing is deleted.
//
// # Promises
//
// A write is durable when its done function is called with nil; done functions are called in the order of submission. A
// truncation and the records after it become durable together or not at all.
//
// bbolt checks no data and dies of a truncated file, so Open compares the size with what the file says of itself and walks
// its pages with ordinary reads before it lets bbolt map them, then checks every entry of the logs, and of what is apart that nothing is
// missing; the bytes of a record apart are checked when it is read. What rot belongs to is reported damaged and left as it is.
//
// The outcome of a failed commit is not known: in half of the injected failures the data was there. The first error
// stops the journal for good. After a failed sync even a read proves nothing, because the page cache shows what the disk may
// not have; a marker file is left, and the next Open sets the file aside whole and starts an empty one.
package journal
