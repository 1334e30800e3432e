package region

import (
	"cmp"
	"time"

	"muster/journal"
	"muster/shard"
)

// Limits bounds what the region holds. A zero field means its default. Beyond each limit the answer is CodeOverloaded.
type Limits struct {
	Mailbox       int           // commands waiting for one entity; 1,024
	ShardCalls    int           // commands of one shard that are not answered yet; 8,192
	ShardBytes    int           // their payloads; 32 MiB
	Buffered      int           // envelopes of this node that wait for a shard's owner; 65,536
	BufferedBytes int           // their payloads; 64 MiB
	Cells         int           // entities of one shard kept in memory; idle ones beyond it are dropped and reloaded; 16,384
	VolatileCells int           // entities of one volatile shard, which cannot be reloaded; 1,048,576
	Handlers      int           // handlers running at once, but for those that wait for what they ask this process's nodes; 1,024
	Log           int           // records of a shard's log; beyond it the older ones are put apart; 65,536
	LogBytes      int           // the same in bytes, about; 32 MiB
	Tail          int           // bytes of newest records each led shard keeps for its replicas; 1 MiB
	Snapshot      int           // bytes of an entity's snapshot; larger ones are not taken; 3 MiB
	Timeout       time.Duration // deadline of an Ask or Tell whose context has none; 30 s
	Autonomy      time.Duration // how long a journaled shard goes on confirming without a lease; shard.Autonomy
}

const (
	maxOpen        = 1024             // open request numbers of one session and shard, part of the protocol
	maxFrame       = 256 << 10        // bytes of envelopes or records gathered into one frame
	maxOneWays     = 1024             // one-way commands in a lane: those that wait at the sender, and those under way at the owner
	maxOneWayBytes = 1 << 20          // and their bytes
	droppedPause   = 10 * time.Second // between two words on dropped commands
	maxBacklog     = 64 << 20         // bytes of records queued for one peer
	tickInterval   = 100 * time.Millisecond
	reportAgain    = 500 * time.Millisecond
	everyHost      = time.Minute      // hosts that wait for nothing get a tick this rarely, to forget old sessions
	maxUnsettled   = 16_384           // records of a shard that are not confirmed; more are refused before they run
	sessionMemory  = 10 * time.Minute // how long the requests of a session that is over are remembered
	backoffLeast   = 50 * time.Millisecond
	backoffMost    = time.Second
	retryPause     = 5 * time.Millisecond
	lastAsks       = 2 * time.Second          // how long a region that closes lets what was asked through it find the next owner
	unownedPause   = 100 * time.Millisecond   // how long an envelope waits for a newer map before it is routed anew
	maxKeptReply   = 4 << 10                  // bytes of a reply without a record that is kept for a duplicate
	maxSpan        = 256 << 20                // bytes of the journal's file that a copy may hold back with a few old records
	maxCold        = 64                       // entities whose snapshots are taken in one step, for the log's sake
	coldTogether   = 16                       // of these, in memory at once
	maxColdBytes   = 1 << 20                  // their states; what is beyond waits for the next step
	compactAgain   = time.Second              // after a step of a compaction that led to nothing
	compactFailed  = 10 * time.Second         // after one that failed
	maxUpkeep      = 4 << 20                  // bytes waiting for the journal beyond which no compaction goes on
	partBytes      = journal.MaxKeepBytes / 2 // bytes of records in one part of a shard snapshot
	partsInFlight  = 2                        // parts sent to a peer and not answered
	fillPatience   = 10 * time.Second         // how long a peer may do nothing about a snapshot before the log's start moves on
)

func (l Limits) withDefaults() Limits {
	l.Mailbox = cmp.Or(l.Mailbox, 1024)
	l.ShardCalls = cmp.Or(l.ShardCalls, 8192)
	l.ShardBytes = cmp.Or(l.ShardBytes, 32<<20)
	l.Buffered = cmp.Or(l.Buffered, 65_536)
	l.BufferedBytes = cmp.Or(l.BufferedBytes, 64<<20)
	l.Cells = cmp.Or(l.Cells, 16_384)
	l.VolatileCells = cmp.Or(l.VolatileCells, 1<<20)
	l.Handlers = cmp.Or(l.Handlers, 1024)
	l.Log = cmp.Or(l.Log, 65_536)
	l.LogBytes = cmp.Or(l.LogBytes, 32<<20)
	l.Tail = cmp.Or(l.Tail, 1<<20)
	l.Snapshot = cmp.Or(l.Snapshot, 3<<20)
	l.Timeout = cmp.Or(l.Timeout, 30*time.Second)
	l.Autonomy = cmp.Or(l.Autonomy, shard.Autonomy)
	return l
}
