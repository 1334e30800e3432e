package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"muster/entity"
	"muster/shard"
)

// volume is how many entries a client makes before it goes on in the next volumes of its books: a reply holds a whole book.
const volume = 400

// A Load is a number of clients that enter ids into books, each waiting for one answer before it asks again.
//
// One goroutine a client; mu guards what they write down together.
type Load struct {
	Plan
	to      entity.Sender
	quit    chan struct{}
	done    sync.WaitGroup
	readers *readers
	mu      struct {
		sync.Mutex
		entries []Entry
		served  [Shards][]time.Time // when each shard last confirmed, in order
		open    []string            // the books in use, two for each client
	}
}

// Plan is what a Load does. Clients is needed.
type Plan struct {
	Clients int
	Limit   time.Duration // of one command; 30 s
	Rate    int           // entries per second of all clients; 0: as many as there are answers
}

// Start begins the load. Each client uses four books, each of them with another client. Every shard has books.
func Start(to entity.Sender, p Plan) *Load {
	if p.Limit == 0 {
		p.Limit = 30 * time.Second
	}
	l := &Load{Plan: p, to: to, quit: make(chan struct{})}
	l.readers = &readers{load: l}
	l.mu.open = make([]string, 2*p.Clients)
	for c := range p.Clients {
		l.turn(c, 0)
	}
	for c := range p.Clients {
		l.done.Go(func() { l.client(c) })
	}
	return l
}

// title is the name of a volume of the nth book. Books fall on all shards evenly.
func title(n, volume int) string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("book-%d.%d.%d", n, volume, i)
		if shard.Of(shard.EntityID(name), Shards) == shard.Number(n%Shards) {
			return name
		}
	}
}

// turn opens a volume of the client's own two books.
func (l *Load) turn(c, volume int) {
	own := [2]string{title(2*c, volume), title(2*c+1, volume)}
	l.mu.Lock()
	defer l.mu.Unlock()
	copy(l.mu.open[2*c:], own[:])
}

// book is where the client's ith entry goes: two books are its own, two the next client's.
func (l *Load) book(c, i int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.open[(2*c+i%4)%len(l.mu.open)]
}

func (l *Load) client(c int) {
	var pace <-chan time.Time
	if l.Rate > 0 {
		tick := time.NewTicker(time.Duration(l.Clients) * time.Second / time.Duration(l.Rate))
		defer tick.Stop()
		pace = tick.C
	}
	for i := 0; ; i++ {
		select {
		case <-l.quit:
			return
		default:
		}
		if i%volume == volume-1 {
			l.turn(c, i/volume+1)
		}
		l.enter(Entry{Book: l.book(c, i), ID: fmt.Sprintf("c%d-%d", c, i), Client: c})
		if pace == nil {
			continue
		}
		select {
		case <-pace:
		case <-l.quit:
			return
		}
	}
}

func (l *Load) enter(e Entry) {
	ctx, cancel := context.WithTimeout(context.Background(), l.Limit)
	defer cancel()
	e.Began = time.Now()
	place, err := EnterBook.Ask(ctx, l.to, shard.EntityID(e.Book), Enter{ID: e.ID})
	e.Ended, e.Place, e.Fate = time.Now(), place, fate(err)
	if err != nil {
		e.Problem = err.Error()
	}
	l.note(e)
}

func fate(err error) Fate {
	var fault *shard.Error
	switch {
	case err == nil:
		return Confirmed
	case errors.As(err, &fault) && fault.Outcome == shard.NotApplied:
		return Absent
	default:
		return Uncertain
	}
}

func (l *Load) note(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.entries = append(l.mu.entries, e)
	if e.Fate == Confirmed {
		n := shard.Of(shard.EntityID(e.Book), Shards)
		l.mu.served[n] = append(l.mu.served[n], e.Ended)
	}
}

// Confirmed returns how many entries were confirmed so far.
func (l *Load) Confirmed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, served := range l.mu.served {
		n += len(served)
	}
	return n
}

// Outage returns the longest time after from in which some shard confirmed nothing, the time since its newest
// confirmation included, and whether each shard has confirmed something since to.
func (l *Load) Outage(from, to time.Time) (longest time.Duration, back bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	back = true
	for _, served := range l.mu.served {
		i, _ := slices.BinarySearchFunc(served, from, time.Time.Compare)
		last := from
		for _, at := range served[i:] {
			longest, last = max(longest, at.Sub(last)), at
		}
		longest = max(longest, time.Since(last))
		back = back && last.After(to)
	}
	return longest, back
}

// Latencies returns how long the confirmed entries into the given shards took that were asked for and answered between
// the two moments, shortest first.
func (l *Load) Latencies(from, to time.Time, of func(shard.Number) bool) []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []time.Duration
	for _, e := range l.mu.entries {
		if e.Fate == Confirmed && e.Began.After(from) && e.Ended.Before(to) && of(shard.Of(shard.EntityID(e.Book), Shards)) {
			all = append(all, e.Ended.Sub(e.Began))
		}
	}
	slices.Sort(all)
	return all
}

// Stop ends the load once every answer is there, and returns what the clients were told and what the readers saw.
func (l *Load) Stop() ([]Entry, []Sight) {
	close(l.quit)
	l.done.Wait()
	return l.mu.entries, l.readers.stop()
}

// Books reads every book that entries names.
func Books(ctx context.Context, from entity.Sender, entries []Entry) (map[string][]string, error) {
	books := map[string][]string{}
	for _, e := range entries {
		if _, done := books[e.Book]; done {
			continue
		}
		ids, err := ReadBook.Ask(ctx, from, shard.EntityID(e.Book), Read{})
		if err != nil {
			return nil, fmt.Errorf("read book %s: %w", e.Book, err)
		}
		books[e.Book] = ids
	}
	return books, nil
}
