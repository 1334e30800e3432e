package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"muster/entity"
	"muster/node"
	"muster/shard"
)

var devVerb = verb{
	use:   "dev",
	short: "run a whole group in one process, to try things",
	long: "Runs a group of nodes in this process, each with a real Raft, a real journal and a port of its own, until interrupted.\n" +
		"The data is in a temporary directory that goes with it, or in --dir, where the next run finds it. The first nodes, an odd\n" +
		"number, vote. The nodes host the entity type counter.",
	example: "muster dev --nodes 3",
	output: `3 nodes, data in /tmp/muster-dev-1042 until they stop
  n1  127.0.0.1:40001
  n2  127.0.0.1:40002
  n3  127.0.0.1:40003

in another terminal:
  export MUSTER_ADDR=127.0.0.1:40001,127.0.0.1:40002,127.0.0.1:40003
  muster status
  muster ask counter hits add '{"n":5}'
  muster locate counter hits

ready; Ctrl-C stops them`,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		nodes := flags.Int("nodes", 3, "how many nodes")
		dir := flags.String("dir", "", "keep the data here; empty means a temporary directory")
		level := flags.String("log-level", "error", "trace, debug, info, warn, error or off; logs go to stderr")
		return func(ctx context.Context, _ []string) error {
			if *nodes < 1 || *nodes > maxDevNodes {
				return misusef("nodes = %d, must be 1 to %d", *nodes, maxDevNodes)
			}
			log, err := newLogger(t, *level, "")
			if err != nil {
				return misuse{err}
			}
			if !flags.Changed("log-level") { // what nodes say of each other while all of them stop is no news
				context.AfterFunc(ctx, func() { log.SetLevel(hclog.Off) })
			}
			return dev(ctx, t, log, *nodes, *dir)
		}
	},
}

// maxDevNodes bounds what one process is asked to run.
const maxDevNodes = 15

