package journal

import (
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
)

// FailCommits makes every further commit end the way fn says: a disk that fails. Call it while nothing is queued.
func FailCommits(j *Journal, fn func(commit func() error) error) {
	real := j.disk.commit
	j.disk.commit = func(tx *bolt.Tx) error { return fn(func() error { return real(tx) }) }
}

// Hurry makes the journal give space back after a few keys, so that a small test meets all of it. Call it while nothing is queued.
func Hurry(j *Journal) {
	j.space.pace = pace{judgeEvery: 2, tidy: 1, tidyPerKey: 2, moveSpan: 12, moveFactor: 2, moveBytes: 6000}
}

// Kept is what the file holds of the log: keys from front on, and how many generations wait to be deleted.
type Kept struct {
	Front, Next, Goal uint64
	Stale             int
}

// CheckSpace reports what the journal gave back that somebody needs. Call it while nothing is queued.
func CheckSpace(j *Journal) (Kept, error) {
	s := &j.space
	k := Kept{Front: s.front, Next: j.next, Goal: s.goal, Stale: len(s.stale)}
	if s.front > s.goal || s.goal > j.next || j.mu.front != s.front {
		return k, fmt.Errorf("front %d, published %d, goal %d, next key %d", s.front, j.mu.front, s.goal, j.next)
	}
	for id, l := range j.mu.copies {
		if l.value.from.key < s.goal || (l.places.count > 0 && l.places.first().before(l.value.from)) {
			return k, fmt.Errorf("copy %d begins at %+v, its first record stands at %+v, goal %d", id, l.value.from, l.places.first(), s.goal)
		}
		if n := int(l.durable.last.LSN - l.durable.base.LSN); n != l.places.count || l.places.base != l.durable.base.LSN {
			return k, fmt.Errorf("copy %d: %d places after %d for %+v", id, l.places.count, l.places.base, l.durable)
		}
		size := int64(0)
		for lsn := l.durable.base.LSN + 1; lsn <= l.durable.last.LSN; lsn++ {
			size += int64(l.places.at(lsn).size)
		}
		if size != l.places.bytes {
			return k, fmt.Errorf("copy %d: %d bytes are counted as %d", id, size, l.places.bytes)
		}
	}
	return k, nil
}

// HoldRead begins a read of the file that lasts until release is called: no page that it could see is used again meanwhile.
func HoldRead(j *Journal) (release func() error, err error) {
	tx, err := j.disk.db.Begin(false)
	if err != nil {
		return nil, err
	}
	return tx.Rollback, nil
}

// FilePages is how many pages of the file are in use or were.
func FilePages(j *Journal) (pages int64, err error) {
	err = j.view(func(tx *bolt.Tx) error {
		pages = tx.Size() / pageSize
		return nil
	})
	return pages, err
}

// UsedPages says of each page of a file that is not open whether it is part of what was committed last.
func UsedPages(path string) (map[int]bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m, err := newestMeta(f, info.Size())
	if err != nil {
		return nil, err
	}
	data := make([]byte, m.high*pageSize)
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, err
	}
	c := &checker{data: data, high: m.high, seen: make([]bool, m.high)}
	_, err = c.page(m.root, span{}, 0)
	used := map[int]bool{0: true, 1: true} // the two roots
	for page, seen := range c.seen {
		used[page] = used[page] || seen
	}
	return used, err
}
