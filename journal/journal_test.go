package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("JOURNAL_TEST_CHILD"); role != "" {
		os.Exit(child(role))
	}
	goleak.VerifyTestMain(m)
}

// onDisks runs a durability test on this machine's disk and on one that takes 8 ms more for every commit.
func onDisks(t *testing.T, test func(t *testing.T, o journal.Options)) {
	for _, delay := range []time.Duration{0, 8 * time.Millisecond} {
		t.Run(fmt.Sprintf("delay=%s", delay), func(t *testing.T) { test(t, journal.Options{SyncDelay: delay}) })
	}
}

func open(t testing.TB, path string, o journal.Options) *journal.Journal {
	t.Helper()
	j, err := journal.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// wait calls an asynchronous method and returns what its done function was told.
func wait(call func(done func(error))) error {
	result := make(chan error, 1)
	call(func(err error) { result <- err })
	return <-result
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, j *journal.Journal, copies ...shard.CopyID) {
	t.Helper()
	for _, c := range copies {
		must(t, wait(func(done func(error)) { j.Create(shardOf(c), c, done) }))
	}
}

func write(t testing.TB, j *journal.Journal, c shard.CopyID, w replication.Write) {
	t.Helper()
	must(t, wait(func(done func(error)) { j.Write(c, &w, done) }))
}

func shardOf(c shard.CopyID) shard.ID { return shard.ID{Type: "account", Number: shard.Number(c)} }

// record makes the record whose content follows from its place, so that any reader can check it.
func record(c shard.CopyID, epoch shard.Epoch, lsn shard.LSN, size int) replication.Record {
	pattern := fmt.Appendf(nil, "%d/%d/%d.", c, epoch, lsn)
	body := bytes.Repeat(pattern, size/len(pattern)+1)[:size]
	return replication.Record{
		Position: shard.Position{Epoch: epoch, LSN: lsn}, Kind: replication.KindCommand,
		Entity: shard.EntityID(fmt.Sprintf("e%d", lsn%7)), Seq: shard.Seq(lsn), Request: shard.RequestID{Session: 3, Number: uint64(lsn)},
		Floor: uint64(lsn) / 2, Body: body,
	}
}

func records(c shard.CopyID, epoch shard.Epoch, first, last shard.LSN, size int) []replication.Record {
	var all []replication.Record
	for lsn := first; lsn <= last; lsn++ {
		all = append(all, record(c, epoch, lsn, size))
	}
	return all
}

func contents(t testing.TB, j *journal.Journal, c shard.CopyID) []replication.Record {
	t.Helper()
	var all []replication.Record
	must(t, j.Scan(c, func(r *replication.Record) error {
		all = append(all, *r)
		return nil
	}))
	return all
}

func same(t testing.TB, got, want []replication.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		if !equal(got[i], want[i]) {
			t.Fatalf("record %d is %+v, want %+v", i+1, got[i].Position, want[i].Position)
		}
	}
}

func state(t testing.TB, j *journal.Journal, c shard.CopyID) journal.CopyState {
	t.Helper()
	for _, s := range j.Copies() {
		if s.State.Copy == c {
			return s
		}
	}
	t.Fatalf("no copy %d", c)
	return journal.CopyState{}
}

// Two copies write in turns, small records and one of 1 MiB; what comes back, before and after a restart, is what each
// wrote, with its promise, history and confirmed position.
func TestCopiesKeepApart(t *testing.T) {
	onDisks(t, func(t *testing.T, o journal.Options) {
		path := filepath.Join(t.TempDir(), "journal.db")
		j := open(t, path, o)
		create(t, j, 1, 2)
		write(t, j, 1, replication.Write{Promise: 3, Records: records(1, 3, 1, 40, 100)})
		write(t, j, 2, replication.Write{Promise: 5, Records: records(2, 5, 1, 1, 1<<20)})
		write(t, j, 1, replication.Write{Records: records(1, 3, 41, 50, 9000), Confirmed: 38})
		write(t, j, 2, replication.Write{Promise: 9, Records: records(2, 6, 2, 90, 3), Confirmed: 1})
		want1 := append(records(1, 3, 1, 40, 100), records(1, 3, 41, 50, 9000)...)
		want2 := append(records(2, 5, 1, 1, 1<<20), records(2, 6, 2, 90, 3)...)
		check := func() {
			t.Helper()
			same(t, contents(t, j, 1), want1)
			same(t, contents(t, j, 2), want2)
		}
		check()
		must(t, j.Close())
		j = open(t, path, o)
		check()
		want := journal.CopyState{Shard: shardOf(2), State: replication.State{
			Copy: 2, Promised: 9, Last: shard.Position{Epoch: 6, LSN: 90}, Confirmed: 1,
			History: shard.History{{Epoch: 5, First: 1}, {Epoch: 6, First: 2}},
		}}
		if got := state(t, j, 2); !reflect.DeepEqual(got, want) {
			t.Errorf("copy 2 is %+v, want %+v", got, want)
		}
		if got := state(t, j, 1); got.State.Promised != 3 || got.State.Confirmed != 38 {
			t.Errorf("copy 1 is %+v", got)
		}
	})
}

