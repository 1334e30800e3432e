package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"muster/entity"
	"muster/internal/load"
	"muster/shard"
)

// errand is what a member is asked to do beside putting load on the group.
type errand struct {
	Kind     string `json:"kind"`
	From     int    `json:"from"` // numbers of commands, to entities modulo Entities
	To       int    `json:"to"`
	Entities int    `json:"entities"`
	Callers  int    `json:"callers"` // who send them
	Name     string `json:"name"`    // of a barrier
	Parties  int    `json:"parties"`
	Since    int64  `json:"since"` // ns of Unix time
}

// moments are when a party arrived at a barrier and was released, in ns of Unix time.
type moments struct{ Arrived, Released int64 }

// errands are what control answers.
var errands = map[string]func(*member, context.Context, errand) (any, error){
	"touch": func(m *member, ctx context.Context, e errand) (any, error) { return nil, m.touch(ctx, e) },
	"served": func(m *member, ctx context.Context, e errand) (any, error) {
		err := m.everyShard(ctx, m.kinds[e.Kind])
		return time.Now().UnixNano() - e.Since, err
	},
	"heap": func(*member, context.Context, errand) (any, error) { return heap(), nil },
	"barrier": func(m *member, ctx context.Context, e errand) (any, error) {
		t := moments{Arrived: time.Now().UnixNano()}
		_, err := m.node.Barrier(ctx, e.Name, e.Parties, string(m.node.ID()))
		t.Released = time.Now().UnixNano()
		return t, err
	},
	"apply": func(m *member, ctx context.Context, _ errand) (any, error) {
		// Two entries that change the map: news of one that does not reach members at a pace.
		began := time.Now()
		err := m.node.SetRequiredQuorum(ctx, 1)
		if err == nil {
			err = m.node.SetRequiredQuorum(ctx, 0)
		}
		return time.Since(began) / 2, err
	},
	"pauses": func(m *member, _ context.Context, _ errand) (any, error) { return m.node.HandOffs(), nil },
}

func (m *member) control(r load.Request) (any, error) {
	do := errands[r.Do]
	if do == nil {
		return nil, fmt.Errorf("nothing is called %q", r.Do)
	}
	var e errand
	if len(r.With) > 0 {
		if err := json.Unmarshal(r.With, &e); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return do(m, ctx, e)
}

// run has a process do the errand.
func (e errand) run(p *load.Process, do string, value any) error {
	with, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return p.Do(load.Request{Do: do, With: with}, value)
}

// touch sends one command for each number, by as many callers as the errand says.
func (m *member) touch(ctx context.Context, e errand) error {
	callers := e.Callers
	k := m.kinds[e.Kind]
	var all sync.WaitGroup
	faults := make(chan error, callers)
	for i := range callers {
		all.Go(func() {
			body := make([]byte, eventSize)
			for n := e.From + i; n < e.To; n += callers {
				if _, err := k.put.Ask(ctx, m.node, entity.ID(fmt.Sprint("e", n%e.Entities)), body); err != nil {
					faults <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(faults)
	return <-faults
}

// everyShard returns when an entity of each shard has answered.
func (m *member) everyShard(ctx context.Context, k *kind) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	shards := k.Spec().Shards
	asked := map[shard.Number]bool{}
	answers := make(chan error)
	for i := 0; len(asked) < int(shards); i++ {
		id := entity.ID(fmt.Sprint("e", i))
		if n := shard.Of(id, shards); !asked[n] {
			asked[n] = true
			go func() {
				_, err := m.read(ctx, k, id)
				answers <- err
			}()
		}
	}
	var faults []error
	for range asked {
		faults = append(faults, <-answers)
	}
	return errors.Join(faults...)
}

// heap is what the program holds in memory, stacks included, after everything that nobody refers to is gone.
func heap() uint64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC() // what had finalizers goes now
	runtime.ReadMemStats(&s)
	return s.HeapAlloc + s.StackInuse
}
