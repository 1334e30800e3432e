package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

// interleaved fills a journal with so many copies whose records stand between each other's, written eight at a time.
func interleaved(t testing.TB, j *journal.Journal, copies shard.CopyID, last shard.LSN, size int) {
	t.Helper()
	const batch = 8
	for c := shard.CopyID(1); c <= copies; c++ {
		create(t, j, c)
	}
	for lsn := shard.LSN(1); lsn <= last; lsn += batch {
		done := make(chan error, copies)
		for c := shard.CopyID(1); c <= copies; c++ {
			w := replication.Write{Records: records(c, 1, lsn, min(lsn+batch-1, last), size), Confirmed: lsn - 1}
			j.Write(c, &w, func(err error) { done <- err })
		}
		for range copies {
			must(t, <-done)
		}
	}
}

// every lists each step-th LSN from first to last.
func every(step, first, last shard.LSN) (lsns []shard.LSN) {
	for lsn := first; lsn <= last; lsn += step {
		lsns = append(lsns, lsn)
	}
	return lsns
}

// sweep runs one and returns for each want the LSNs that came, after it has compared the records with those written.
func sweep(t testing.TB, j *journal.Journal, size int, wants []journal.Want, stop func(want int, r *replication.Record) error) [][]shard.LSN {
	t.Helper()
	came := make([][]shard.LSN, len(wants))
	j.Sweep(wants, func(i int, r *replication.Record) error {
		same(t, []replication.Record{*r}, records(wants[i].Copy, 1, r.LSN, r.LSN, size))
		came[i] = append(came[i], r.LSN)
		return stop(i, r)
	})
	return came
}

// Wants of several copies, some of them for the same records, and records that span values: each want gets just what it asked
// for, in order. A want that its receiver ends, one of a missing copy and one of records that are not there end alone.
func TestSweep(t *testing.T) {
	for _, size := range []int{60, 3000, 20_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			j := open(t, filepath.Join(t.TempDir(), "journal.db"), journal.Options{})
			interleaved(t, j, 3, 100, size)
			full := errors.New("enough")
			wants := []journal.Want{
				{Copy: 2, LSNs: every(7, 3, 100)}, {Copy: 1, LSNs: every(1, 1, 100)}, {Copy: 2, LSNs: every(7, 3, 100)},
				{Copy: 3}, {Copy: 3, LSNs: every(1, 50, 60)}, {Copy: 9, LSNs: every(1, 1, 2)}, {Copy: 3, LSNs: every(50, 1, 101)},
			}
			came := sweep(t, j, size, wants, func(i int, r *replication.Record) error {
				if i == 4 && r.LSN == 55 {
					return full
				}
				return nil
			})
			want := [][]shard.LSN{
				every(7, 3, 100), every(1, 1, 100), every(7, 3, 100), nil, every(1, 50, 55), nil, every(50, 1, 100),
			}
			for i := range wants {
				if fmt.Sprint(came[i]) != fmt.Sprint(want[i]) {
					t.Errorf("want %d got %v, not %v", i, came[i], want[i])
				}
			}
			for i, err := range []error{nil, nil, nil, nil, full, journal.ErrNoCopy} {
				if !errors.Is(wants[i].Err, err) {
					t.Errorf("want %d ended with %v, not %v", i, wants[i].Err, err)
				}
			}
			wantError(t, wants[6].Err, "read records 101 to 101 of copy 3, which holds 1 to 100")
		})
	}
}

// So many records, of so many values, that they are put in order by digits of two places: all of three copies, some of them wanted
// twice. They come in the order of the file, which is that of LSNs for all wants of a copy together, but for those in one value.
func TestSweepMany(t *testing.T) {
	const copies, last, size = 3, 4000, 400
	const inValue = journal.ChunkSize / size
	j := open(t, filepath.Join(t.TempDir(), "journal.db"), journal.Options{})
	interleaved(t, j, copies, last, size)
	var wants []journal.Want
	for c := shard.CopyID(copies); c > 0; c-- {
		for first := shard.LSN(7); first > 0; first-- {
			wants = append(wants, journal.Want{Copy: c, LSNs: every(7, first, last)})
		}
		wants = append(wants, journal.Want{Copy: c, LSNs: every(5, 1, last)})
	}
	var newest [copies + 1]shard.LSN
	came := sweep(t, j, size, wants, func(i int, r *replication.Record) error {
		c := wants[i].Copy
		if r.LSN+inValue < newest[c] {
			return fmt.Errorf("record %d of copy %d came after %d", r.LSN, c, newest[c])
		}
		newest[c] = max(newest[c], r.LSN)
		return nil
	})
	for i, w := range wants {
		if w.Err != nil || !slices.Equal(came[i], w.LSNs) {
			t.Errorf("want %d of copy %d: %d of %d records, error %v", i, w.Copy, len(came[i]), len(w.LSNs), w.Err)
		}
	}
}

