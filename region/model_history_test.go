package region_test

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"muster/entity"
	"muster/shard"
)

// A book is what was asked of one entity, and what everybody heard.
type book struct {
	of      *ledgers
	entity  entity.ID
	shard   shard.ID
	replays []replay // what it is in the end, by the word of each copy

	mu    sync.Mutex
	deeds []*deed
}

// A replay is an entity as a copy that leads has it.
type replay struct {
	by    shard.Copy
	marks []uint64
}

// A deed is an order and what became of it.
type deed struct {
	order
	how   string // it was asked
	fate  fate
	saw   [][]uint64 // the marks of each answer
	began time.Duration
	ended time.Duration
	story []string // its attempts
}

type fate uint8

const (
	open   fate = iota // it may have happened, at most once
	done               // it has happened
	absent             // it has not, and never will
)

func (f fate) String() string { return [...]string{"open", "done", "absent"}[f] }

func newBook(of *ledgers, id entity.ID) *book {
	at := shard.ID{Type: of.Name(), Number: shard.Of(id, of.Spec().Shards)}
	return &book{of: of, entity: id, shard: at}
}

func (b *book) note(d *deed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deeds = append(b.deeds, d)
}

// check returns what is wrong.
func (b *book) check() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of.Spec().Volatile {
		return b.checkVolatile()
	}
	all := b.replays[0].marks
	for _, r := range b.replays[1:] {
		if !slices.Equal(r.marks, all) {
			return []string{fmt.Sprintf("copy %d on %s has %s, copy %d on %s %s",
				b.replays[0].by.ID, b.replays[0].by.Node, brief(all), r.by.ID, r.by.Node, brief(r.marks))}
		}
	}
	faults := b.foreign(all)
	for _, d := range b.deeds {
		faults = append(faults, d.against(all)...)
	}
	return append(faults, b.order(all)...)
}

// foreign lists marks that nobody asked for, or that are there twice.
func (b *book) foreign(all []uint64) (faults []string) {
	known, seen := map[uint64]bool{}, map[uint64]bool{}
	for _, d := range b.deeds {
		for i := range d.Events {
			known[mark(d.Serial, i)] = true
		}
	}
	for _, m := range all {
		if !known[m] || seen[m] {
			faults = append(faults, fmt.Sprintf("event %s is there; asked for: %v, twice: %v", brief([]uint64{m}), known[m], seen[m]))
		}
		seen[m] = true
	}
	return faults
}

// against holds a deed against what there is: whole, in one piece and at its place, or not at all.
func (d *deed) against(all []uint64) (faults []string) {
	at := slices.Index(all, mark(d.Serial, 0))
	there := 0
	for _, m := range all {
		if serialOf(m) == d.Serial {
			there++
		}
	}
	bad := func(format string, args ...any) {
		faults = append(faults, fmt.Sprintf("order %d, %s: ", d.Serial, d.fate)+fmt.Sprintf(format, args...))
	}
	switch {
	case there > 0 && (d.fate == absent || d.Ends != answers):
		bad("%d of its %d events are there", there, d.Events)
	case there != d.Events && (there > 0 || d.fate == done):
		bad("%d of its %d events are there", there, d.Events)
	case there > 0 && (at < 0 || at+there > len(all) || serialOf(all[at+there-1]) != d.Serial):
		bad("its events are not in one piece")
	}
	if len(faults) > 0 {
		return faults
	}
	for _, saw := range d.saw {
		switch {
		case len(saw) > len(all) || !slices.Equal(saw, all[:len(saw)]):
			bad("it saw %s, which never was", brief(saw))
		case d.Events > 0 && at+d.Events != len(saw):
			bad("its events are at %d, it saw %d events", at, len(saw))
		}
	}
	return faults
}

