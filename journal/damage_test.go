package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

// filled makes a journal of two copies and closes it. It returns the path and what the copies held.
func filled(t testing.TB) (string, map[shard.CopyID][]replication.Record) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, journal.Options{Directory: "dir-1"})
	create(t, j, 1, 2)
	want := map[shard.CopyID][]replication.Record{}
	for round := range shard.LSN(30) {
		for c := shard.CopyID(1); c <= 2; c++ {
			r := records(c, 1, round*10+1, round*10+10, 90)
			want[c] = append(want[c], r...)
			write(t, j, c, replication.Write{Promise: 1, Records: r, Confirmed: round * 10})
		}
	}
	write(t, j, 2, replication.Write{Records: records(2, 1, 301, 301, 40_000)})
	want[2] = append(want[2], records(2, 1, 301, 301, 40_000)...)
	must(t, j.Close())
	return path, want
}

func flip(t *testing.T, path string, at int64, bit uint8) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	must(t, err)
	b[0] ^= 1 << bit
	_, err = f.WriteAt(b[:], at)
	must(t, err)
}

// A bit of one record's body turns: that copy is reported damaged and refuses to be used, the other one is whole and goes on
// working, a copy made afterwards is whole too, and the file keeps its bytes.
func TestFlippedBitOfARecord(t *testing.T) {
	path, want := filled(t)
	raw, err := os.ReadFile(path)
	must(t, err)
	at := bytes.Index(raw, []byte("1/1/137.1/1/137."))
	flip(t, path, int64(at), 3)
	rotten, err := os.ReadFile(path)
	must(t, err)
	j := open(t, path, journal.Options{})
	wantError(t, state(t, j, 1).Damaged, path, "copy 1 is damaged", "left untouched")
	if s := state(t, j, 2); s.Damaged != nil {
		t.Errorf("copy 2: %v", s.Damaged)
	}
	same(t, contents(t, j, 2), want[2])
	var damaged *journal.DamagedError
	if _, err := j.Read(1, 1, 1, 1); !errors.As(err, &damaged) {
		t.Errorf("read of the damaged copy: %v", err)
	}
	err = wait(func(done func(error)) { j.Write(1, &replication.Write{Records: records(1, 1, 301, 301, 1)}, done) })
	if !errors.As(err, &damaged) || damaged.Copy != 1 {
		t.Errorf("write to the damaged copy: %v", err)
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(after, rotten) {
		t.Error("opening changed the file")
	}
	create(t, j, 3)
	write(t, j, 3, replication.Write{Records: records(3, 1, 1, 3, 10)})
	must(t, j.Close())
	j = open(t, path, journal.Options{})
	if state(t, j, 1).Damaged == nil || state(t, j, 2).Damaged != nil || state(t, j, 3).Damaged != nil {
		t.Errorf("after another start: %+v", j.Copies())
	}
}

// One bit anywhere in the used part of the file: Open refuses, or reports a copy, or nothing that it tells has changed.
// It never tells something else, and never takes the process down.
func TestFlippedBitAnywhere(t *testing.T) {
	path, want := filled(t)
	raw, err := os.ReadFile(path)
	must(t, err)
	var used []int64 // pages that hold anything
	for at := 0; at+4096 <= len(raw); at += 4096 {
		if !bytes.Equal(raw[at:at+4096], make([]byte, 4096)) {
			used = append(used, int64(at))
		}
	}
	whole := wholeStates(t, path)
	random := rand.New(rand.NewPCG(1, 2))
	outcomes := map[string]int{}
	for n := range 600 {
		at, bit := used[random.IntN(len(used))]+int64(random.IntN(4096)), uint8(random.IntN(8))
		if n%3 == 0 { // the roots and what stands at the start of a page matter most and are small
			at = at/4096*4096 + int64(random.IntN(128))
		}
		flip(t, path, at, bit)
		outcomes[outcome(t, path, fmt.Sprintf("bit %d of byte %d", bit, at), whole, want)]++
		flip(t, path, at, bit)
	}
	t.Log(outcomes)
	if outcomes["refused"] == 0 || outcomes["damaged"] == 0 || outcomes["harmless"] == 0 {
		t.Errorf("the flips did not reach every outcome: %v", outcomes)
	}
}

// Any bytes of a small journal are others: what TestFlippedBitAnywhere asks holds for them too. The file lies in memory, where a sync costs
// nothing, and is no longer than what it holds: on a disk, and at the 32 MiB by which a journal grows, a run came to a few openings.
func FuzzOpen(f *testing.F) {
	path, want := filled(f)
	whole := wholeStates(f, path)
	raw, err := os.ReadFile(path)
	must(f, err)
	raw = bytes.TrimRight(raw, "\x00")
	raw = append(raw, make([]byte, (4096-len(raw)%4096)%4096)...)
	for page := range len(raw) / 4096 {
		f.Add(uint32(page*4096), []byte{1})             // its own number
		f.Add(uint32(page*4096+8), []byte{3, 0, 1})     // what it is, how much it holds
		f.Add(uint32(page*4096+16), []byte{0, 0, 0, 4}) // its first element
		f.Add(uint32(page*4096+2000), []byte("rotten"))
	}
	memory := "/dev/shm"
	if _, err := os.Stat(memory); err != nil {
		memory = ""
	}
	dir, err := os.MkdirTemp(memory, "muster-fuzz-")
	must(f, err)
	f.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "journal.db")
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		b := bytes.Clone(raw)
		for i, c := range change {
			b[(int(at)+i)%len(b)] ^= c
		}
		must(t, os.WriteFile(file, b, 0o600))
		outcome(t, file, fmt.Sprintf("%d bytes from %d on", len(change), at), whole, want)
	})
}

