package journal

import (
	"fmt"

	"muster/replication"
	"muster/shard"
)

// A Staging is a shard snapshot on its way in: where the log will start, who sends it, and how far it has come.
type Staging struct {
	Base   shard.Position
	Source shard.CopyID
	Last   replication.Key // of the newest record staged, the zero key before the first
}

// Stage stores the next chunk of a shard snapshot beside what the copy holds: s says which one, and the record that was
// staged last. The chunk may be empty. With the zero key in s.Last it starts over, and whatever was staged before is dropped. Nothing of
// it counts until Write.Install.
//
// It refuses, and changes nothing, what does not follow what is staged, records whose keys do not rise, a base that is
// confirmed here already, more than MaxKeepBytes, and a copy that is not there or is damaged.
func (j *Journal) Stage(copy shard.CopyID, s Staging, records []replication.Record, done func(error)) {
	ch := &change{base: s.Base, source: s.Source, over: s.Last == replication.Key{}}
	o := &op{kind: opStage, copy: copy, change: ch, done: done}
	next, err := s.through(records)
	if err == nil {
		ch.apart, err = newApart(records, nil)
	}
	j.submit(o, func() error {
		if err == nil {
			err = j.usable(o)
		}
		if err != nil {
			return fmt.Errorf("journal: stage for copy %d: %w", copy, err)
		}
		l := o.log
		switch {
		case s.Base.LSN <= l.queued.confirmed:
			return fmt.Errorf("journal: stage for copy %d: %s is confirmed to %d already", copy, l.shard, l.queued.confirmed)
		case !ch.over && l.staged != s:
			return fmt.Errorf("journal: stage for copy %d: %+v does not follow %+v", copy, s, l.staged)
		}
		l.staged = next
		return nil
	})
}

// through returns the staging once records are there too.
func (s Staging) through(records []replication.Record) (Staging, error) {
	for i := range records {
		k := records[i].Key()
		if s.Last.Compare(k) >= 0 {
			return s, fmt.Errorf("record %d, %v, does not stand behind %v", i, k, s.Last)
		}
		s.Last = k
	}
	return s, nil
}

// Staged returns what Stage has taken for a copy and Install has not used, durable or about to be, and whether there is any.
func (j *Journal) Staged(copy shard.CopyID) (Staging, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	l := j.mu.copies[copy]
	if l == nil || l.staged.Base.LSN == 0 {
		return Staging{}, false
	}
	return l.staged, true
}

// stage begins or goes on with a generation beside the present one. It runs in the commit.
func (j *Journal) stage(b *buckets, ch *change, v *copyValue) error {
	if ch.over {
		j.space.drop(v.staging.generation)
		v.staging = staging{generation: j.space.newGeneration(), base: ch.base, source: ch.source}
	}
	b.apart.FillPercent = 0.95 // chunks come in key order, so a page that was filled is not met again
	return ch.apart.store(b.apart, v.staging.generation, &v.staging.apart)
}

// install makes what is staged what the copy is. It runs in the commit.
func (j *Journal) install(o *op, v *copyValue) {
	j.space.drop(v.generation)
	v.base, v.from = o.change.base, o.from
	v.generation, v.apart, v.staging = v.staging.generation, v.staging.apart, staging{}
}

// admitInstall agrees to a write that installs, when that very snapshot is staged.
func (l *copyLog) admitInstall(o *op) error {
	if l.staged.Base != o.change.base {
		return fmt.Errorf("install %s, but what is staged is for %s", o.change.base, l.staged.Base)
	}
	l.staged = Staging{}
	l.installs++
	return nil
}
