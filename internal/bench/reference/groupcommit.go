package main

import (
	"context"
	"os"

	"muster/internal/load"
)

// groupCommit is bbolt alone: one goroutine that commits records in batches. The number of callers is the batch.
type groupCommit struct{ store store }

func newGroupCommit(dir string) (reference, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s, err := openStore(dir, "bbolt")
	return &groupCommit{s}, err
}

func (g *groupCommit) run(r load.Request) (*load.Sample, error) {
	batch := r.Loop.Callers
	body := make([]byte, batch*eventSize)
	before := g.store.flushes()
	r.Loop.Callers = 1
	s := r.Loop.Run(context.Background(), func(context.Context, int, int) error { return g.store.commit(body) })
	s.Callers, s.Ops, s.Late = batch, s.Ops*uint64(batch), s.Late*uint64(batch)
	s.Counts["flushes"] = g.store.flushes() - before
	return s, nil
}

func (g *groupCommit) close() {}
