package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/entity"
	"muster/internal/load"
	"muster/node"
	"muster/shard"
)

// memberVariable turns this program into a member of the group under test: its settings, as JSON.
const memberVariable = "MUSTER_BENCH_MEMBER"

// memberSettings are what one member is started with.
type memberSettings struct {
	ID    shard.NodeID   `json:"id"`
	Addr  string         `json:"addr"`
	Dir   string         `json:"dir"`
	Seeds []string       `json:"seeds"`
	Kinds []kindSettings `json:"kinds"` // the types there are
	Hosts bool           `json:"hosts"` // whether it can own them, or only asks
}

// A member is one node under test, and the callers that ask through it. The benchmark's driver tells it what to do.
type member struct {
	settings memberSettings
	node     *node.Node
	kinds    map[string]*kind
	plans    map[string][]entity.ID // entities to ask, by what was asked for
	profiled *os.File               // the CPU profile under way
	sent     uint64                 // one-way commands
}

// runMember is the program as a member; it returns when stdin ends.
func runMember(settings string) error {
	node.HeapFloor(node.DefaultHeapFloor) // as the muster command does
	m := &member{kinds: map[string]*kind{}, plans: map[string][]entity.ID{}}
	if err := json.Unmarshal([]byte(settings), &m.settings); err != nil {
		return fmt.Errorf("settings of the member: %w", err)
	}
	var hosts []entity.Definition
	for _, s := range m.settings.Kinds {
		k := newKind(s)
		m.kinds[s.Name] = k
		hosts = append(hosts, k)
	}
	if !m.settings.Hosts {
		hosts = nil
	}
	signal.Ignore(os.Interrupt) // the driver ends its members
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	m.node, err = node.Start(ctx, node.Config{
		ID: m.settings.ID, Addr: m.settings.Addr, Dir: m.settings.Dir, Seeds: m.settings.Seeds, Hosts: entity.Types(hosts...),
		Logger: hclog.New(&hclog.LoggerOptions{Name: string(m.settings.ID), Level: hclog.Warn, Output: os.Stderr}),
	})
	if err != nil {
		return err
	}
	return errors.Join(load.Serve(m.do), m.node.Err())
}

// do carries out one request of the driver.
func (m *member) do(r load.Request) (any, error) {
	switch r.Do {
	case "ready":
		return nil, m.ready()
	case "run":
		return m.run(r)
	case "total":
		return m.audit(r)
	case "profile":
		return nil, m.profile(r)
	case "counts":
		return m.counts(), nil
	case "stop":
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return nil, m.node.Shutdown(ctx)
	}
	return m.control(r)
}

// ready waits until every shard is served.
func (m *member) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if m.served() {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return errors.New("not every shard is served after a minute")
}

func (m *member) served() bool {
	v := m.node.View()
	for _, k := range m.settings.Kinds {
		t := v.Types[shard.TypeName(k.Name)]
		if t == nil {
			return false
		}
		for _, p := range t.Placements {
			if p == nil || p.Status != shard.Active {
				return false
			}
		}
	}
	return true
}

// counts is what the node has counted since it started.
func (m *member) counts() map[string]int64 {
	s := m.node.JournalStats()
	return map[string]int64{
		"commits": int64(s.Commits), "flushes": int64(s.Syncs), "records": int64(s.Records), "disk": int64(s.DiskBytes),
	}
}

// started is a fresh process of this program as the member.
func (s memberSettings) started(logs string) (*load.Process, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, err
	}
	return load.Start(logs, string(s.ID), []string{memberVariable + "=" + string(text)}, self)
}
