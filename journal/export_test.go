package journal

import bolt "go.etcd.io/bbolt"

// FailCommits makes every further commit end the way fn says: a disk that fails. Call it while nothing is queued.
func FailCommits(j *Journal, fn func(commit func() error) error) {
	real := j.disk.commit
	j.disk.commit = func(tx *bolt.Tx) error { return fn(func() error { return real(tx) }) }
}
