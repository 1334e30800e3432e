package coordinator

import (
	"fmt"
	"time"

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
