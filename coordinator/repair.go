package coordinator

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// repair drops a log that contradicts the newest snapshot, and reports whether it did.
//
// A leader that crashed with entries no majority had can come back when the others have taken a snapshot past them. Raft
// installs that snapshot and keeps the log, looks up the entry at the snapshot's index in the log, finds another term than the
// leader's, refuses, and is sent the snapshot again, for ever. The entry's term proves that it and all after it were never
// committed, and everything before is in the snapshot. So the whole log goes, before Raft starts.
func repair(s *store, snapshots raft.SnapshotStore) (dropped bool, err error) {
	list, err := snapshots.List()
	if err != nil {
		return false, fmt.Errorf("raft snapshots: %w", err)
	}
	if len(list) == 0 {
		return false, nil
	}
	var l raft.Log
	switch err := s.GetLog(list[0].Index, &l); {
	case errors.Is(err, raft.ErrLogNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("raft log entry %d: %w", list[0].Index, err)
	case l.Term == list[0].Term:
		return false, nil
	}
	first, err := s.FirstIndex()
	if err != nil {
		return false, fmt.Errorf("raft log: %w", err)
	}
	last, err := s.LastIndex()
	if err != nil {
		return false, fmt.Errorf("raft log: %w", err)
	}
	return true, s.DeleteRange(first, last)
}
