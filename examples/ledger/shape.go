package main

import (
	"flag"
	"fmt"
	"strconv"
	"time"

	"muster/entity"
	"muster/shard"
)

// shape is how the accounts are spread and copied. Every node of a group must be given the same.
type shape struct{ shards, replicas, minAcks int }

func (s *shape) flags(f *flag.FlagSet) {
	f.IntVar(&s.shards, "shards", 64, "slices the accounts are divided into")
	f.IntVar(&s.replicas, "replicas", 2, "copies of each shard beside the primary")
	f.IntVar(&s.minAcks, "min-acks", 1, "of them that must hold a posting durably before it is confirmed")
}

func (s *shape) args() []string {
	return []string{
		"--shards", strconv.Itoa(s.shards), "--replicas", strconv.Itoa(s.replicas), "--min-acks", strconv.Itoa(s.minAcks),
	}
}

func (s *shape) bank() (bank, error) {
	switch {
	case s.shards < 1 || s.shards > shard.MaxShards:
		return bank{}, misuse{fmt.Errorf("--shards %d: must be 1 to %d", s.shards, shard.MaxShards)}
	case s.replicas < 0 || s.replicas > shard.MaxReplicas:
		return bank{}, misuse{fmt.Errorf("--replicas %d: must be 0 to %d", s.replicas, shard.MaxReplicas)}
	case s.minAcks < 0 || s.minAcks > s.replicas:
		return bank{}, misuse{fmt.Errorf("--min-acks %d: must be 0 to --replicas %d", s.minAcks, s.replicas)}
	}
	return newBank(entity.Shards(s.shards), entity.Replicate(s.replicas, s.minAcks, 5*time.Second)), nil
}
