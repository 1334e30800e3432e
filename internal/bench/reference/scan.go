package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"

	"muster/internal/load"
)

// scan reads records back from bbolt: a seek to the first of an entity's, and the next hundred. It is the limit of replay.
type scan struct {
	db   *bolt.DB
	seen atomic.Uint64 // bytes, so that they are looked at
}

const recordsEach = 100

func newScan(dir string) (reference, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	db, err := bolt.Open(filepath.Join(dir, "scan.db"), 0o600, &bolt.Options{NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	return &scan{db: db}, db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket(logBucket)
		if err != nil {
			return err
		}
		b.FillPercent = 0.95
		for i := range keys * recordsEach {
			if err := b.Put(binary.BigEndian.AppendUint64(nil, uint64(i)), make([]byte, eventSize)); err != nil {
				return err
			}
		}
		return nil
	})
}

// run counts records.
func (s *scan) run(r load.Request) (*load.Sample, error) {
	sample := r.Loop.Run(context.Background(), func(_ context.Context, caller, n int) error {
		first := binary.BigEndian.AppendUint64(nil, uint64((caller*7919+n*104_729)%keys*recordsEach))
		return s.db.View(func(tx *bolt.Tx) error {
			c := tx.Bucket(logBucket).Cursor()
			k, v := c.Seek(first)
			if !bytes.Equal(k, first) {
				return fmt.Errorf("record %x is not there", first)
			}
			sum, count := 0, 0
			for ; k != nil && count < recordsEach; k, v = c.Next() {
				sum, count = sum+len(v), count+1
			}
			s.seen.Add(uint64(sum))
			return nil
		})
	})
	sample.Ops, sample.Late = sample.Ops*recordsEach, sample.Late*recordsEach
	return sample, nil
}

func (s *scan) close() { s.db.Close() }
