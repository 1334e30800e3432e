package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"muster/entity"
	"muster/shard"
)

const maxTries = 1000 // of one posting that is refused for the moment

// An account's lane holds its postings in the order of the file. One is under way at a time.
type lane struct {
	id      entity.ID
	service *service
	amounts []int64
	next    int // owned by the worker that has the lane
}

// A replay posts everything: the postings of an account one after the other, accounts side by side.
type replay struct {
	to    entity.Sender
	bank  bank
	total int
	lanes []*lane
	ready chan *lane // has room for all, so giving a lane back never waits

	confirmed atomic.Int64
	left      atomic.Int64 // lanes that are not done
	asked     atomic.Int64 // postings whose outcome had to be read off the account
	half      chan struct{}

	services  []*service // by shard
	latencies []time.Duration
	duration  time.Duration
}

func newReplay(to entity.Sender, b bank, shards int, postings []posting) *replay {
	r := &replay{to: to, bank: b, total: len(postings), half: make(chan struct{}), latencies: make([]time.Duration, len(postings))}
	for range shards {
		r.services = append(r.services, &service{})
	}
	lanes := map[int64]*lane{}
	for _, p := range postings {
		l := lanes[p.account]
		if l == nil {
			id := entity.ID(strconv.FormatInt(p.account, 10))
			l = &lane{id: id, service: r.services[shard.Of(id, uint32(shards))]}
			lanes[p.account] = l
			r.lanes = append(r.lanes, l)
		}
		l.amounts = append(l.amounts, p.amount)
	}
	r.ready = make(chan *lane, len(r.lanes))
	r.left.Store(int64(len(r.lanes)))
	for _, l := range r.lanes {
		r.ready <- l
	}
	return r
}

// run posts with so many postings in flight at most, and returns the first error that cannot be helped.
func (r *replay) run(ctx context.Context, callers int) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	start := time.Now()
	var workers sync.WaitGroup
	for range min(callers, len(r.lanes)) {
		workers.Go(func() {
			if err := r.work(ctx); err != nil {
				stop(err)
			}
		})
	}
	workers.Wait()
	r.duration = time.Since(start)
	if int(r.confirmed.Load()) < r.total {
		return context.Cause(ctx)
	}
	return nil
}

func (r *replay) work(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case l, open := <-r.ready:
			if !open {
				return nil
			}
			if err := r.step(ctx, l); err != nil {
				return err
			}
		}
	}
}

// step posts the lane's next amount and gives the lane back.
func (r *replay) step(ctx context.Context, l *lane) error {
	start := time.Now()
	l.service.asked(start)
	err := r.post(ctx, l)
	end := time.Now()
	l.service.answered(end)
	if err != nil {
		return fmt.Errorf("posting %d of account %s: %w", l.next+1, l.id, err)
	}
	l.next++
	n := int(r.confirmed.Add(1))
	r.latencies[n-1] = end.Sub(start)
	if n == (r.total+1)/2 {
		close(r.half)
	}
	if l.next < len(l.amounts) {
		r.ready <- l
	} else if r.left.Add(-1) == 0 {
		close(r.ready)
	}
	return nil
}

// post makes one posting take effect once. The node repeats by itself what a failover interrupted, under the same request id,
// so what remains here is rare: a refusal for the moment, and an outcome that the node could not learn.
func (r *replay) post(ctx context.Context, l *lane) error {
	for try := 0; ; try++ {
		_, err := r.bank.post.Ask(ctx, r.to, l.id, l.amounts[l.next])
		if err == nil || ctx.Err() != nil || try == maxTries {
			return err
		}
		fault := shard.As(err)
		if fault.Outcome == shard.Unknown {
			done, err := r.counted(ctx, l)
			if done || err != nil {
				return err
			}
			continue
		}
		switch fault.Code {
		case shard.CodeOverloaded, shard.CodeUnavailable, shard.CodeTimeout, shard.CodeNoLeader, shard.CodeMoved:
		default:
			return err
		}
		if err := pause(ctx, glance); err != nil {
			return err
		}
	}
}

// counted reads off the account whether the posting under way took effect: the account counts its postings, and this
// program is the only one that posts.
func (r *replay) counted(ctx context.Context, l *lane) (bool, error) {
	r.asked.Add(1)
	a, err := r.read(ctx, l.id)
	if err != nil {
		return false, err
	}
	switch int(a.Postings) {
	case l.next:
		return false, nil
	case l.next + 1:
		return true, nil
	}
	return false, fmt.Errorf("the account has %d postings after %d", a.Postings, l.next)
}

// read is a confirmed read, repeated while the shard has no owner.
func (r *replay) read(ctx context.Context, id entity.ID) (Account, error) {
	for try := 0; ; try++ {
		a, err := r.bank.balance.Ask(ctx, r.to, id, struct{}{})
		if err == nil || ctx.Err() != nil || try == maxTries || shard.CodeOf(err) == shard.CodeUnknownType {
			return a, err
		}
		if err := pause(ctx, glance); err != nil {
			return a, err
		}
	}
}

// readAll reads every account back from the group.
func (r *replay) readAll(ctx context.Context, callers int) (map[int64]Account, error) {
	var mu sync.Mutex
	var errs []error
	all := map[int64]Account{}
	lanes := make(chan *lane, len(r.lanes))
	for _, l := range r.lanes {
		lanes <- l
	}
	close(lanes)
	var readers sync.WaitGroup
	for range min(callers, len(r.lanes)) {
		readers.Go(func() {
			for l := range lanes {
				a, err := r.read(ctx, l.id)
				mu.Lock()
				if err != nil {
					errs = append(errs, fmt.Errorf("balance of account %s: %w", l.id, err))
				}
				id, _ := strconv.ParseInt(string(l.id), 10, 64) // it was made from a number
				all[id] = a
				mu.Unlock()
			}
		})
	}
	readers.Wait()
	return all, errors.Join(errs...)
}