// A read is bounded by bytes but makes progress, and refuses what is not there.
func TestRead(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.db"), journal.Options{})
	create(t, j, 1)
	write(t, j, 1, replication.Write{Records: records(1, 1, 1, 10, 1000)})
	for _, c := range []struct {
		first, last shard.LSN
		max, want   int
	}{{1, 10, 1 << 20, 10}, {4, 6, 1 << 20, 3}, {2, 9, 2500, 2}, {3, 9, 1, 1}} {
		got, err := j.Read(1, c.first, c.last, c.max)
		must(t, err)
		same(t, got, records(1, 1, c.first, c.first+shard.LSN(c.want)-1, 1000))
	}
	for _, c := range [][2]shard.LSN{{0, 1}, {5, 4}, {1, 11}, {11, 11}} {
		if _, err := j.Read(1, c[0], c[1], 100); err == nil {
			t.Errorf("read %d to %d succeeded", c[0], c[1])
		}
	}
	if _, err := j.Read(2, 1, 1, 100); !errors.Is(err, journal.ErrNoCopy) {
		t.Errorf("read of an unknown copy: %v", err)
	}
}

// A truncation alone and one with records behind it leave the log as Raft would, across restarts.
func TestTruncate(t *testing.T) {
	onDisks(t, func(t *testing.T, o journal.Options) {
		path := filepath.Join(t.TempDir(), "journal.db")
		j := open(t, path, o)
		create(t, j, 1)
		write(t, j, 1, replication.Write{Records: records(1, 1, 1, 20, 50)})
		write(t, j, 1, replication.Write{Truncate: 16})
		same(t, contents(t, j, 1), records(1, 1, 1, 15, 50))
		write(t, j, 1, replication.Write{Promise: 2, Truncate: 11, Records: records(1, 2, 11, 12, 50)})
		write(t, j, 1, replication.Write{Records: records(1, 3, 13, 30, 50), Confirmed: 12})
		want := append(append(records(1, 1, 1, 10, 50), records(1, 2, 11, 12, 50)...), records(1, 3, 13, 30, 50)...)
		same(t, contents(t, j, 1), want)
		must(t, j.Close())
		j = open(t, path, o)
		same(t, contents(t, j, 1), want)
		history := shard.History{{Epoch: 1, First: 1}, {Epoch: 2, First: 11}, {Epoch: 3, First: 13}}
		if got := state(t, j, 1).State.History; !reflect.DeepEqual(got, history) {
			t.Errorf("history %v, want %v", got, history)
		}
		if err := wait(func(done func(error)) { j.Write(1, &replication.Write{Truncate: 12}, done) }); err == nil {
			t.Error("a confirmed record was truncated")
		}
	})
}

// Truncations that end inside, at the edge and at the start of the index's pages, and the appends after them.
func TestTruncateFar(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, journal.Options{})
	create(t, j, 1)
	write(t, j, 1, replication.Write{Records: records(1, 1, 1, 2000, 8)})
	want := records(1, 1, 1, 2000, 8)
	for i, from := range []shard.LSN{1537, 1026, 1025, 1024, 513, 2, 1} {
		epoch := shard.Epoch(i + 2)
		r := records(1, epoch, from, from+600, 8)
		write(t, j, 1, replication.Write{Truncate: from, Records: r})
		want = append(want[:from-1:from-1], r...)
		same(t, contents(t, j, 1), want)
	}
	must(t, j.Close())
	same(t, contents(t, open(t, path, journal.Options{}), 1), want)
}

// What breaks the order of a log is refused, answered in its turn and leaves the copy as it was.
func TestRefusedWrites(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.db"), journal.Options{})
	create(t, j, 1)
	write(t, j, 1, replication.Write{Promise: 4, Records: records(1, 4, 1, 5, 10), Confirmed: 3})
	for _, c := range []struct {
		name string
		copy shard.CopyID
		w    replication.Write
	}{
		{"gap", 1, replication.Write{Records: records(1, 4, 7, 7, 10)}},
		{"repeated", 1, replication.Write{Records: records(1, 4, 5, 5, 10)}},
		{"epoch back", 1, replication.Write{Records: records(1, 3, 6, 6, 10)}},
		{"promise back", 1, replication.Write{Promise: 3}},
		{"truncate beyond", 1, replication.Write{Truncate: 7}},
		{"too large", 1, replication.Write{Records: records(1, 4, 6, 6, replication.MaxRecordSize)}},
		{"unknown copy", 9, replication.Write{}},
	} {
		if err := wait(func(done func(error)) { j.Write(c.copy, &c.w, done) }); err == nil {
			t.Errorf("%s: accepted", c.name)
		}
	}
	write(t, j, 1, replication.Write{Records: records(1, 4, 6, 6, 10)})
	same(t, contents(t, j, 1), records(1, 4, 1, 6, 10))
	if j.Err() != nil {
		t.Errorf("the journal stopped: %v", j.Err())
	}
}

