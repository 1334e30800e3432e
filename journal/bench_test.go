package journal_test

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

const benchBody = 128

// BenchmarkGroupCommit commits batches of records through the journal, a batch as one write of one copy, and the same encoded
// bytes through bbolt alone, one key per 8 KB, in one run, so that the two can be compared.
func BenchmarkGroupCommit(b *testing.B) {
	for _, batch := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprintf("journal/%d", batch), func(b *testing.B) { benchJournal(b, batch) })
		b.Run(fmt.Sprintf("bbolt/%d", batch), func(b *testing.B) { benchBolt(b, batch) })
	}
}

func benchJournal(b *testing.B, batch int) {
	j := open(b, filepath.Join(b.TempDir(), "journal.db"), journal.Options{})
	create(b, j, 1)
	before := j.Stats()
	rs := records(1, 1, 1, shard.LSN(batch), benchBody)
	for b.Loop() {
		write(b, j, 1, replication.Write{Records: rs})
		for i := range rs {
			rs[i].LSN += shard.LSN(batch)
		}
	}
	reportJournal(b, j, before, b.N*batch)
}

// BenchmarkCallers keeps so many lone records in flight over 48 copies, each copy with one write at a time: how well what
// arrives during a commit gathers for the next.
func BenchmarkCallers(b *testing.B) {
	for _, callers := range []int{64, 1024} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) { benchCallers(b, callers) })
	}
}

func benchCallers(b *testing.B, callers int) {
	j := open(b, filepath.Join(b.TempDir(), "journal.db"), journal.Options{})
	const copies = 48
	var last [copies + 1]shard.LSN
	for c := shard.CopyID(1); c <= copies; c++ {
		create(b, j, c)
	}
	before := j.Stats()
	one := record(1, 1, 1, benchBody)
	free := make(chan error, callers)
	for range callers {
		free <- nil
	}
	for n := 0; b.Loop(); n++ {
		must(b, <-free)
		c := n%copies + 1
		last[c]++
		one.LSN = last[c]
		j.Write(shard.CopyID(c), &replication.Write{Records: []replication.Record{one}}, func(err error) { free <- err })
	}
	for range callers {
		must(b, <-free)
	}
	reportJournal(b, j, before, b.N)
}

func reportJournal(b *testing.B, j *journal.Journal, before journal.Stats, records int) {
	s := j.Stats()
	report(b, records)
	b.ReportMetric(float64(records)/float64(s.Commits-before.Commits), "records/commit")
	b.ReportMetric(float64(s.DiskBytes-before.DiskBytes)/float64(records*benchBody), "disk-bytes/byte")
}

func benchBolt(b *testing.B, batch int) {
	db, err := bolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, &bolt.Options{
		NoFreelistSync: true, FreelistType: bolt.FreelistMapType, InitialMmapSize: 1 << 30,
	})
	must(b, err)
	b.Cleanup(func() { db.Close() })
	must(b, db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("log"))
		return err
	}))
	r := record(1, 1, 1, benchBody)
	entry := r.Append(nil)
	next := uint64(0)
	for b.Loop() {
		must(b, db.Update(func(tx *bolt.Tx) error {
			log := tx.Bucket([]byte("log"))
			log.FillPercent = 0.95
			for left := batch * len(entry); left > 0; left -= journal.ChunkSize {
				next++
				var key [8]byte
				binary.BigEndian.PutUint64(key[:], next)
				if err := log.Put(key[:], make([]byte, min(left, journal.ChunkSize))); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	report(b, b.N*batch)
}

func report(b *testing.B, records int) {
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkSweep reads entities of 100 records each, which stand between those of 10,000 others on 48 copies: so many entities in one
// pass, and each by itself.
func BenchmarkSweep(b *testing.B) {
	const copies, entities, events = 48, 10_000, 100
	const each = entities / copies // entities of a copy, which take turns
	j := open(b, filepath.Join(b.TempDir(), "journal.db"), journal.Options{})
	interleaved(b, j, copies, each*events, benchBody)
	want := func(n int) journal.Want {
		return journal.Want{Copy: shard.CopyID(1 + n%copies), LSNs: every(each, 1+shard.LSN(n/copies), each*events)}
	}
	for _, together := range []int{1, 16, 128, 512} {
		b.Run(fmt.Sprint(together), func(b *testing.B) {
			wants, read := make([]journal.Want, together), 0
			for n := 0; b.Loop(); n++ {
				for i := range wants {
					wants[i] = want((n*together + i) * 7919 % entities)
				}
				j.Sweep(wants, func(int, *replication.Record) error { read++; return nil })
			}
			report(b, read)
		})
	}
}

// BenchmarkAbsent asks for entities that nobody has written to, as whoever serves a shard does for each new one, beside snapshots of some size.
func BenchmarkAbsent(b *testing.B) {
	for _, size := range []int{100, 4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			j := open(b, filepath.Join(b.TempDir(), "journal.db"), journal.Options{})
			create(b, j, 1)
			const neighbours = 16
			for n := range neighbours {
				k := replication.Key{Kind: replication.KindSnapshot, Entity: shard.EntityID(fmt.Sprintf("entity-%02d", n))}
				must(b, wait(func(done func(error)) { j.Keep(1, []replication.Record{apartRecord(k, 1, size)}, nil, done) }))
			}
			n := 0
			for b.Loop() {
				n++
				if _, ok, err := j.Entity(1, shard.EntityID(fmt.Sprintf("entity-%02d-new", n%neighbours))); ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
