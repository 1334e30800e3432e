package journal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

// An audit of a file that nobody writes to reads everything of every copy: it counts what is in the log and what is apart, names the
// copy that is damaged, and leaves the file as it was. A second reader may look at the same time.
func TestAuditReadsEverything(t *testing.T) {
	path, want := filled(t)
	audit := func() []journal.Audit {
		first, second := open(t, path, journal.Options{ReadOnly: true}), open(t, path, journal.Options{ReadOnly: true})
		defer first.Close()
		defer second.Close()
		return second.Audit()
	}
	for i, a := range audit() {
		if a.Damaged != nil || a.Records != len(want[shard.CopyID(i+1)]) || a.Apart != 0 || a.State.Copy != shard.CopyID(i+1) {
			t.Errorf("copy %d: %+v", i+1, a)
		}
	}
	raw, err := os.ReadFile(path)
	must(t, err)
	flip(t, path, int64(bytes.Index(raw, []byte("1/1/137.1/1/137."))), 3)
	rotten, err := os.ReadFile(path)
	must(t, err)
	if all := audit(); all[0].Damaged == nil || all[1].Damaged != nil || all[1].Records != len(want[2]) {
		t.Errorf("%+v", all)
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(after, rotten) {
		t.Error("the audit changed the file")
	}
}

// A copy that has just been created is nothing but itself, and one with something apart shows that first.
func TestEachShowsWhatIsApartFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, journal.Options{})
	defer j.Close()
	create(t, j, 1, 2)
	write(t, j, 1, replication.Write{Promise: 1, Records: records(1, 1, 1, 3, 10), Confirmed: 3})
	kept := replication.Record{Position: shard.Position{Epoch: 1, LSN: 3}, Kind: replication.KindSnapshot, Entity: "e", Seq: 3, Body: []byte("s")}
	must(t, wait(func(done func(error)) { j.Keep(1, []replication.Record{kept}, nil, done) }))
	var seen []journal.Entry
	must(t, j.Each(1, func(e journal.Entry) error {
		seen = append(seen, e)
		return nil
	}))
	if len(seen) != 4 || !seen[0].Apart || seen[0].Kind != "snapshot" || seen[0].Entity != "e" || seen[1].Apart || seen[3].LSN != 3 {
		t.Errorf("%+v", seen)
	}
	if all := j.Audit(); all[0].Records != 3 || all[0].Apart != 1 || all[1].Records+all[1].Apart != 0 || all[1].Damaged != nil {
		t.Errorf("%+v", all)
	}
}

// A disk that fails a sync may take the mark of that without its words. The next start sets the journal aside all the same, so whoever looks before is
// told of it, and can vouch for the disk.
func TestMarkWithoutWordsIsAMark(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	must(t, open(t, path, journal.Options{}).Close())
	if why, err := journal.Marked(path); why != "" || err != nil {
		t.Errorf("without a mark: %q, %v", why, err)
	}
	must(t, os.WriteFile(path+journal.MarkSuffix, nil, 0o600))
	if why, err := journal.Marked(path); why == "" || err != nil {
		t.Errorf("with a mark that is empty: %q, %v", why, err)
	}
}
