package journal_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

const (
	openCopies = 48
	openLog    = 4096 // live records of each copy
	openState  = 100  // bytes of an entity's snapshot
)

// BenchmarkOpen opens a journal of 48 copies that keep so many entities apart, each copy with a log of 4,096 records, which it shows to
// whoever has to know them.
func BenchmarkOpen(b *testing.B) {
	for _, entities := range []int{0, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(entities), func(b *testing.B) { benchOpen(b, entities) })
	}
}

func benchOpen(b *testing.B, entities int) {
	path := filepath.Join(b.TempDir(), "journal.db")
	fillOpen(b, path, entities)
	var heap uint64
	for b.Loop() {
		before := heapBytes()
		var shown atomic.Int64
		j, err := journal.Open(path, journal.Options{Reader: func(shard.CopyID) journal.LogReader {
			return journal.LogReader{Record: func(*replication.Record) { shown.Add(1) }}
		}})
		must(b, err)
		heap = heapBytes() - before
		must(b, j.Close())
		if n := shown.Load(); n != openCopies*openLog {
			b.Fatalf("%d records were shown", n)
		}
	}
	b.ReportMetric(float64(heap)/(openCopies*openLog), "heap-bytes/record")
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func account(n int) replication.Record {
	return snapshot(shard.EntityID(fmt.Sprintf("account-%08d", n)), openState)
}

// fillOpen compacts a log of each copy away, keeps its entities apart and appends a live log.
func fillOpen(b *testing.B, path string, entities int) {
	j := open(b, path, journal.Options{})
	for c := shard.CopyID(1); c <= openCopies; c++ {
		create(b, j, c)
		write(b, j, c, replication.Write{Promise: 1, Records: records(c, 1, 1, 64, benchBody), Confirmed: 64})
		must(b, wait(func(done func(error)) { j.Start(c, 64, done) }))
	}
	const slice = 1000
	names := rand.New(rand.NewPCG(1, 2)).Perm(entities) // entities are compacted in no order
	for n := 0; n < entities; n += slice {
		kept := make([]replication.Record, 0, slice)
		for _, name := range names[n : n+slice] {
			kept = append(kept, account(name))
		}
		must(b, wait(func(done func(error)) { j.Keep(shard.CopyID(1+n/slice%openCopies), kept, nil, done) }))
	}
	const batch = 64
	for lsn := shard.LSN(65); lsn <= 64+openLog; lsn += batch {
		done := make(chan error, openCopies)
		for c := shard.CopyID(1); c <= openCopies; c++ {
			w := replication.Write{Records: records(c, 1, lsn, lsn+batch-1, benchBody), Confirmed: lsn - 1}
			j.Write(c, &w, func(err error) { done <- err })
		}
		for range openCopies {
			must(b, <-done)
		}
	}
	must(b, j.Close())
}

// BenchmarkKeep keeps snapshots of entities apart, in slices as a host would, among so many others: what a record costs, and
// how many bytes are written for each byte of it, because every slice rewrites the pages its keys stand on.
func BenchmarkKeep(b *testing.B) {
	for _, c := range []struct{ entities, slice int }{{10_000, 64}, {1_000_000, 64}, {1_000_000, 1000}} {
		b.Run(fmt.Sprintf("entities=%d/slice=%d", c.entities, c.slice), func(b *testing.B) { benchKeep(b, c.entities, c.slice) })
	}
}

func benchKeep(b *testing.B, entities, slice int) {
	path := filepath.Join(b.TempDir(), "journal.db")
	fillOpen(b, path, entities)
	j := open(b, path, journal.Options{})
	before := j.Stats()
	size, n := 0, 0
	for b.Loop() {
		kept := make([]replication.Record, 0, slice)
		for range slice {
			n = (n + 7919) % entities // prime: no two of a slice stand close together
			kept = append(kept, account(n))
			size += kept[len(kept)-1].EncodedSize()
		}
		must(b, wait(func(done func(error)) { j.Keep(shard.CopyID(1+n/1000%openCopies), kept, nil, done) }))
	}
	s := j.Stats()
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*slice), "µs/record")
	b.ReportMetric(float64(s.DiskBytes-before.DiskBytes)/float64(size), "disk-bytes/byte")
}
