package chaos

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"
)

// An Entry is what a client knows about one id it tried to enter.
type Entry struct {
	Book    string
	ID      string
	Client  int
	Fate    Fate
	Place   int // what the group answered, when confirmed
	Problem string
	Began   time.Time // when it was asked
	Ended   time.Time // when it was answered
}

// A Sight is what a reader saw of a book: how many entries, and a sum over them in their order.
type Sight struct {
	Book  string
	Via   string // the node that was asked
	Count int
	Sum   uint64
	Began time.Time
	Ended time.Time
}

// Fate is what a client was told.
type Fate uint8

// The fates. Absent and Uncertain are what the group's errors claim: not applied, or outcome unknown.
const (
	Confirmed Fate = iota + 1
	Absent
	Uncertain
)

// Sum is what a Sight keeps of the entries it saw.
func Sum(ids []string) uint64 { return sums(ids)[len(ids)] }

// sums returns the sum of each prefix of ids.
func sums(ids []string) []uint64 {
	h := fnv.New64a()
	all := []uint64{h.Sum64()}
	for _, id := range ids {
		h.Write([]byte(id))
		h.Write([]byte{0})
		all = append(all, h.Sum64())
	}
	return all
}

// Check holds what the clients were told against what the books hold. It returns one line for each lie.
//
// Confirmed: exactly once, at the place that was answered. Absent: not there. Uncertain: at most once. Nothing is there
// that nobody entered. A reader saw a beginning of the book. And time is respected: whatever was asked after an answer comes
// behind what that answer told of, be it a later place or a book that is no shorter. A book only grows, so this is
// linearizability, in n log n steps.
func Check(entries []Entry, sights []Sight, books map[string][]string) []string {
	c := checker{places: map[string][]int{}, points: map[string][]point{}, books: books}
	for book, ids := range books {
		for i, id := range ids {
			c.places[book+"\x00"+id] = append(c.places[book+"\x00"+id], i+1)
		}
	}
	for i := range entries {
		c.entry(&entries[i])
	}
	for key := range c.places {
		book, id, _ := strings.Cut(key, "\x00")
		c.lie("book %s holds %s, which nobody entered", book, id)
	}
	c.seen(sights)
	for book, points := range c.points {
		c.inTime(book, points)
	}
	return c.lies
}

type checker struct {
	books  map[string][]string
	places map[string][]int // where each id is, by book and id; what remains at the end was never entered
	points map[string][]point
	lies   []string
}

// A point is a moment between began and ended at which a book had height entries, or got the last of them. A zero ended means
// that nobody was told.
type point struct {
	began, ended time.Time
	height       int
	writes       bool
	what         string
}

func (c *checker) entry(e *Entry) {
	key := e.Book + "\x00" + e.ID
	at := c.places[key]
	delete(c.places, key)
	switch {
	case len(at) > 1:
		c.lie("%s in book %s took effect %d times, at %v", e.ID, e.Book, len(at), at)
	case e.Fate == Confirmed && len(at) == 0:
		c.lie("%s in book %s was confirmed at %d and is lost", e.ID, e.Book, e.Place)
	case e.Fate == Confirmed && at[0] != e.Place:
		c.lie("%s in book %s was confirmed at %d and is at %d", e.ID, e.Book, e.Place, at[0])
	case e.Fate == Absent && len(at) == 1:
		c.lie("%s in book %s took effect although it was called not applied (%s)", e.ID, e.Book, e.Problem)
	}
	if len(at) != 1 {
		return
	}
	p := point{began: e.Began, height: at[0], writes: true, what: e.ID}
	if e.Fate == Confirmed {
		p.ended = e.Ended
	}
	c.points[e.Book] = append(c.points[e.Book], p)
}

// seen compares what readers saw with the beginnings of the books.
func (c *checker) seen(sights []Sight) {
	known := map[string][]uint64{}
	for _, s := range sights {
		all, ok := known[s.Book]
		if !ok {
			all = sums(c.books[s.Book])
			known[s.Book] = all
		}
		if s.Count >= len(all) || all[s.Count] != s.Sum {
			c.lie("a read of book %s through %s saw %d entries that are not how the book begins", s.Book, s.Via, s.Count)
			continue
		}
		c.points[s.Book] = append(c.points[s.Book], point{s.Began, s.Ended, s.Count, false, "a read through " + s.Via})
	}
}

// inTime walks the points in the order in which they were asked for, with the highest one answered before each.
func (c *checker) inTime(book string, asked []point) {
	slices.SortFunc(asked, func(a, b point) int { return a.began.Compare(b.began) })
	answered := slices.DeleteFunc(slices.Clone(asked), func(p point) bool { return p.ended.IsZero() })
	slices.SortFunc(answered, func(a, b point) int { return cmp.Or(a.ended.Compare(b.ended), cmp.Compare(a.height, b.height)) })
	var highest point
	for _, p := range asked {
		for len(answered) > 0 && answered[0].ended.Before(p.began) {
			if answered[0].height > highest.height {
				highest = answered[0]
			}
			answered = answered[1:]
		}
		if p.height < highest.height || p.writes && p.height == highest.height {
			c.lie("%s in book %s is at %d, although %s had been answered with %d %s before it was asked",
				p.what, book, p.height, highest.what, highest.height, p.began.Sub(highest.ended))
		}
	}
}

func (c *checker) lie(format string, args ...any) {
	c.lies = append(c.lies, fmt.Sprintf(format, args...))
}