// wholeStates opens a journal and returns what it says of its copies.
func wholeStates(t testing.TB, path string) map[shard.CopyID]journal.CopyState {
	j := open(t, path, journal.Options{Directory: "dir-1"})
	defer j.Close()
	return states(j)
}

func states(j *journal.Journal) map[shard.CopyID]journal.CopyState {
	all := map[shard.CopyID]journal.CopyState{}
	for _, s := range j.Copies() {
		all[s.State.Copy] = s
	}
	return all
}

func outcome(t *testing.T, path, what string, whole map[shard.CopyID]journal.CopyState, want map[shard.CopyID][]replication.Record) string {
	t.Helper()
	j, err := journal.Open(path, journal.Options{Directory: "dir-1"})
	if err != nil {
		if !errors.As(err, new(*journal.DamagedError)) && !errors.Is(err, journal.ErrWrongFile) {
			t.Errorf("%s: %v", what, err)
		}
		return "refused"
	}
	defer j.Close()
	result := "harmless"
	got := states(j)
	for c, s := range whole {
		if got[c].Damaged != nil {
			result = "damaged"
			continue
		}
		if !reflect.DeepEqual(got[c], s) {
			t.Errorf("%s: copy %d is %+v without a word of damage", what, c, got[c])
			continue
		}
		same(t, contents(t, j, c), want[c])
	}
	return result
}

// compacted makes a journal of copies whose logs start late, that keep records apart and have a snapshot staged, and closes it.
func compacted(t testing.TB) (string, *world) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal.db")
	w := newWorld(5, 1, 3)
	w.restart(t, path)
	for n := 0; n < 300 || w.copies[1] == nil || w.copies[1].staged == nil || len(w.copies[1].apart) == 0; n++ {
		if n > 2000 {
			t.Fatal("copy 1 never got what this test is about")
		}
		w.step()
	}
	must(t, w.differs(w.j))
	must(t, w.j.Close())
	return path, w
}

