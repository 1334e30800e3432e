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

// A Load is a number of clients that enter ids into books, each waiting for one answer before it asks again.
//
// One goroutine a client; mu guards what they write down together.
type Load struct {
	to     entity.Sender
	limit  time.Duration // of one command
	cancel context.CancelFunc
	done   sync.WaitGroup
	mu     struct {
		sync.Mutex
		entries []Entry
		served  [Shards][]time.Time // when each shard last confirmed, in order
	}
}

// Start begins the load: clients × 4 books, each book used by two clients. Every shard has books.
func Start(to entity.Sender, clients int, limit time.Duration) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{to: to, limit: limit, cancel: cancel}
	names := bookNames(clients * 2)
	for c := range clients {
		mine := []string{names[2*c], names[2*c+1], names[(2*c+2)%len(names)], names[(2*c+3)%len(names)]}
		l.done.Go(func() { l.client(ctx, c, mine) })
	}
	return l
}

// bookNames returns n names that fall on all shards evenly.
func bookNames(n int) []string {
	var names []string
	for i := 0; len(names) < n; i++ {
		name := fmt.Sprintf("book-%d", i)
		if shard.Of(shard.EntityID(name), Shards) == shard.Number(len(names)%Shards) {
			names = append(names, name)
		}
	}
	return names
}

func (l *Load) client(ctx context.Context, c int, names []string) {
	for i := 0; ctx.Err() == nil; i++ {
		e := Entry{Book: names[i%len(names)], ID: fmt.Sprintf("c%d-%d", c, i), Client: c}
		bounded, cancel := context.WithTimeout(ctx, l.limit)
		place, err := EnterBook.Ask(bounded, l.to, shard.EntityID(e.Book), Enter{ID: e.ID})
		cancel()
		e.Place, e.Fate = place, fate(err)
		if err != nil {
			e.Problem = err.Error()
		}
		l.note(e)
	}
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
		l.mu.served[n] = append(l.mu.served[n], time.Now())
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

// Stop ends the load and returns what the clients were told.
func (l *Load) Stop() []Entry {
	l.cancel()
	l.done.Wait()
	return l.mu.entries
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
