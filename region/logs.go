package region

import (
	"fmt"
	"sync"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

// Logs gathers what a region has to know of the logs of its copies while the journal reads them, so that they are read once, each
// record decoded once. Give its Reader to journal.Open, and it to New. Safe for concurrent use.
//
// Rejected: reading the logs again, copy by copy, once the journal is open. Records of a copy stand between those of all others, and a
// node with a million entities spent two thirds of its start on that.
type Logs struct {
	mu struct {
		sync.Mutex
		indexes map[shard.CopyID]*index
	}
}

// NewLogs returns an empty one, for one opening of a journal.
func NewLogs() *Logs {
	l := &Logs{}
	l.mu.indexes = map[shard.CopyID]*index{}
	return l
}

// Reader is a journal.Options.Reader.
func (l *Logs) Reader(copy shard.CopyID) journal.LogReader {
	x := newIndex()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.indexes[copy] = &x
	return journal.LogReader{Record: x.note, Truncate: x.truncate}
}

// take hands over what was gathered of the copies, once.
func (l *Logs) take(all []journal.CopyState) (map[shard.CopyID]index, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := map[shard.CopyID]index{}
	for _, s := range all {
		x := l.mu.indexes[s.State.Copy]
		if x == nil {
			return nil, fmt.Errorf("the log of copy %d was not shown to this region when the journal was opened", s.State.Copy)
		}
		taken[s.State.Copy] = *x
	}
	l.mu.indexes = nil
	return taken, nil
}

// index is what a host knows of its copy's records: where each entity's are, which request left which, how long they are.
type index struct {
	heads    heads
	requests requests
	length   length
}

func newIndex() index { return index{requests: newRequests()} }

// note takes a record into account that was appended to the log.
func (x *index) note(r *replication.Record) {
	x.heads.note(r)
	x.requests.note(r)
	x.length.add(r)
}

// truncate forgets the records from lsn on.
func (x *index) truncate(lsn shard.LSN) {
	x.heads.truncate(lsn)
	x.requests.truncate(lsn)
	x.length.truncate(lsn)
}