// A byte anywhere in a file with everything in it turns: Open refuses, or the copy is reported, then or when what is rotten is read, or
// it tells what it told before. What was staged may also have to be sent again.
func TestFlippedByteOfApart(t *testing.T) {
	path, w := compacted(t)
	raw, err := os.ReadFile(path)
	must(t, err)
	random := rand.New(rand.NewPCG(3, 4))
	stride := func(at int) int {
		if at%4096 < 128 { // what stands at the start of a page matters most
			return 1 + random.IntN(50)
		}
		return 1 + random.IntN(800)
	}
	outcomes := map[string]int{}
	for at := 0; at < len(raw); at += stride(at) {
		if page := at / 4096 * 4096; bytes.Equal(raw[page:page+4096], make([]byte, 4096)) {
			at = page + 4095
			continue
		}
		bit := uint8(random.IntN(8))
		flip(t, path, int64(at), bit)
		result, err := w.afterRot(path, random.IntN(16) > 0)
		if err != nil {
			t.Errorf("bit %d of byte %d: %v", bit, at, err)
		}
		outcomes[result]++
		flip(t, path, int64(at), bit)
	}
	t.Log(outcomes)
	for _, o := range []string{"refused", "damaged", "found by reading", "harmless"} {
		if outcomes[o] == 0 {
			t.Errorf("no flip ended with %q: %v", o, outcomes)
		}
	}
}

// afterRot opens the file and reads everything. It fails when something else is told than was, without a word.
func (w *world) afterRot(path string, readOnly bool) (string, error) {
	j, err := journal.Open(path, journal.Options{ReadOnly: readOnly})
	if err != nil {
		if errors.As(err, new(*journal.DamagedError)) || errors.Is(err, journal.ErrWrongFile) {
			err = nil
		}
		return "refused", err
	}
	defer j.Close()
	result := "harmless"
	if len(j.Copies()) < len(w.copies) {
		return "", errors.New("a copy is missing")
	}
	for _, s := range j.Copies() {
		if s.Damaged != nil {
			result = "damaged"
			continue
		}
		c := *w.copies[s.State.Copy]
		if _, ok := j.Staged(s.State.Copy); !ok && c.staged != nil {
			result, c.staging = "staged again", journal.Staging{}
		}
		switch err := c.differs(j, s); {
		case errors.As(err, new(*journal.DamagedError)):
			result = "found by reading"
		case err != nil:
			return "", fmt.Errorf("copy %d: %w", s.State.Copy, err)
		}
	}
	return result, nil
}

// A file that lost its end is refused with a sentence, wherever it was cut, and not mapped.
func TestTruncatedFile(t *testing.T) {
	path, _ := filled(t)
	raw, err := os.ReadFile(path)
	must(t, err)
	for _, size := range []int64{0, 1, 100, 4096, 5000, 8192, 12288, 40_000, 100_000} {
		must(t, os.WriteFile(path, raw[:size], 0o600))
		_, err := journal.Open(path, journal.Options{})
		if !errors.As(err, new(*journal.DamagedError)) && !errors.Is(err, journal.ErrWrongFile) {
			t.Errorf("%d bytes: %v", size, err)
		}
		if size == 0 || size >= 12288 {
			wantError(t, err, "cut off", "left untouched")
		}
		if info, err := os.Stat(path); err != nil || info.Size() != size {
			t.Errorf("%d bytes: the file was touched", size)
		}
	}
}

// The file shrinks under a running journal: reading what is gone is an error, and the process lives.
func TestTruncatedWhileOpen(t *testing.T) {
	path, _ := filled(t)
	j := open(t, path, journal.Options{})
	must(t, os.Truncate(path, 3*4096))
	if err := j.Scan(2, func(*replication.Record) error { return nil }); !errors.As(err, new(*journal.DamagedError)) {
		t.Errorf("scan: %v", err)
	}
	if err := wait(func(done func(error)) { j.Create(shardOf(8), 8, done) }); err == nil || j.Err() == nil {
		t.Errorf("a commit into a file without pages: %v", err)
	}
}

// Rot that comes after Open is found by the read that meets it.
func TestRotWhileOpen(t *testing.T) {
	path, _ := filled(t)
	j := open(t, path, journal.Options{})
	raw, err := os.ReadFile(path)
	must(t, err)
	flip(t, path, int64(bytes.Index(raw, []byte("2/1/77.2/1/77."))), 0)
	if err := j.Scan(2, func(*replication.Record) error { return nil }); !errors.As(err, new(*journal.DamagedError)) {
		t.Errorf("scan: %v", err)
	}
	if state(t, j, 2).Damaged == nil || state(t, j, 1).Damaged != nil {
		t.Errorf("copies: %+v", j.Copies())
	}
}

