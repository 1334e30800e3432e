package journal

import "time"

// Stats counts what the journal has done since Open. A durable figure means something only beside Syncs.
type Stats struct {
	Commits       uint64
	Syncs         uint64 // at least: two per commit, one at Open
	Writes        uint64 // calls that a commit carried
	Records       uint64
	Moved         uint64 // records written again to free the front of the file
	Bytes         uint64 // of the log's values
	DiskBytes     uint64 // pages written, bbolt's own included
	LongestCommit time.Duration
	Copies        int // now
	Backlog       int // now, bytes
	LogKeys       int // now: of the log, each up to ChunkSize bytes; how many of them are needed the copies' Span tells
}

// Stats returns the counters.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.mu.stats
	s.Backlog, s.LogKeys = j.mu.queued, int(j.mu.next-j.mu.front)
	return s
}

func (s *Stats) add(d Stats) {
	s.Commits += d.Commits
	s.Syncs += d.Syncs
	s.Writes += d.Writes
	s.Records += d.Records
	s.Moved += d.Moved
	s.Bytes += d.Bytes
	s.DiskBytes += d.DiskBytes
	s.LongestCommit = max(s.LongestCommit, d.LongestCommit)
}
