// Package chaos runs groups of real processes, hurts them under load, and checks afterwards what they confirmed.
//
// The processes are this package's own test binary, started again with an environment variable that turns it into a node
// (see RunNode). A driver in the test's process is a member of the group that hosts nothing: it has a session of its own, so a
// command that it retries across a failover takes effect once, and that is one of the things checked.
//
// What is hurt: processes are killed, one and all; stopped and continued; cut off from some and not from others; their data
// directories are removed; their disks hang, fill up and fail; shards are moved all the time; nodes are drained. What is checked: every
// answer and every read against the books at the end, and that the run was worth it: enough was confirmed before, and the fault
// was there.
//
//	go test ./internal/chaos                  each scenario once, in seconds
//	make chaos                                ten rounds of each, and five minutes of moves
//	make chaos ROUNDS=100 RUN=TestPartitions  one of them, for long
package chaos

import (
	"time"

	"muster/entity"
)

// Book is an entity that remembers in order every id that was ever entered, so a lost, doubled or reordered event is
// visible in it for ever.
type Book struct{ Entries []string }

// Entered is the event, Enter and Read the commands.
type (
	Entered struct{ ID string }
	Enter   struct{ ID string }
	Read    struct{}
)

// Shards is the number of shards of the books, few enough to watch each one's outage.
const Shards = 16

var books = entity.Define[Book]("book", entity.Shards(Shards), entity.Replicate(2, 1, 5*time.Second), entity.SnapshotEvery(50))

var entered = entity.On(books, "entered", func(b *Book, e Entered) { b.Entries = append(b.Entries, e.ID) })

// EnterBook enters an id and answers with its place in the book, from 1.
var EnterBook = entity.Handle(books, "enter", func(c *entity.Context[Book], e Enter) (int, error) {
	entered.Record(c, Entered(e))
	return len(c.State().Entries), nil
})

// ReadBook answers with everything in the book.
var ReadBook = entity.Handle(books, "read", func(c *entity.Context[Book], _ Read) ([]string, error) {
	return c.State().Entries, nil
})
