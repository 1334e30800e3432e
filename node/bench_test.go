package node_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"muster/entity"
	"muster/node"
	"muster/shard"
)

// group starts three nodes for a benchmark.
func group(b *testing.B) []*node.Node {
	b.Helper()
	dir, nodes := b.TempDir(), make([]*node.Node, 3)
	var seeds []string
	var listeners []net.Listener
	for range nodes {
		l := must(net.Listen("tcp", "127.0.0.1:0"))
		listeners, seeds = append(listeners, l), append(seeds, l.Addr().String())
	}
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	started := make(chan error, len(nodes))
	for i := range nodes {
		go func() {
			id := fmt.Sprintf("n%d", i+1)
			n, err := node.Start(ctx, node.Config{
				ID: shard.NodeID(id), Addr: seeds[i], Listener: listeners[i], Dir: filepath.Join(dir, id), Seeds: seeds,
				Hosts: entity.Types(accounts, visits),
			})
			nodes[i] = n
			started <- err
		}()
	}
	for range nodes {
		if err := <-started; err != nil {
			b.Fatal(err)
		}
	}
	b.Cleanup(func() {
		for _, n := range nodes {
			n.Kill()
		}
	})
	for _, n := range nodes {
		if err := n.WaitActive(ctx); err != nil {
			b.Fatal(err)
		}
	}
	return nodes
}

// here returns an entity that the node owns, or one that it does not.
func here(n *node.Node, t shard.TypeName, mine bool) entity.ID {
	for i := 0; ; i++ {
		id := entity.ID(fmt.Sprint("e", i))
		s, _ := n.View().Locate(t, id)
		if p := n.View().Placement(s); (p.Node == n.ID()) == mine {
			return id
		}
	}
}

// Asks of a group of three nodes in one process, over loopback sockets and real journals.
func BenchmarkAsk(b *testing.B) {
	nodes := group(b)
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	visit := func(id entity.ID) func(b *testing.B) {
		return func(b *testing.B) {
			for b.Loop() {
				if _, err := Visit.Ask(ctx, nodes[0], id, struct{}{}); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("volatile/local", visit(here(nodes[0], "visit", true)))
	b.Run("volatile/remote", visit(here(nodes[0], "visit", false)))
	for _, callers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("durable/callers=%d", callers), func(b *testing.B) {
			asks := make(chan int)
			failed := make(chan error, callers)
			for range callers {
				go func() {
					for i := range asks {
						if _, err := Deposit.Ask(ctx, nodes[i%3], entity.ID(fmt.Sprint("bench-", i%4096)), Amount{1}); err != nil {
							failed <- err
							return
						}
					}
					failed <- nil
				}()
			}
			i := 0
			for b.Loop() {
				asks <- i
				i++
			}
			close(asks)
			for range callers {
				if err := <-failed; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