// One bit of a key turns while the journal is open: whoever asks for that entity, or for one that is found by way of it, is told its state or of
// damage, and never that there is none. Whoever serves the shard would begin it anew.
func TestRottenKeyWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, journal.Options{})
	create(t, j, 1)
	write(t, j, 1, replication.Write{Promise: 1, Records: records(1, 1, 1, 3, 10), Confirmed: 3})
	var all []replication.Record
	for n := range 600 {
		k := replication.Key{Kind: replication.KindSnapshot, Entity: shard.EntityID(fmt.Sprintf("entity-%04d", n*7))}
		all = append(all, apartRecord(k, 1, 30))
	}
	must(t, wait(func(done func(error)) { j.Keep(1, all, nil, done) }))
	for _, absent := range []shard.EntityID{"a", "entity-0001", "entity-2000", "z"} {
		if r, ok, err := j.Entity(1, absent); ok || err != nil {
			t.Errorf("an entity that was never kept is %v, %v", r.Key(), err)
		}
	}
	must(t, j.Close())
	raw, err := os.ReadFile(path)
	must(t, err)
	random := rand.New(rand.NewPCG(5, 6))
	outcomes := map[string]int{}
	for n := 1; n+1 < len(all); n += 1 + random.IntN(5) {
		key := append([]byte{0, 0, 0, 0, 0, 0, 0, 1, byte(replication.KindSnapshot)}, all[n].Entity...)
		at, bit := int64(bytes.Index(raw, key)+random.IntN(len(key))), uint8(random.IntN(8))
		j := open(t, path, journal.Options{ReadOnly: true})
		flip(t, path, at, bit)
		outcome := "harmless"
		for _, of := range []int{n, random.IntN(len(all)), random.IntN(len(all)), n} {
			r, ok, err := j.Entity(1, all[of].Entity)
			switch {
			case errors.As(err, new(*journal.DamagedError)):
				outcome = "damaged"
			case err != nil || !ok || !equal(r, all[of]):
				t.Errorf("bit %d of byte %d, in the key of entity %s: entity %s is %v, %t, %v", bit, at, all[n].Entity, all[of].Entity, r.Key(), ok, err)
			}
		}
		outcomes[outcome]++
		flip(t, path, at, bit)
		must(t, j.Close())
	}
	t.Log(outcomes)
}

// A record that rots costs the copy it is of, not the one whose records stand beside it.
func TestRotBesideAnotherCopy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, journal.Options{})
	for _, id := range []shard.CopyID{1, 2, 3} {
		create(t, j, id)
		write(t, j, id, replication.Write{Promise: 1, Records: records(1, 1, 1, 3, 10), Confirmed: 3})
		k := replication.Key{Kind: replication.KindSnapshot, Entity: shard.EntityID(fmt.Sprintf("m-of-%d", id))}
		must(t, wait(func(done func(error)) { j.Keep(id, []replication.Record{apartRecord(k, 1, 30)}, nil, done) }))
	}
	must(t, j.Close())
	raw, err := os.ReadFile(path)
	must(t, err)
	j = open(t, path, journal.Options{})
	for _, id := range []shard.CopyID{1, 3} {
		key := fmt.Appendf(nil, "%cm-of-%d", replication.KindSnapshot, id)
		for at := bytes.Index(raw, key); at >= 0; { // in pages that are free by now too
			flip(t, path, int64(at+len(key)+30), 3)
			next := bytes.Index(raw[at+1:], key)
			if next < 0 {
				break
			}
			at += 1 + next
		}
	}
	for _, absent := range []shard.EntityID{"a", "z"} {
		if r, ok, err := j.Entity(2, absent); ok || err != nil {
			t.Errorf("entity %s, which was never kept, is %v, %t, %v", absent, r.Key(), ok, err)
		}
	}
	if _, ok, err := j.Entity(2, "m-of-2"); !ok || err != nil {
		t.Errorf("the copy between is %t, %v", ok, err)
	}
	for _, id := range []shard.CopyID{1, 3} {
		if _, _, err := j.Entity(id, shard.EntityID(fmt.Sprintf("m-of-%d", id))); !errors.As(err, new(*journal.DamagedError)) {
			t.Errorf("the rotten record of copy %d: %v", id, err)
		}
	}
}

