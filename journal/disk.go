package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"

	"muster/shard"
)

var (
	journalBucket = []byte("journal")
	copiesBucket  = []byte("copies")
	logBucket     = []byte("log")
	apartBucket   = []byte("apart")
	formatKey     = []byte("format")
	directoryKey  = []byte("directory")
)

const (
	format      = "muster-journal/2"
	lockTimeout = 2 * time.Second
	lockRetry   = 50 * time.Millisecond
)

// disk is the bbolt file. Write transactions belong to Journal.run; read transactions to anyone.
type disk struct {
	file   *os.File
	db     *bolt.DB
	commit func(*bolt.Tx) error // (*bolt.Tx).Commit, or a test's failing disk
	lost   bool                 // a transaction panicked and still holds bbolt's locks
}

// fault is a panic caught in bbolt: a page that makes no sense, or a part of the file that is gone.
type fault struct{ what any }

func (f fault) Error() string { return fmt.Sprintf("bbolt gave up: %v", f.what) }

// guard runs fn so that a fault of the mapped file or a panic of bbolt ends fn and not the process. It covers the
// calling goroutine only; bbolt reads the file in a goroutine of its own when it opens it, which is why checkPages
// comes first.
func (d *disk) guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fault{p}
		}
	}()
	return fn()
}

// update runs fn in a write transaction and commits it. After an error the outcome is unknown.
func (d *disk) update(fn func(*bolt.Tx) error) error {
	err := d.guard(func() error {
		tx, err := d.db.Begin(true)
		if err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		if err := d.commit(tx); err != nil {
			_ = tx.Rollback() // releases bbolt's locks if Commit has not; it has nothing to add to err
			return err
		}
		return nil
	})
	d.lost = errors.As(err, new(fault))
	return err
}

// close releases the file. After a panic bbolt's locks are held for ever, so only the file is closed. Its mapping stays
// until the process ends, and would keep the lock.
func (d *disk) close() error {
	if d.lost {
		return errors.Join(syscall.Flock(int(d.file.Fd()), syscall.LOCK_UN), d.file.Close())
	}
	return d.db.Close()
}

// failedWrite reports whether err is a write that the system refused, such as a full disk: what was committed before is
// then intact. Anything else is taken for a failed sync.
func failedWrite(err error) bool {
	var e *fs.PathError
	return errors.As(err, &e) && e.Op == "write"
}

func openDisk(path string, o Options) (*disk, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && !o.ReadOnly {
		if err := create(path, o.Directory); err != nil {
			return nil, fmt.Errorf("create journal %s: %w", path, err)
		}
	}
	flag := os.O_RDWR
	if o.ReadOnly {
		flag = os.O_RDONLY
	}
	file, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	d := &disk{file: file, commit: (*bolt.Tx).Commit}
	if err := d.open(path, o); err != nil {
		file.Close()
		return nil, err
	}
	return d, nil
}

// open locks, syncs, checks and then maps the file. The sync is what makes data that a killed process left in the
// page cache durable before anybody is told of it.
func (d *disk) open(path string, o Options) error {
	if err := lock(d.file, o.ReadOnly); err != nil {
		return fmt.Errorf("journal %s: %w", path, err)
	}
	if !o.ReadOnly {
		if err := d.file.Sync(); err != nil {
			return fmt.Errorf("journal %s: %w", path, err)
		}
	}
	if err := d.guard(func() error { return checkPages(d.file) }); err != nil {
		if errors.Is(err, ErrWrongFile) {
			return fmt.Errorf("%s is %w", path, err)
		}
		return &DamagedError{Path: path, Why: err.Error()}
	}
	bo := boltOptions()
	bo.ReadOnly = o.ReadOnly
	bo.OpenFile = func(string, int, os.FileMode) (*os.File, error) { return d.file, nil }
	err := d.guard(func() (err error) {
		d.db, err = bolt.Open(path, 0o600, bo)
		return err
	})
	if err != nil {
		return &DamagedError{Path: path, Why: err.Error()}
	}
	d.db.AllocSize = 32 << 20
	return nil
}

func boltOptions() *bolt.Options {
	return &bolt.Options{
		Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bolt.FreelistMapType,
		MmapFlags: mapWhole, InitialMmapSize: 4 << 30, PageSize: pageSize, // addresses, not memory: a remap would stall every reader
	}
}

// lock takes the lock bbolt takes too, on the same open file: whoever holds it keeps others from changing what is checked.
func lock(f *os.File, shared bool) error {
	how := syscall.LOCK_EX
	if shared {
		how = syscall.LOCK_SH
	}
	for deadline := time.Now().Add(lockTimeout); ; time.Sleep(lockRetry) {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if time.Now().After(deadline) {
			return ErrInUse
		}
	}
}

// create makes an empty journal beside path and renames it into place, so a crash leaves none or a whole one.
func create(path string, directory shard.DirectoryID) error {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bolt.Open(fresh, 0o600, boltOptions())
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket(journalBucket)
		if err != nil {
			return err
		}
		for _, name := range [][]byte{copiesBucket, logBucket, apartBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		if err := b.Put(directoryKey, []byte(directory)); err != nil {
			return err
		}
		return b.Put(formatKey, []byte(format))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	return syncDir(path)
}

// syncDir makes a change of the names beside path durable.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
