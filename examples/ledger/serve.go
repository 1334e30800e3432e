package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/entity"
	"muster/node"
	"muster/shard"
)

const farewell = 10 * time.Second // to hand over and leave when told to stop

// serve runs one node until a signal comes or the node stops by itself.
func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var s shape
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	id := f.String("id", "", "name of the node, such as n1")
	addr := f.String("addr", "", "HOST:PORT other nodes reach it at")
	dir := f.String("dir", "", "its data directory")
	seeds := f.String("seeds", "", "addresses of the founding nodes, with commas; empty: a group of its own")
	voters := f.Int("voters", 0, "founding nodes that vote; 0: all")
	tied := f.Bool("until-stdin-closes", false, "stop when standard input ends, so that no process outlives its parent")
	s.flags(f)
	if err := parse(f, args, stderr); err != nil {
		return err
	}
	b, err := s.bank()
	if err != nil {
		return err
	}
	cfg := node.Config{
		ID: shard.NodeID(*id), Addr: *addr, Dir: *dir, Voters: *voters, Hosts: entity.Types(b.accounts),
		Logger: hclog.New(&hclog.LoggerOptions{Output: stderr, Level: hclog.Info}),
	}
	if *seeds != "" {
		cfg.Seeds = strings.Split(*seeds, ",")
	}
	if err := cfg.Validate(); err != nil {
		return misuse{err}
	}
	if *tied {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		go func() { // ends with the process: nothing can interrupt a read of standard input
			io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	return serveNode(ctx, cfg, stdout)
}

func serveNode(ctx context.Context, cfg node.Config, stdout io.Writer) error {
	node.HeapFloor(node.DefaultHeapFloor)
	n, err := node.Start(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s serves at %s, process %d\n", n.ID(), n.Addr(), os.Getpid())
	select {
	case <-n.Failed():
		n.Kill()
		return n.Err()
	case <-ctx.Done():
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		return n.Shutdown(bye)
	}
}