// A record rots after Open. The want that meets it ends there, with what came before it; all others of the pass get what they asked
// for, of the same copy, too.
func TestSweepMeetsRot(t *testing.T) {
	path, written := filled(t)
	j := open(t, path, journal.Options{})
	raw, err := os.ReadFile(path)
	must(t, err)
	flip(t, path, int64(bytes.Index(raw, []byte("2/1/77.2/1/77."))), 0)
	wants := []journal.Want{
		{Copy: 2, LSNs: every(3, 1, 100)}, {Copy: 2, LSNs: every(1, 70, 80)}, {Copy: 2, LSNs: every(1, 78, 150)}, {Copy: 1, LSNs: every(1, 1, 150)},
	}
	came := make([][]shard.LSN, len(wants))
	j.Sweep(wants, func(i int, r *replication.Record) error {
		same(t, []replication.Record{*r}, written[wants[i].Copy][r.LSN-1:r.LSN])
		came[i] = append(came[i], r.LSN)
		return nil
	})
	for i := range wants {
		damaged, want := errors.As(wants[i].Err, new(*journal.DamagedError)), wants[i].LSNs
		if i == 1 {
			want = every(1, 70, 76)
		}
		if damaged != (i == 1) || !slices.Equal(came[i], want) {
			t.Errorf("want %d got %v and %v", i, came[i], wants[i].Err)
		}
	}
}

// While a pass is under way all logs begin to start later, what is left of them is moved, and the keys it is about to read are deleted. Who
// wants what is gone hears so, after what was read already, and who wants what was moved gets it.
func TestSweepMeetsALaterStart(t *testing.T) {
	const copies, last, size, start = 3, 150, 3000, 149
	j := open(t, filepath.Join(t.TempDir(), "journal.db"), journal.Options{})
	interleaved(t, j, copies, last, size)
	journal.Hurry(j)
	space, err := journal.CheckSpace(j)
	must(t, err)
	shorten := func() {
		for c := shard.CopyID(1); c <= copies; c++ {
			must(t, wait(func(done func(error)) { j.Start(c, start, done) }))
		}
		for lsn := shard.LSN(last + 1); lsn < 4*last; lsn++ {
			write(t, j, copies, replication.Write{Records: records(copies, 1, lsn, lsn, size), Confirmed: lsn - 1})
			must(t, wait(func(done func(error)) { j.Start(copies, lsn-2, done) }))
			if now, err := journal.CheckSpace(j); err != nil || now.Front > space.Next {
				must(t, err)
				return
			}
		}
		t.Fatal("not all was deleted or moved")
	}
	wants := []journal.Want{
		{Copy: 1, LSNs: every(1, 1, last)}, {Copy: 1, LSNs: every(1, start+1, last)}, {Copy: 2, LSNs: every(5, 1, start)}, {Copy: 2, LSNs: every(3, start+1, last)},
	}
	once := false
	came := sweep(t, j, size, wants, func(int, *replication.Record) error {
		if !once {
			once = true
			shorten()
		}
		return nil
	})
	for i, w := range wants {
		gone := i%2 == 0
		if errors.Is(w.Err, journal.ErrCompacted) != gone || !gone && w.Err != nil {
			t.Errorf("want %d ended with %v", i, w.Err)
		}
		if n := len(came[i]); n == 0 || !slices.Equal(came[i], w.LSNs[:n]) || gone == (n == len(w.LSNs)) {
			t.Errorf("want %d got %v", i, came[i])
		}
	}
	for c := shard.CopyID(1); c <= copies; c++ {
		if s := state(t, j, c); s.Damaged != nil {
			t.Errorf("copy %d: %v", c, s.Damaged)
		}
	}
}