// Files of others: each is refused with its own sentence and left as it is.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	must(t, os.WriteFile(text, bytes.Repeat([]byte("not a database\n"), 2000), 0o600))
	other := filepath.Join(dir, "raft.db")
	db, err := bolt.Open(other, 0o600, nil)
	must(t, err)
	must(t, db.Close())
	similar := filepath.Join(dir, "similar.db")
	db, err = bolt.Open(similar, 0o600, &bolt.Options{NoFreelistSync: true})
	must(t, err)
	must(t, db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("logs"))
		return err
	}))
	must(t, db.Close())
	elsewhere, _ := filled(t)
	for _, c := range []struct{ path, want string }{
		{text, "no bbolt file"}, {other, "another program"}, {similar, "another program"}, {elsewhere, "belongs to data directory dir-1"},
	} {
		_, err := journal.Open(c.path, journal.Options{Directory: "dir-2"})
		wantError(t, err, c.path, c.want)
		if !errors.Is(err, journal.ErrWrongFile) {
			t.Errorf("%s: %v", c.path, err)
		}
	}
	_, err = journal.Open(dir, journal.Options{})
	wantError(t, err, dir, "directory")
}

// A commit that fails in its sync: nothing after it is written, the mark is left, the next Open starts empty and keeps the
// file, and an operator who vouches gets it back.
func TestFailedSync(t *testing.T) {
	for name, fail := range map[string]func(func() error) error{
		"after the data": func(commit func() error) error { return errors.Join(commit(), syscall.EIO) },
		"before":         func(func() error) error { return syscall.EIO },
		"panic":          func(func() error) error { panic("page 7 already freed") },
	} {
		t.Run(name, func(t *testing.T) {
			path, want := filled(t)
			j := open(t, path, journal.Options{})
			journal.FailCommits(j, fail)
			first := make(chan error, 1)
			j.Write(1, &replication.Write{Records: records(1, 1, 301, 301, 9)}, func(err error) { first <- err })
			if err := <-first; err == nil {
				t.Fatal("the write was acknowledged")
			}
			<-j.Failed()
			err := wait(func(done func(error)) { j.Write(2, &replication.Write{Promise: 2}, done) })
			if !errors.Is(err, journal.ErrStopped) || j.Err() == nil {
				t.Errorf("the next write: %v; %v", err, j.Err())
			}
			j.Close()
			if _, err := os.Stat(path + ".failed-sync"); err != nil {
				t.Fatal(err)
			}
			j = open(t, path, journal.Options{})
			if len(j.Copies()) != 0 {
				t.Errorf("copies that may never have reached the disk: %+v", j.Copies())
			}
			must(t, j.Close())
			must(t, os.Rename(path+".aside-1", path))
			must(t, os.Rename(path+".aside-1.failed-sync", path+".failed-sync"))
			must(t, journal.Vouch(path))
			j = open(t, path, journal.Options{})
			same(t, contents(t, j, 2), want[2])
		})
	}
}

// A disk without room stops the journal, and after a restart everything acknowledged is there.
func TestFailedWrite(t *testing.T) {
	path, want := filled(t)
	j := open(t, path, journal.Options{})
	journal.FailCommits(j, func(func() error) error { return &os.PathError{Op: "write", Path: path, Err: syscall.ENOSPC} })
	err := wait(func(done func(error)) { j.Write(1, &replication.Write{Promise: 2}, done) })
	if !errors.Is(err, syscall.ENOSPC) || !errors.Is(j.Err(), syscall.ENOSPC) {
		t.Errorf("%v; %v", err, j.Err())
	}
	j.Close()
	j = open(t, path, journal.Options{})
	same(t, contents(t, j, 1), want[1])
	same(t, contents(t, j, 2), want[2])
}
