package client_test

import (
	"context"
	"fmt"
	"os"

	"muster/client"
	"muster/entity"
	"muster/node"
)

var counters = entity.Define[int]("counter", entity.Shards(4), entity.Volatile())

var added = entity.On(counters, "added", func(n *int, by int) { *n += by })

var Add = entity.Handle(counters, "add", func(c *entity.Context[int], by int) (int, error) {
	added.Record(c, by)
	return c.State(), nil
})

// A client has a node's verbs. The first address that answers will do.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "muster")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	n, err := node.Start(ctx, node.Config{ID: "n1", Dir: dir, Hosts: entity.Types(counters)})
	if err != nil {
		panic(err)
	}
	defer n.Shutdown(ctx)

	c, err := client.Connect(ctx, "127.0.0.1:1", n.Addr())
	if err != nil {
		panic(err)
	}
	defer c.Close()
	fmt.Println(Add.Ask(ctx, c, "visitors", 5))
	fmt.Println(Add.Ask(ctx, c, "visitors", 2))

	s, err := c.State(ctx)
	fmt.Println(s.Leader, s.Linearizable, len(s.View.Types), err)
	fmt.Println(c.SetRequiredQuorum(ctx, 1))
	gate, err := c.RequiredQuorum(ctx)
	fmt.Println(gate.Required, gate.Have, gate.Met, err)
	for e, err := range c.Watch(ctx) {
		fmt.Println(e.View.Members["n1"].ID, e.Delta.Reset, err)
		break
	}
	// Output:
	// 5 <nil>
	// 7 <nil>
	// n1 true 1 <nil>
	// <nil>
	// 1 1 true <nil>
	// n1 true <nil>
}
