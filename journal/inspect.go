package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"muster/replication"
	"muster/shard"
)

// Audit is what reading all the data of one copy came to: every checksum was compared.
type Audit struct {
	CopyState
	Records int // in its log
	Apart   int // kept beside the log: snapshots of entities, and what is remembered of requests
}

// Audit reads everything that the journal holds of every copy, by copy id. Damage it finds is in the copy's Damaged.
func (j *Journal) Audit() []Audit {
	var all []Audit
	for _, s := range j.Copies() {
		a := Audit{CopyState: s}
		if s.Damaged == nil {
			a.Damaged = j.Each(s.State.Copy, func(e Entry) error {
				if e.Apart {
					a.Apart++
				} else {
					a.Records++
				}
				return nil
			})
		}
		all = append(all, a)
	}
	return all
}

// Entry is a record of a copy, for people.
type Entry struct {
	shard.Position
	Apart   bool   // kept beside the log; it has no place in it
	Kind    string // epoch-start, command, snapshot or requests
	Entity  shard.EntityID
	Seq     shard.Seq
	Request shard.RequestID
	Body    []byte // an encoded entity.Outcome of a command, the encoded state of a snapshot
}

// Each calls fn with what is apart from a copy's log and then with the records of the log, in order. It stops at fn's first
// error and returns it. fn may keep the entry.
func (j *Journal) Each(copy shard.CopyID, fn func(Entry) error) error {
	for after, more := (replication.Key{}), true; more; {
		records, rest, err := j.Apart(copy, after, scanBytes)
		if err != nil {
			return err
		}
		for i := range records {
			e := entryOf(&records[i])
			e.Apart = true
			if err := fn(e); err != nil {
				return err
			}
			after = records[i].Key()
		}
		more = rest
	}
	if s, known := j.stateOf(copy); !known || s.Last == s.Base {
		return nil
	}
	return j.Scan(copy, func(r *replication.Record) error { return fn(entryOf(r)) })
}

func (j *Journal) stateOf(copy shard.CopyID) (replication.State, bool) {
	for _, s := range j.Copies() {
		if s.State.Copy == copy {
			return s.State, true
		}
	}
	return replication.State{}, false
}

func entryOf(r *replication.Record) Entry {
	kinds := map[replication.Kind]string{
		replication.KindEpochStart: "epoch-start", replication.KindCommand: "command",
		replication.KindSnapshot: "snapshot", replication.KindRequests: "requests",
	}
	kind, known := kinds[r.Kind]
	if !known {
		kind = fmt.Sprintf("unknown(%d)", r.Kind)
	}
	return Entry{Position: r.Position, Kind: kind, Entity: r.Entity, Seq: r.Seq, Request: r.Request, Body: r.Body}
}

// Marked returns what the mark of a failed sync beside the journal says, "" when there is none. One that says nothing is a mark too: the disk that
// failed the sync may not have taken its words.
func Marked(path string) (string, error) {
	b, err := os.ReadFile(path + MarkSuffix)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("journal's mark: %w", err)
	}
	return cmp.Or(strings.TrimSpace(string(b)), "the mark does not say why"), nil
}
