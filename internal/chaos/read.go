package chaos

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"muster/entity"
	"muster/shard"
)

// How the readers of one node read.
const (
	readEvery   = 10 * time.Millisecond
	readPending = 256              // reads that wait for an answer; beyond it none is begun
	readLimit   = 30 * time.Second // longer than any node is stopped: a read that waited in its sockets must not be stale either
)

// readers look into the books that are in use, each through one node, whatever the map says of that node.
type readers struct {
	load *Load
	done sync.WaitGroup
	mu   struct {
		sync.Mutex
		sights []Sight
		failed map[string]int // reads without an answer, by node
	}
}

// Look begins to read through a node until the load stops. Reads are begun at a steady pace and not one after the other, so that
// many wait when the node is stopped.
func (l *Load) Look(via string, to entity.Sender) {
	l.done.Go(func() {
		tick := time.NewTicker(readEvery)
		defer tick.Stop()
		pending := make(chan struct{}, readPending)
		for {
			select {
			case <-l.quit:
				return
			case <-tick.C:
			}
			select {
			case pending <- struct{}{}:
				l.readers.done.Go(func() {
					l.readers.look(via, to)
					<-pending
				})
			default:
			}
		}
	})
}

func (r *readers) look(via string, to entity.Sender) {
	ctx, cancel := context.WithTimeout(context.Background(), readLimit)
	defer cancel()
	go func() {
		select {
		case <-r.load.quit:
			cancel() // what a reader did not see is no loss
		case <-ctx.Done():
		}
	}()
	r.load.mu.Lock()
	book := r.load.mu.open[rand.N(len(r.load.mu.open))]
	r.load.mu.Unlock()
	s := Sight{Book: book, Via: via, Began: time.Now()}
	ids, err := ReadBook.Ask(ctx, to, shard.EntityID(book), Read{})
	s.Ended, s.Count, s.Sum = time.Now(), len(ids), Sum(ids)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if r.mu.failed == nil {
			r.mu.failed = map[string]int{}
		}
		r.mu.failed[via]++
		return
	}
	r.mu.sights = append(r.mu.sights, s)
}

func (r *readers) stop() []Sight {
	r.done.Wait()
	return r.mu.sights
}

// Seen returns how many reads through the node were begun after the moment and are answered.
func (l *Load) Seen(via string, after time.Time) (n int) {
	l.readers.mu.Lock()
	defer l.readers.mu.Unlock()
	for _, s := range l.readers.mu.sights {
		if s.Via == via && s.Began.After(after) {
			n++
		}
	}
	return n
}
