package region_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"muster/region"
	"muster/replication"
	"muster/shard"
)

func event(lsn shard.LSN, entity string, seq shard.Seq) replication.Record {
	return replication.Record{
		Position: shard.Position{Epoch: 1, LSN: lsn}, Kind: replication.KindCommand, Entity: shard.EntityID(entity), Seq: seq,
	}
}

func snapshotOf(lsn shard.LSN, entity string, seq shard.Seq) replication.Record {
	r := event(lsn, entity, seq)
	r.Kind = replication.KindSnapshot
	return r
}

// A snapshot is logged after the state it holds was left behind, so the log's start may come to stand between the two: the
// snapshot is in the log, and what is apart is newer. Where an entity is brought back from is right all the same: no record is missed,
// and none that comes twice is folded twice, for each says which it is.
func TestHeadsBesideWhatIsApart(t *testing.T) {
	for _, c := range []struct {
		name string
		log  []replication.Record
		want region.Path
		none bool
	}{
		{"the log has it from the start", []replication.Record{event(1, "e", 1), event(2, "e", 2)}, region.Path{After: []shard.LSN{1, 2}}, false},
		{"the log has its end", []replication.Record{event(11, "e", 8), event(12, "e", 9)},
			region.Path{Seq: 7, Apart: true, After: []shard.LSN{11, 12}}, false},
		{"a snapshot, and nothing before it", []replication.Record{snapshotOf(11, "e", 7)}, region.Path{}, true},
		{"a snapshot that is older than what is apart", []replication.Record{snapshotOf(11, "e", 5), event(12, "e", 8)},
			region.Path{Seq: 7, Apart: true, After: []shard.LSN{12}}, false},
		{"the same, behind the first record", []replication.Record{event(11, "e", 8), snapshotOf(12, "e", 5), event(13, "e", 9)},
			region.Path{Seq: 7, Apart: true, After: []shard.LSN{11, 13}}, false},
		{"a snapshot of just what is apart", []replication.Record{event(11, "e", 8), snapshotOf(12, "e", 7), event(13, "e", 9)},
			region.Path{Base: 12, Seq: 7, After: []shard.LSN{11, 13}}, false},
		{"a snapshot that is newer", []replication.Record{event(11, "e", 8), event(12, "e", 9), snapshotOf(13, "e", 8)},
			region.Path{Base: 13, Seq: 8, After: []shard.LSN{12}}, false},
		{"a snapshot of a state that the log does not reach", []replication.Record{event(11, "e", 8), snapshotOf(12, "e", 9)},
			region.Path{Seq: 7, Apart: true, After: []shard.LSN{11}}, false},
	} {
		var h region.Heads
		for _, r := range c.log {
			h.Note(r)
		}
		h.Confirm(100)
		p, ok := h.Path("e")
		if ok == c.none || ok && (p.Base != c.want.Base || p.Seq != c.want.Seq || p.Apart != c.want.Apart || !slices.Equal(p.After, c.want.After)) {
			t.Errorf("%s: %+v, %v; want %+v", c.name, p, ok, c.want)
		}
	}
}

// A path stays what it was, whatever becomes of the log: an entity is read while records come and go.
func TestPathStays(t *testing.T) {
	for _, late := range []bool{false, true} {
		var h region.Heads
		if !late {
			h.Path("x")
		}
		for lsn := shard.LSN(1); lsn <= 7; lsn++ {
			h.Note(event(lsn, []string{"b", "a"}[lsn%2], shard.Seq((lsn+1)/2)))
		}
		was, _ := h.Path("a")
		h.Truncate(3)
		h.Note(event(3, "b", 2))
		h.Note(event(4, "a", 2))
		h.Note(event(5, "a", 3))
		is, _ := h.Path("a")
		if want := []shard.LSN{1, 3, 5, 7}; !slices.Equal(was.After, want) {
			t.Errorf("late %v: the path is %v now, it was %v", late, was.After, want)
		}
		if want := []shard.LSN{1, 4, 5}; !slices.Equal(is.After, want) {
			t.Errorf("late %v: the new path is %v, not %v", late, is.After, want)
		}
	}
}

// Records are only listed until somebody asks. Whether that is at once or late, the answers are the same, over truncations and
// confirmations in between.
func TestHeadsAskedLate(t *testing.T) {
	for seed := range uint64(200) {
		dice := rand.New(rand.NewPCG(seed, 1))
		var soon, late region.Heads
		soon.Path("x")
		var log []replication.Record
		confirmed := shard.LSN(0)
		for range 1500 {
			both := func(do func(h *region.Heads)) { do(&soon); do(&late) }
			switch last := shard.LSN(len(log)); {
			case dice.IntN(40) == 0 && last > confirmed:
				from := confirmed + 1 + shard.LSN(dice.IntN(int(last-confirmed)))
				log = log[:from-1]
				both(func(h *region.Heads) { h.Truncate(from) })
			case dice.IntN(10) == 0:
				confirmed += shard.LSN(dice.IntN(int(last-confirmed) + 1))
				both(func(h *region.Heads) { h.Confirm(confirmed) })
			default:
				name, seq := fmt.Sprint("e", dice.IntN(7)), shard.Seq(0)
				for _, r := range log {
					if string(r.Entity) == name && r.Kind == replication.KindCommand {
						seq = r.Seq
					}
				}
				r := event(last+1, name, seq+1)
				if dice.IntN(5) == 0 && seq > 0 {
					r = snapshotOf(last+1, name, 1+shard.Seq(dice.IntN(int(seq))))
				}
				log = append(log, r)
				both(func(h *region.Heads) { h.Note(r) })
			}
		}
		for i := range 7 {
			name := shard.EntityID(fmt.Sprint("e", i))
			a, had := soon.Path(name)
			b, has := late.Path(name)
			if had != has || !reflect.DeepEqual(a, b) {
				t.Fatalf("seed %d, entity %s: asked at once %+v, late %+v", seed, name, a, b)
			}
		}
		if a, b := soon.Covered(confirmed), late.Covered(confirmed); a != b {
			t.Fatalf("seed %d: covered to %d, asked late to %d", seed, a, b)
		}
	}
}
