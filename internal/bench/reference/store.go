package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// A store makes bytes durable, in order; one goroutine uses it. flushes counts its fsyncs.
type store interface {
	commit(b []byte) error
	flushes() int64
}

func openStore(dir, form string) (store, error) {
	if form == "log" {
		f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY, 0o600)
		return &logStore{file: f}, err
	}
	db, err := bolt.Open(filepath.Join(dir, "bare.db"), 0o600, &bolt.Options{
		NoFreelistSync: true, FreelistType: bolt.FreelistMapType, InitialMmapSize: 4 << 30,
	})
	if err != nil {
		return nil, err
	}
	db.AllocSize = 64 << 20
	return &boltStore{db: db}, db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(logBucket)
		return err
	})
}

// boltStore keeps the bytes in bbolt as Muster's journal does, in values of at most chunk bytes under rising keys.
type boltStore struct {
	db    *bolt.DB
	next  uint64
	syncs atomic.Int64
}

var logBucket = []byte("log")

const chunk = 8 << 10

func (s *boltStore) commit(b []byte) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		log := tx.Bucket(logBucket)
		log.FillPercent = 0.95
		for len(b) > 0 {
			n := min(len(b), chunk)
			s.next++
			if err := log.Put(binary.BigEndian.AppendUint64(nil, s.next), b[:n]); err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	})
	s.syncs.Add(2) // the pages, then the meta page
	return err
}

func (s *boltStore) flushes() int64 { return s.syncs.Load() }

// logStore appends the bytes to a file.
type logStore struct {
	file  *os.File
	syncs atomic.Int64
}

func (s *logStore) commit(b []byte) error {
	if _, err := s.file.Write(b); err != nil {
		return err
	}
	s.syncs.Add(1)
	return syscall.Fdatasync(int(s.file.Fd()))
}

func (s *logStore) flushes() int64 { return s.syncs.Load() }
