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

// BenchmarkGroupCommit commits batches of records through the journal, spread over 48 copies, and the same encoded bytes
// through bbolt alone, one key per 8 KB, in one run, so that the two can be compared.
func BenchmarkGroupCommit(b *testing.B) {
	for _, batch := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprintf("journal/%d", batch), func(b *testing.B) { benchJournal(b, batch) })
		b.Run(fmt.Sprintf("bbolt/%d", batch), func(b *testing.B) { benchBolt(b, batch) })
	}
}

func benchJournal(b *testing.B, batch int) {
	j := open(b, filepath.Join(b.TempDir(), "journal.db"), journal.Options{})
	const copies = 48
	for c := shard.CopyID(1); c <= copies; c++ {
		create(b, j, c)
	}
	before := j.Stats()
	var last [copies + 1]shard.LSN
	done := make(chan error, batch)
	for b.Loop() {
		per := max(1, batch/copies) // a copy's records of one drain come as one write
		writes := 0
		for n, c := 0, shard.CopyID(1); n < batch; c = c%copies + 1 {
			size := min(per, batch-n)
			w := replication.Write{Records: records(c, 1, last[c]+1, last[c]+shard.LSN(size), benchBody)}
			last[c] += shard.LSN(size)
			n += size
			writes++
			j.Write(c, &w, func(err error) { done <- err })
		}
		for range writes {
			must(b, <-done)
		}
	}
	s := j.Stats()
	report(b, batch)
	b.ReportMetric(float64(s.Commits-before.Commits)/float64(b.N), "commits/op")
	b.ReportMetric(float64(s.DiskBytes-before.DiskBytes)/float64(b.N*batch*benchBody), "disk-bytes/byte")
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
	report(b, batch)
}

func report(b *testing.B, batch int) {
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "records/s")
}