// place is how much of the entity there was before the deed and after it; false when that is not known.
func (d *deed) place(all []uint64) (before, after int, known bool) {
	at := slices.Index(all, mark(d.Serial, 0))
	switch {
	case d.Events > 0 && at >= 0:
		return at, at + d.Events, true
	case len(d.saw) > 0:
		return len(d.saw[0]), len(d.saw[0]), true
	}
	return 0, 0, false
}

// order checks that nothing goes back: what began after something had been answered comes behind it.
func (b *book) order(all []uint64) (faults []string) {
	for _, late := range b.deeds {
		before, _, known := late.place(all)
		for _, early := range b.deeds {
			_, after, answered := early.place(all)
			if known && answered && early.fate == done && early.ended < late.began && after > before {
				faults = append(faults, fmt.Sprintf("order %d was answered at %s and saw %d events; order %d began at %s and saw %d",
					early.Serial, early.ended, after, late.Serial, late.began, before))
			}
		}
	}
	return faults
}

// checkVolatile checks an entity that starts anew, again and again: each time it is what was done to it since, and it never goes back to
// one of the times before.
func (b *book) checkVolatile() (faults []string) {
	reigns := map[uint64][]*deed{} // by the first mark
	longest := map[uint64][]uint64{}
	for _, d := range b.deeds {
		for _, saw := range d.saw {
			if len(saw) == 0 {
				continue
			}
			if len(saw) > len(longest[saw[0]]) {
				longest[saw[0]] = saw
			}
			one := *d
			one.saw = [][]uint64{saw}
			reigns[saw[0]] = append(reigns[saw[0]], &one)
		}
	}
	for first, deeds := range reigns {
		all := longest[first]
		faults = append(faults, b.foreign(all[1:])...)
		for _, d := range deeds {
			faults = append(faults, d.against(all)...)
		}
		faults = append(faults, (&book{of: b.of, deeds: deeds}).order(all)...)
		for _, d := range b.deeds {
			if d.fate == absent && slices.ContainsFunc(all, func(m uint64) bool { return serialOf(m) == d.Serial }) {
				faults = append(faults, fmt.Sprintf("order %d is absent and was seen", d.Serial))
			}
		}
	}
	return append(faults, between(reigns)...)
}

// between looks for what was seen of one reign while another lasted.
func between(reigns map[uint64][]*deed) (faults []string) {
	for first, deeds := range reigns {
		known := slices.MinFunc(deeds, func(a, b *deed) int { return cmp.Compare(a.ended, b.ended) }).ended
		still := slices.MaxFunc(deeds, func(a, b *deed) int { return cmp.Compare(a.began, b.began) }).began
		for other, seen := range reigns {
			for _, d := range seen {
				if other != first && d.began > known && d.ended < still {
					faults = append(faults, fmt.Sprintf("order %d saw the time of %s in the middle of that of %s",
						d.Serial, brief([]uint64{other}), brief([]uint64{first})))
				}
			}
		}
	}
	return faults
}

// brief prints marks as the orders they are of.
func brief(marks []uint64) string {
	var s []string
	for _, m := range marks {
		s = append(s, fmt.Sprintf("%d.%d", serialOf(m), m%(1<<markBits)))
	}
	return fmt.Sprint(s)
}

// print tells the whole story.
func (b *book) print(t *testing.T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.replays {
		t.Logf("%s on copy %d, %s: %s", b.entity, r.by.ID, r.by.Node, brief(r.marks))
	}
	slices.SortFunc(b.deeds, func(a, b *deed) int { return cmp.Compare(a.began, b.began) })
	for _, d := range b.deeds {
		t.Logf("%s %8.1f %8.1f ms %6s order %d: %d events of %d bytes, %s; %s %v; saw %d", b.entity,
			d.began.Seconds()*1000, d.ended.Seconds()*1000, d.fate, d.Serial, d.Events, d.Pad, cmp.Or(d.Ends, "answers"), d.how, d.story, lengths(d.saw))
	}
}

func lengths(all [][]uint64) (n []int) {
	for _, one := range all {
		n = append(n, len(one))
	}
	return n
}
