package journal_test

import (
	"errors"
	"path/filepath"
	"runtime"
	"testing"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

func snapshot(entity shard.EntityID, size int) replication.Record {
	return apartRecord(replication.Key{Kind: replication.KindSnapshot, Entity: entity}, 1, size)
}

// What does not fit is refused in its turn and changes nothing: of what is kept, staged, installed and cut.
func TestRefusedCompaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, journal.Options{})
	create(t, j, 1)
	write(t, j, 1, replication.Write{Promise: 4, Records: records(1, 4, 1, 9, 10), Confirmed: 3})
	at := func(lsn shard.LSN) shard.Position { return shard.Position{Epoch: 4, LSN: lsn} }
	keep := func(c shard.CopyID, r ...replication.Record) func(done func(error)) {
		return func(done func(error)) { j.Keep(c, r, nil, done) }
	}
	stage := func(s journal.Staging, r ...replication.Record) func(done func(error)) {
		return func(done func(error)) { j.Stage(1, s, r, done) }
	}
	install := func(p shard.Position) func(done func(error)) {
		return func(done func(error)) { j.Write(1, &replication.Write{Install: p}, done) }
	}
	start := func(lsn shard.LSN) func(done func(error)) {
		return func(done func(error)) { j.Start(1, lsn, done) }
	}
	must(t, wait(stage(journal.Staging{Base: at(20), Source: 2}, snapshot("a", 5), snapshot("b", 5))))
	staged := journal.Staging{Base: at(20), Source: 2, Last: replication.Key{Kind: replication.KindSnapshot, Entity: "b"}}
	later, other := staged, staged
	later.Last.Entity, other.Source = "c", 3
	for name, call := range map[string]func(done func(error)){
		"keep a command":              keep(1, record(1, 4, 3, 10)),
		"keep too much":               keep(1, snapshot("a", journal.MaxKeepBytes/2), snapshot("b", journal.MaxKeepBytes/2)),
		"keep a record too large":     keep(1, snapshot("a", replication.MaxRecordSize)),
		"keep for a missing copy":     keep(7, snapshot("a", 5)),
		"drop a command":              func(done func(error)) { j.Keep(1, nil, []replication.Key{{Kind: replication.KindCommand}}, done) },
		"stage behind a gap":          stage(later, snapshot("d", 5)),
		"stage of another copy":       stage(other, snapshot("c", 5)),
		"stage what does not rise":    stage(staged, snapshot("d", 5), snapshot("c", 5)),
		"stage again":                 stage(staged, snapshot("b", 5)),
		"stage below the confirmed":   stage(journal.Staging{Base: at(3), Source: 2}, snapshot("a", 5)),
		"install another base":        install(at(21)),
		"install below the confirmed": install(at(3)),
		"start beyond the log":        start(10),
	} {
		if err := wait(call); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if s, ok := j.Staged(1); !ok || s != staged {
		t.Errorf("%+v is staged, want %+v", s, staged)
	}
	must(t, wait(keep(1, snapshot("large", journal.MaxKeepBytes)))) // a single one may be
	must(t, wait(start(5)))
	must(t, wait(start(4)))
	if err := wait(func(done func(error)) { j.Write(1, &replication.Write{Truncate: 5}, done) }); err == nil {
		t.Error("a truncation went behind the start of the log")
	}
	if _, err := j.Read(1, 5, 6, 1000); !errors.Is(err, journal.ErrCompacted) {
		t.Errorf("read of what was cut: %v", err)
	}
	same(t, contents(t, j, 1), records(1, 4, 6, 9, 10))
	if s := state(t, j, 1); s.State.Base != at(5) || s.State.Confirmed != 5 || s.Damaged != nil {
		t.Errorf("the copy is %+v", s)
	}
	must(t, j.Err())
}

// While a log is cut and its front deleted, others read: they get what they ask for, or hear that the log starts later. Never
// is that called damage.
func TestReadWhileCut(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.db"), journal.Options{})
	journal.Hurry(j)
	create(t, j, 1, 2)
	write(t, j, 2, replication.Write{Records: records(2, 1, 1, 3, 100)}) // a short log that is moved again and again
	quit, done := make(chan struct{}), make(chan error, 2)
	for c := shard.CopyID(1); c <= 2; c++ {
		go func() { done <- readOn(j, c, quit) }()
	}
	for last := shard.LSN(10); last <= 3000; last += 10 {
		write(t, j, 1, replication.Write{Records: records(1, 1, last-9, last, 900)})
		must(t, wait(func(done func(error)) { j.Start(1, last-5, done) }))
		must(t, wait(func(done func(error)) { j.Keep(1, []replication.Record{snapshot("a", 10)}, nil, done) }))
		must(t, wait(func(done func(error)) {
			j.Stage(1, journal.Staging{Base: shard.Position{Epoch: 1, LSN: last + 1}}, []replication.Record{snapshot("a", 10)}, done)
		}))
	}
	close(quit)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	same(t, contents(t, j, 2), records(2, 1, 1, 3, 100))
	if s := j.Stats(); s.Moved == 0 || s.LogKeys > 200 {
		t.Errorf("%d records were moved, %d keys are left", s.Moved, s.LogKeys)
	}
}

// A reader that stays pins the pages it could see: while space is given back the file grows, and everything is right all the same. When it
// ends the pages are used again, and the file grows no more.
func TestLongReader(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.db"), journal.Options{})
	journal.Hurry(j)
	create(t, j, 1, 2)
	write(t, j, 2, replication.Write{Records: records(2, 1, 1, 3, 100)})
	last := shard.LSN(0)
	grown := func(rounds int) int64 {
		t.Helper()
		before, err := journal.FilePages(j)
		must(t, err)
		for range rounds {
			last += 10
			write(t, j, 1, replication.Write{Records: records(1, 1, last-9, last, 900)})
			must(t, wait(func(done func(error)) { j.Start(1, last-5, done) }))
			must(t, wait(func(done func(error)) { j.Keep(1, []replication.Record{snapshot("a", int(last))}, nil, done) }))
		}
		after, err := journal.FilePages(j)
		must(t, err)
		same(t, contents(t, j, 1), records(1, 1, last-4, last, 900))
		same(t, contents(t, j, 2), records(2, 1, 1, 3, 100))
		return after - before
	}
	const rounds = 60
	grown(rounds) // what is free now suffices from here on
	if n := grown(rounds); n > 10 {
		t.Errorf("without a reader the file grew by %d pages", n)
	}
	release, err := journal.HoldRead(j)
	must(t, err)
	defer release() // again, which is harmless: Close waits for it
	if n := grown(rounds); n < rounds {
		t.Errorf("with a reader the file grew by %d pages in %d commits: it used pages again that the reader sees", n, 3*rounds)
	}
	must(t, release())
	if n := grown(rounds); n > 10 {
		t.Errorf("after the reader the file grew by %d pages", n)
	}
}

func readOn(j *journal.Journal, c shard.CopyID, quit chan struct{}) error {
	for {
		select {
		case <-quit:
			return nil
		default:
			runtime.Gosched() // on one processor the writer would wait for a time slice of each reader, again and again
		}
		for _, s := range j.Copies() {
			if s.Damaged != nil {
				return s.Damaged
			}
		}
		if err := j.Scan(c, func(*replication.Record) error { return nil }); err != nil && !errors.Is(err, journal.ErrCompacted) {
			return err
		}
		if _, _, err := j.Apart(c, replication.Key{}, 1000); err != nil {
			return err
		}
	}
}
