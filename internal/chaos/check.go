package chaos

import (
	"fmt"
	"strings"
)

// An Entry is what a client knows about one id it tried to enter.
type Entry struct {
	Book    string
	ID      string
	Client  int
	Fate    Fate
	Place   int // what the group answered, when confirmed
	Problem string
}

// Fate is what a client was told.
type Fate uint8

// The fates. Absent and Uncertain are what the group's errors claim: not applied, or outcome unknown.
const (
	Confirmed Fate = iota + 1
	Absent
	Uncertain
)

// Check holds what the clients were told against what the books hold. It returns one line for each lie.
//
// Confirmed: exactly once, at the place that was answered. Absent: not there. Uncertain: at most once. Nothing is there
// that nobody entered, and what one client entered into one book, each after the answer to the one before, is in that order.
func Check(entries []Entry, books map[string][]string) []string {
	c := checker{places: map[string][]int{}, last: map[string]int{}, books: books}
	for book, ids := range books {
		for i, id := range ids {
			c.places[book+"\x00"+id] = append(c.places[book+"\x00"+id], i+1)
		}
	}
	for i := range entries {
		c.check(&entries[i])
	}
	for key := range c.places {
		book, id, _ := strings.Cut(key, "\x00")
		c.lie("book %s holds %s, which nobody entered", book, id)
	}
	return c.lies
}

type checker struct {
	books  map[string][]string
	places map[string][]int // where each id is, by book and id; what remains at the end was never entered
	last   map[string]int   // the place of the client's newest confirmed entry, by client and book
	lies   []string
}

func (c *checker) check(e *Entry) {
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
	who := fmt.Sprintf("%d %s", e.Client, e.Book)
	if at[0] <= c.last[who] {
		c.lie("%s in book %s is at %d, before an older one of client %d at %d", e.ID, e.Book, at[0], e.Client, c.last[who])
	}
	if e.Fate == Confirmed {
		c.last[who] = at[0]
	}
}

func (c *checker) lie(format string, args ...any) {
	c.lies = append(c.lies, fmt.Sprintf(format, args...))
}
