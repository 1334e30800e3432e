package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

// hang makes every further commit wait until release is closed, and then do what it should.
func hang(j *journal.Journal) (entered chan struct{}, release chan struct{}) {
	entered, release = make(chan struct{}, 8), make(chan struct{})
	journal.FailCommits(j, func(commit func() error) error {
		entered <- struct{}{}
		<-release
		return commit()
	})
	return entered, release
}

// impatient is a journal with a copy that calls a commit hung after so short a time that only one may be under way that is meant to hang: one that makes
// a copy takes as long on a busy disk.
func impatient(t *testing.T, path string, hung time.Duration) *journal.Journal {
	t.Helper()
	j := open(t, path, journal.Options{})
	create(t, j, 1)
	must(t, j.Close())
	return open(t, path, journal.Options{Hung: hung})
}

// A commit hangs in the disk. The journal stops for good while it still hangs; its writes are answered when it ends, with an
// error although the data are there, since somebody else may have taken over; and Close does not wait for it, but keeps the
// file locked until then.
func TestHungCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := impatient(t, path, 100*time.Millisecond)
	entered, release := hang(j)
	answers := make(chan error, 2)
	for lsn := shard.LSN(1); lsn <= 2; lsn++ {
		w := replication.Write{Records: records(1, 1, lsn, lsn, 9)}
		j.Write(1, &w, func(err error) { answers <- err })
		if lsn == 1 {
			<-entered // so the second waits behind the commit
		}
	}
	<-j.Failed()
	if !errors.Is(j.Err(), journal.ErrHung) {
		t.Errorf("the fault is %v", j.Err())
	}
	if len(answers) > 0 {
		t.Errorf("a write was answered with %v before anybody knows", <-answers)
	}
	if err := j.Close(); !errors.Is(err, journal.ErrHung) {
		t.Errorf("Close: %v", err)
	}
	if _, err := journal.Open(path, journal.Options{}); !errors.Is(err, journal.ErrInUse) {
		t.Errorf("the file of a commit under way opens: %v", err)
	}
	close(release)
	if err := <-answers; !errors.Is(err, journal.ErrHung) {
		t.Errorf("the write that hung: %v", err)
	}
	if err := <-answers; !errors.Is(err, journal.ErrStopped) {
		t.Errorf("the write behind it: %v", err)
	}
	if _, err := os.Stat(path + ".failed-sync"); err == nil {
		t.Error("a commit that succeeded late is marked as a failed sync")
	}
	j = open(t, path, journal.Options{}) // waits for the lock
	if got := state(t, j, 1).State.Last.LSN; got != 1 {
		t.Errorf("the log ends at %d", got)
	}
}

// A sync that hangs and then fails leaves the mark of a failed sync like any other.
func TestHungCommitFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := impatient(t, path, 50*time.Millisecond)
	release := make(chan struct{})
	journal.FailCommits(j, func(commit func() error) error { <-release; return errors.New("input/output error") })
	answer := make(chan error, 1)
	j.Write(1, &replication.Write{Records: records(1, 1, 1, 1, 9)}, func(err error) { answer <- err })
	<-j.Failed()
	close(release)
	if err := <-answer; err == nil {
		t.Error("a failed sync is a success")
	}
	j.Close()
	if _, err := os.Stat(path + ".failed-sync"); err != nil {
		t.Error(err)
	}
}

// Slow commits are only slow, however many there are.
func TestSlowCommitsAreNotHung(t *testing.T) {
	const hung, slow = time.Second, 100 * time.Millisecond
	j := open(t, filepath.Join(t.TempDir(), "journal.db"), journal.Options{Hung: hung, SyncDelay: slow})
	create(t, j, 1)
	for lsn := shard.LSN(1); lsn <= 2*shard.LSN(hung/slow); lsn++ {
		w := replication.Write{Records: records(1, 1, lsn, lsn, 9)}
		if err := wait(func(done func(error)) { j.Write(1, &w, done) }); err != nil {
			t.Fatal(err)
		}
	}
	must(t, j.Err())
}