func dev(ctx context.Context, t *terminal, log hclog.Logger, nodes int, dir string) (err error) {
	g := &devGroup{Dir: dir, Temporary: dir == ""}
	if g.Temporary {
		if g.Dir, err = os.MkdirTemp("", "muster-dev-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(g.Dir)) }()
	}
	if err := g.place(nodes); err != nil {
		return err
	}
	defer g.release()
	err = g.start(ctx, log)
	defer func() { err = errors.Join(err, g.stop()) }()
	if err != nil && ctx.Err() != nil {
		return nil // interrupted before it was ready
	}
	if err != nil {
		return err
	}
	if err := t.show(g, g.table); err != nil {
		return err
	}
	return g.untilOver(ctx)
}

// devGroup is a group in one process. Owned by the goroutine that runs dev.
type devGroup struct {
	Dir       string    `json:"dir"`
	Temporary bool      `json:"temporary"`
	Nodes     []devNode `json:"nodes"`

	listeners []net.Listener
	running   []*node.Node
}

type devNode struct {
	ID   shard.NodeID `json:"id"`
	Addr string       `json:"addr"`
	Dir  string       `json:"dir"`
}

// devFile keeps the nodes and their addresses: a group in a kept directory finds itself again only where it was.
const devFile = "dev.json"

// place gives every node a directory and a port, those of the last run when there was one.
func (g *devGroup) place(nodes int) error {
	file := filepath.Join(g.Dir, devFile)
	b, err := os.ReadFile(file)
	switch {
	case err == nil:
		if err := json.Unmarshal(b, &g.Nodes); err != nil {
			return fmt.Errorf("%s is damaged: %w", file, err)
		}
		if len(g.Nodes) != nodes {
			return misusef("%s holds a group of %d nodes: run it with --nodes %d, or choose another directory",
				g.Dir, len(g.Nodes), len(g.Nodes))
		}
		for i := range g.Nodes { // wherever they were then: the directory may have been moved, or named from elsewhere
			g.Nodes[i].Dir = filepath.Join(g.Dir, string(g.Nodes[i].ID))
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	default:
		for i := range nodes {
			id := shard.NodeID(fmt.Sprintf("n%d", i+1))
			g.Nodes = append(g.Nodes, devNode{id, "127.0.0.1:0", filepath.Join(g.Dir, string(id))})
		}
	}
	return g.bind(file)
}

// bind listens for every node before any is started: each needs the addresses of all.
func (g *devGroup) bind(file string) error {
	for i := range g.Nodes {
		l, err := net.Listen("tcp", g.Nodes[i].Addr)
		if err != nil {
			g.release()
			return fmt.Errorf("node %s: %w", g.Nodes[i].ID, err)
		}
		g.listeners = append(g.listeners, l)
		g.Nodes[i].Addr = l.Addr().String()
	}
	b, err := json.Marshal(g.Nodes)
	if err == nil {
		err = os.MkdirAll(g.Dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		g.release()
	}
	return err
}

// release closes the listeners that no node has taken over.
func (g *devGroup) release() {
	for _, l := range g.listeners {
		l.Close()
	}
}

// start runs all nodes; it returns when each is a registered member and all shards are served.
func (g *devGroup) start(ctx context.Context, log hclog.Logger) error {
	voters := min(len(g.Nodes)-1+len(g.Nodes)%2, 7) // the largest odd number
	var seeds []string
	for _, n := range g.Nodes[:voters] {
		seeds = append(seeds, n.Addr)
	}
	g.running = make([]*node.Node, len(g.Nodes))
	starting, startCtx := errgroup.WithContext(ctx)
	for i, n := range g.Nodes {
		starting.Go(func() (err error) {
			g.running[i], err = node.Start(startCtx, node.Config{
				ID: n.ID, Addr: n.Addr, Dir: n.Dir, Seeds: seeds, Voters: voters, Listener: g.listeners[i],
				Hosts: entity.Types(newCounter(counterFor(voters)...)), Logger: log.Named(string(n.ID)),
			})
			return err
		})
	}
	if err := starting.Wait(); err != nil {
		return err
	}
	return g.running[0].WaitActive(ctx)
}

func (g *devGroup) table(w *columns) {
	kept := "until they stop"
	if !g.Temporary {
		kept = "to stay"
	}
	fmt.Fprintf(w, "%d nodes, data in %s %s\n", len(g.Nodes), g.Dir, kept)
	var addrs []string
	for _, n := range g.Nodes {
		fmt.Fprintf(w, "  %s  %s\n", n.ID, n.Addr)
		addrs = append(addrs, n.Addr)
	}
	fmt.Fprintf(w, "\nin another terminal:\n  export MUSTER_ADDR=%s\n", strings.Join(addrs, ","))
	fmt.Fprint(w, "  muster status\n  muster ask counter hits add '{\"n\":5}'\n  muster locate counter hits\n")
	fmt.Fprint(w, "\nready; Ctrl-C stops them\n")
}

// untilOver returns when interrupted, or with the fault that stopped a node for good.
func (g *devGroup) untilOver(ctx context.Context) error {
	faults := make(chan error, len(g.running))
	ctx, cancel := context.WithCancel(ctx)
	watching := &errgroup.Group{}
	for _, n := range g.running {
		watching.Go(func() error {
			select {
			case <-n.Failed():
				faults <- fmt.Errorf("node %s was stopped by a fault: %w", n.ID(), n.Err())
				cancel()
			case <-ctx.Done():
			}
			return nil
		})
	}
	<-ctx.Done()
	cancel()
	watching.Wait()
	select {
	case err := <-faults:
		return err
	default:
		return nil
	}
}

// stop shuts all nodes down, side by side: one after the other each would wait for those that are gone.
func (g *devGroup) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	stopping := &errgroup.Group{}
	for _, n := range g.running {
		if n != nil {
			stopping.Go(func() error { return n.Shutdown(ctx) })
		}
	}
	return stopping.Wait()
}