// Creating twice is one creation; a removed copy is gone for good and its records do not come back under its name.
func TestCreateRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, journal.Options{})
	create(t, j, 1, 1, 2)
	write(t, j, 1, replication.Write{Records: records(1, 1, 1, 5, 10)})
	create(t, j, 1)
	same(t, contents(t, j, 1), records(1, 1, 1, 5, 10))
	if err := wait(func(done func(error)) { j.Create(shardOf(3), 1, done) }); err == nil {
		t.Error("copy 1 was created for a second shard")
	}
	must(t, wait(func(done func(error)) { j.Remove(1, done) }))
	must(t, wait(func(done func(error)) { j.Remove(1, done) }))
	if len(j.Copies()) != 1 {
		t.Errorf("copies %v", j.Copies())
	}
	create(t, j, 1)
	must(t, j.Close())
	j = open(t, path, journal.Options{})
	if got := state(t, j, 1); got.State.Last.LSN != 0 || got.Damaged != nil {
		t.Errorf("copy 1 came back with %+v", got)
	}
	must(t, j.Close())
	if err := wait(func(done func(error)) { j.Remove(1, done) }); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	must(t, j.Close())
}

// A closed journal says that it is closed, and not that what it holds is damaged.
func TestReadAfterClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, journal.Options{})
	create(t, j, 1)
	write(t, j, 1, replication.Write{Records: records(1, 1, 1, 3, 100)})
	must(t, j.Close())
	_, read := j.Read(1, 1, 3, 1<<20)
	_, _, entity := j.Entity(1, "e")
	_, _, apart := j.Apart(1, replication.Key{}, 1<<20)
	for _, err := range []error{read, entity, apart} {
		if !errors.Is(err, journal.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	if c := j.Copies()[0]; c.Damaged != nil {
		t.Errorf("the copy is %v", c.Damaged)
	}
}

// While one commit is under way everything that arrives gathers for the next; done functions come in order; a
// journal without work commits a lone write by itself.
func TestGroupCommit(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.db"), journal.Options{})
	create(t, j, 1, 2)
	entered, release := make(chan struct{}, 8), make(chan struct{})
	journal.FailCommits(j, func(commit func() error) error {
		entered <- struct{}{}
		<-release
		return commit()
	})
	before := j.Stats()
	var order []shard.LSN
	all := make(chan struct{})
	const n = 500
	for lsn := shard.LSN(1); lsn <= n; lsn++ {
		for c := shard.CopyID(1); c <= 2; c++ {
			w := replication.Write{Records: records(c, 1, lsn, lsn, 64)}
			j.Write(c, &w, func(err error) {
				if err != nil {
					t.Error(err)
				}
				if order = append(order, lsn); len(order) == 2*n {
					close(all)
				}
			})
		}
		if lsn == 1 {
			<-entered
		}
	}
	if j.Backlog() == 0 {
		t.Error("no backlog behind a commit under way")
	}
	close(release)
	<-all
	for i, lsn := range order {
		if int(lsn) != i/2+1 {
			t.Fatalf("done number %d was for record %d", i, lsn)
		}
	}
	s := j.Stats()
	if s.Commits-before.Commits > 3 || s.Records-before.Records != 2*n || s.Syncs-before.Syncs != 2*(s.Commits-before.Commits) {
		t.Errorf("from %+v to %+v", before, s)
	}
	if j.Backlog() != 0 {
		t.Errorf("backlog %d", j.Backlog())
	}
}

// Close commits what is queued.
func TestCloseDrains(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, journal.Options{SyncDelay: 5 * time.Millisecond})
	create(t, j, 1)
	answers := 0
	for lsn := shard.LSN(1); lsn <= 100; lsn++ {
		j.Write(1, &replication.Write{Records: records(1, 1, lsn, lsn, 64)}, func(err error) {
			if err == nil {
				answers++
			}
		})
	}
	must(t, j.Close())
	if answers != 100 {
		t.Errorf("%d of 100 writes were answered", answers)
	}
	same(t, contents(t, open(t, path, journal.Options{}), 1), records(1, 1, 1, 100, 64))
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not say %q", err, p)
		}
	}
}
