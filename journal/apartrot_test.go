package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

// One bit of a key turns while the journal is open: whoever lists what is apart, to send it to another copy or to know which requests were
// answered, gets all of it or is told of damage, and never a part that looks like the whole.
func TestRottenKeyInAListing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, journal.Options{})
	var all []replication.Record
	for id := shard.CopyID(1); id <= 3; id++ {
		create(t, j, id)
		write(t, j, id, replication.Write{Promise: 1, Records: records(id, 1, 1, 3, 10), Confirmed: 3})
		var own []replication.Record
		for n := range 300 {
			k := replication.Key{Kind: replication.KindSnapshot, Entity: shard.EntityID(fmt.Sprintf("entity-%d-%04d", id, n*7))}
			own = append(own, apartRecord(k, 1, 30))
		}
		must(t, wait(func(done func(error)) { j.Keep(id, own, nil, done) }))
		if id == 2 {
			all = own
		}
	}
	must(t, j.Close())
	raw, err := os.ReadFile(path)
	must(t, err)
	random := rand.New(rand.NewPCG(7, 8))
	outcomes := map[string]int{}
	for n := 0; n < len(all)-1; n += 1 + random.IntN(3) { // the last may have become another copy's
		key := append([]byte{0, 0, 0, 0, 0, 0, 0, 2, byte(replication.KindSnapshot)}, all[n].Entity...)
		at, bit := int64(bytes.LastIndex(raw, key)+random.IntN(len(key))), uint8(random.IntN(8))
		j := open(t, path, journal.Options{ReadOnly: true})
		flip(t, path, at, bit)
		listed, err := list(j, 2, 4000)
		switch {
		case errors.As(err, new(*journal.DamagedError)):
			outcomes["damaged"]++
		case err != nil || len(listed) != len(all):
			t.Errorf("bit %d of byte %d of the key of record %d: %d records of %d are listed, %v", bit, at-int64(bytes.LastIndex(raw, key)), n, len(listed), len(all), err)
		default:
			outcomes["harmless"]++
		}
		flip(t, path, at, bit)
		must(t, j.Close())
	}
	t.Log(outcomes)
}

// list reads what a copy keeps apart, in pieces.
func list(j *journal.Journal, id shard.CopyID, bytes int) (all []replication.Record, err error) {
	after := replication.Key{}
	for more := true; more && err == nil; {
		var part []replication.Record
		part, more, err = j.Apart(id, after, bytes)
		if all = append(all, part...); len(part) > 0 {
			after = part[len(part)-1].Key()
		}
		if len(all) > 10_000 {
			return all, errors.New("it does not end")
		}
	}
	return all, err
}
