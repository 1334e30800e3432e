package coordinator

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

const openTimeout = 2 * time.Second // for bbolt's own file lock; the directory's lock was taken before

// openBolt opens Raft's log and votes. No other file knows which store lies underneath.
func openBolt(path string) (backend, error) {
	b, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:         openTimeout,
			NoFreelistSync:  true,
			FreelistType:    bbolt.FreelistMapType,
			InitialMmapSize: 64 << 20, // remapping stalls writers
		},
	})
	if err != nil {
		return nil, fmt.Errorf("raft log %s: %w", path, err)
	}
	return b, nil
}

// raftStore is the store as Raft's own goroutines see it. Where Raft would answer an error of its store with a panic, and
// so take down the program that embeds the node, the goroutine that asked ends instead: Raft stands still, and the
// poisoned store has the coordinator stop the node.
type raftStore struct{ *store }

// GetLog implements raft.LogStore. That an entry is not there is an ordinary answer.
func (s raftStore) GetLog(index uint64, l *raft.Log) error {
	err := s.store.GetLog(index, l)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		s.poison(fmt.Errorf("the raft store failed to read entry %d: %w", index, err))
		runtime.Goexit()
	}
	return err
}

// SetUint64 implements raft.StableStore.
func (s raftStore) SetUint64(key []byte, value uint64) error {
	err := s.store.SetUint64(key, value)
	if err != nil {
		runtime.Goexit() // write has poisoned the store
	}
	return nil
}
