package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/lni/dragonboat/v3"
	"github.com/lni/dragonboat/v3/client"
	"github.com/lni/dragonboat/v3/config"
	"github.com/lni/dragonboat/v3/logger"
	"github.com/lni/dragonboat/v3/statemachine"

	"muster/internal/load"
)

// dragon is dragonboat: three hosts and the callers in this one process, so many Raft groups with a replica on each. Callers
// propose to the host that leads the group.
type dragon struct {
	hosts    []*dragonboat.NodeHost
	leaders  []*dragonboat.NodeHost // by group
	sessions []*client.Session      // by group
	body     []byte
}

func newDragon(dir string, groups int) (reference, error) {
	for _, name := range []string{"dragonboat", "raft", "rsm", "transport", "grpc", "logdb", "raftpb", "config", "settings", "utils", "tests"} {
		logger.GetLogger(name).SetLevel(logger.ERROR)
	}
	addrs, _, err := addresses(3)
	if err != nil {
		return nil, err
	}
	d := &dragon{body: make([]byte, eventSize)}
	members := map[uint64]dragonboat.Target{}
	for i, addr := range addrs {
		members[uint64(i+1)] = addr
		host, err := dragonboat.NewNodeHost(config.NodeHostConfig{
			NodeHostDir: filepath.Join(dir, fmt.Sprint("host", i)), RaftAddress: addr, RTTMillisecond: 50,
		})
		if err != nil {
			return nil, err
		}
		d.hosts = append(d.hosts, host)
	}
	for g := range groups {
		for i, host := range d.hosts {
			c := config.Config{NodeID: uint64(i + 1), ClusterID: uint64(g + 1), ElectionRTT: 20, HeartbeatRTT: 2, CheckQuorum: true}
			create := func(uint64, uint64) statemachine.IStateMachine { return &counting{} }
			if err := host.StartCluster(members, false, create, c); err != nil {
				return nil, err
			}
		}
	}
	return d, d.awaitLeaders(groups)
}

func (d *dragon) awaitLeaders(groups int) error {
	for began := time.Now(); len(d.leaders) < groups; {
		group := uint64(len(d.leaders) + 1)
		leader, known, err := d.hosts[0].GetLeaderID(group)
		if err == nil && known {
			host := d.hosts[leader-1]
			d.leaders, d.sessions = append(d.leaders, host), append(d.sessions, host.GetNoOPSession(group))
			continue
		}
		if time.Since(began) > startPatience {
			return fmt.Errorf("group %d has no leader: %v", group, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

func (d *dragon) run(r load.Request) (*load.Sample, error) {
	return r.Loop.Run(context.Background(), func(ctx context.Context, caller, n int) error {
		group := (caller*7919 + n*104_729) % len(d.leaders)
		ctx, cancel := context.WithTimeout(ctx, startPatience)
		defer cancel()
		_, err := d.leaders[group].SyncPropose(ctx, d.sessions[group], d.body)
		return err
	}), nil
}

func (d *dragon) close() {
	for _, h := range d.hosts {
		h.Stop()
	}
}

// counting is a state machine that counts what it applies.
type counting struct{ n uint64 }

// Update implements statemachine.IStateMachine, as the other methods do.
func (c *counting) Update([]byte) (statemachine.Result, error) {
	c.n++
	return statemachine.Result{Value: c.n}, nil
}

// Lookup returns the count.
func (c *counting) Lookup(any) (any, error) { return c.n, nil }

// SaveSnapshot is not called: no group takes snapshots.
func (c *counting) SaveSnapshot(io.Writer, statemachine.ISnapshotFileCollection, <-chan struct{}) error {
	return nil
}

// RecoverFromSnapshot is not called either.
func (c *counting) RecoverFromSnapshot(io.Reader, []statemachine.SnapshotFile, <-chan struct{}) error {
	return nil
}

// Close has nothing to end.
func (c *counting) Close() error { return nil }
