package main

import (
	"context"
	"math"
	"slices"
	"time"

	"muster/client"
	"muster/entity"
	"muster/node"
	"muster/shard"
)

// counterName is the entity type that the bare binary hosts, so that a group can be tried without writing a program.
const counterName = "counter"

type counter struct{ Value int64 }

type added struct{ N int64 }

type addCommand struct {
	N int64 `json:"n"`
}

type getCommand struct{}

type counterReply struct {
	Value int64 `json:"value"`
}

// newCounter defines the counter with the options of the group.
func newCounter(options ...entity.Option) entity.Definition {
	t := entity.Define[counter](counterName, options...)
	onAdded := entity.On(t, "added", func(c *counter, e added) { c.Value += e.N })
	entity.Handle(t, "add", func(c *entity.Context[counter], cmd addCommand) (counterReply, error) {
		value := c.State().Value
		switch {
		case cmd.N == 0:
			return counterReply{}, entity.Refuse(`say how much: {"n":5}`)
		case cmd.N > 0 && value > math.MaxInt64-cmd.N, cmd.N < 0 && value < math.MinInt64-cmd.N:
			return counterReply{}, entity.Refuse("the counter would overflow")
		}
		onAdded.Record(c, added(cmd))
		return counterReply{c.State().Value}, nil
	})
	entity.Handle(t, "get", func(c *entity.Context[counter], _ getCommand) (counterReply, error) {
		return counterReply{c.State().Value}, nil
	})
	return t
}

// counterFor returns the options that founding nodes register the counter with: copies where there are nodes for them.
func counterFor(voters int) []entity.Option {
	if voters >= 3 {
		return []entity.Option{entity.Replicate(2, 1, 0)}
	}
	return []entity.Option{entity.Replicate(0, 0, 0)}
}

const (
	lookupPatience = 2 * time.Second // for one round over the seeds
	lookupPause    = time.Second     // between two
	lookupsPerWord = 10              // rounds, of which only the first is told of
)

// hostCounter gives the configuration its entity type. The options of a type are fixed by whoever registered it first,
// which a node that joins later has to ask the seeds for. A founding node asks too, as it may be a restart in a group
// whose options differ, but does not insist on an answer: before the group exists there is none.
func hostCounter(ctx context.Context, cfg *node.Config) error {
	founding := len(cfg.Seeds) == 0 || slices.Contains(cfg.Seeds, cfg.Addr)
	options := counterFor(max(cfg.Voters, len(cfg.Seeds)))
	others := slices.DeleteFunc(slices.Clone(cfg.Seeds), func(addr string) bool { return addr == cfg.Addr })
	for round := 0; len(others) > 0; round++ {
		registered, err := lookup(ctx, cfg, others)
		if err == nil && registered != nil {
			options = []entity.Option{
				entity.Shards(int(registered.Shards)), entity.Replicate(registered.Replicas, registered.MinAcks, registered.AckTimeout),
			}
		}
		if err == nil || founding {
			break
		}
		if round%lookupsPerWord == 0 {
			cfg.Logger.Info("waiting for a seed to tell the group's entity types", "seeds", others, "error", err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lookupPause):
		}
	}
	cfg.Hosts = entity.Types(newCounter(options...))
	return nil
}

// lookup asks the group behind the addresses for the registered counter; nil when it has none.
func lookup(ctx context.Context, cfg *node.Config, addrs []string) (*shard.Spec, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	c, err := client.Open(ctx, client.Config{Addrs: addrs, TLS: cfg.TLS})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	s, err := c.Inspect(ctx)
	if err != nil {
		return nil, err
	}
	known := s.View.Types[counterName]
	if known == nil {
		return nil, nil
	}
	return &known.Spec, nil
}
