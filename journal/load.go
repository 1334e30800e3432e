package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"

	bolt "go.etcd.io/bbolt"

	"muster/replication"
	"muster/shard"
)

// contents is what Open found in the file.
type contents struct {
	path   string
	copies map[shard.CopyID]*copyLog
	next   uint64 // key of the next value of the log
	space  space
}

// A LogReader is shown the records of one copy's log while Open reads them, in the order of the log, so that whoever has to know
// them need not read them again. Calls for one copy come one at a time, those for different copies from several
// goroutines. A copy that turns out to be damaged may have been shown in part.
type LogReader struct {
	Record   func(r *replication.Record) // r and its body are valid until it returns
	Truncate func(from shard.LSN)        // what was shown from there on is void
}

// maxReaders bounds the goroutines that read the logs at Open. Each meets every entry and decodes those of its own copies, so more
// of them gain less and less.
const maxReaders = 8

// read checks every byte the journal relies on and builds the index.
func (d *disk) read(path string, o Options) (*contents, error) {
	c := &contents{path: path, copies: map[shard.CopyID]*copyLog{}, space: space{pace: usualPace}}
	err := d.look(func(tx *bolt.Tx) error { return c.read(tx, o.Directory) })
	if err == nil {
		err = d.readShares(c, o.Reader)
	}
	switch err.(type) {
	case nil:
		return c, nil
	case fault:
		return nil, &DamagedError{Path: path, Why: err.Error()}
	default:
		return nil, err
	}
}

// look runs fn in a read transaction.
func (d *disk) look(fn func(*bolt.Tx) error) error {
	return d.guard(func() error { return d.db.View(fn) })
}

// readShares reads what belongs to the copies: several goroutines, each with some of the copies to itself.
func (d *disk) readShares(c *contents, reader func(shard.CopyID) LogReader) error {
	shares := c.share(min(runtime.GOMAXPROCS(0), maxReaders))
	faults := make([]error, len(shares))
	var all sync.WaitGroup
	for i, s := range shares {
		if reader != nil {
			for id, l := range s.copies {
				l.reader = reader(id)
			}
		}
		all.Go(func() { faults[i] = d.look(s.read) })
	}
	all.Wait()
	c.space.front, c.next = math.MaxUint64, 0
	for i, s := range shares {
		if faults[i] != nil {
			return faults[i]
		}
		c.space.front, c.next = min(c.space.front, s.front), max(c.next, s.next)
	}
	c.space.goal = c.space.front
	for _, l := range c.copies {
		l.queued, l.reader = l.durable, LogReader{}
	}
	return nil
}

// share deals the copies out to at most n shares, at least one.
func (c *contents) share(n int) []*share {
	shares := make([]*share, max(1, min(n, len(c.copies))))
	for i := range shares {
		shares[i] = &share{path: c.path, copies: map[shard.CopyID]*copyLog{}}
	}
	for i, id := range slices.Sorted(maps.Keys(c.copies)) {
		shares[i%len(shares)].copies[id] = c.copies[id]
	}
	return shares
}

func (c *contents) read(tx *bolt.Tx, directory shard.DirectoryID) error {
	own, copies, log, apart := tx.Bucket(journalBucket), tx.Bucket(copiesBucket), tx.Bucket(logBucket), tx.Bucket(apartBucket)
	if own == nil || copies == nil || log == nil {
		return fmt.Errorf("%s is %w: a bbolt file of another program", c.path, ErrWrongFile)
	}
	if f := own.Get(formatKey); string(f) != format {
		return fmt.Errorf("%s is %w: it has format %q, this program knows %q", c.path, ErrWrongFile, f, format)
	}
	if had := own.Get(directoryKey); directory != "" && len(had) > 0 && string(had) != string(directory) {
		return fmt.Errorf("%s is %w: it belongs to data directory %s, this is %s", c.path, ErrWrongFile, had, directory)
	}
	if apart == nil {
		return &DamagedError{Path: c.path, Why: "what is kept apart is missing"}
	}
	if err := copies.ForEach(c.readCopy); err != nil {
		return err
	}
	if n := copies.Sequence(); n != uint64(len(c.copies)) {
		return &DamagedError{Path: c.path, Why: fmt.Sprintf("it should hold %d copies and holds %d", n, len(c.copies))}
	}
	c.readStale(apart)
	return nil
}

// readCopy takes a copy's value.
func (c *contents) readCopy(k, v []byte) error {
	if len(k) != 8 {
		return &DamagedError{Path: c.path, Why: "the name of a copy is not a number"}
	}
	id := shard.CopyID(binary.BigEndian.Uint64(k))
	l := &copyLog{copy: id, created: true}
	c.copies[id] = l
	var err error
	l.value, err = decodeCopy(id, v)
	if errors.Is(err, ErrWrongFile) {
		return fmt.Errorf("%s is %w", c.path, err)
	}
	if err != nil {
		l.damage(c.path, err.Error())
		return nil
	}
	l.shard, l.generation = l.value.shard, l.value.generation
	l.durable = emptyHead(l.value.promised, l.value.base)
	l.places.base = l.value.base.LSN
	c.space.generations = max(c.space.generations, l.value.generation, l.value.staging.generation)
	return nil
}

// readStale finds the generations that nobody has. They are left to be deleted.
func (c *contents) readStale(apart *bolt.Bucket) {
	known := map[uint64]bool{}
	for _, l := range c.copies {
		known[l.value.generation], known[l.value.staging.generation] = true, true
	}
	cursor := apart.Cursor()
	for k, _ := cursor.First(); k != nil; {
		if len(k) < generationSize {
			k, _ = cursor.Next()
			continue
		}
		number := binary.BigEndian.Uint64(k)
		if !known[number] {
			c.space.drop(number)
			c.space.generations = max(c.space.generations, number)
		}
		if number == math.MaxUint64 {
			break
		}
		k, _ = cursor.Seek(binary.BigEndian.AppendUint64(nil, number+1))
	}
}
