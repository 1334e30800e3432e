package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"muster/entity"
	"muster/node"
	"muster/shard"
)

// A node without seeds is a group of its own. What it confirms is journaled, so the next start finds it.
func Example() {
	ctx, dir := context.Background(), must(os.MkdirTemp("", "muster"))
	defer os.RemoveAll(dir)
	for range 2 {
		n, err := node.Start(ctx, node.Config{ID: "n1", Dir: dir, Hosts: entity.Types(ledgers)})
		if err != nil {
			fmt.Println(err)
			return
		}
		balance, err := Pay.Ask(ctx, n, "alice", Amount{100})
		fmt.Println(balance.Amount, err)

		_, err = Pay.Ask(ctx, n, "alice", Amount{-1})
		var refusal *shard.Error
		fmt.Println(errors.As(err, &refusal), refusal.Code, refusal.Outcome)
		if err := n.Shutdown(ctx); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// 100 <nil>
	// true refused not applied
	// 200 <nil>
	// true refused not applied
}

var ledgers = entity.Define[Account]("ledger", entity.Shards(8))

var paid = entity.On(ledgers, "paid", func(a *Account, e Deposited) { a.Balance += e.Amount })

var Pay = entity.Handle(ledgers, "pay", func(c *entity.Context[Account], d Amount) (Amount, error) {
	if d.Amount <= 0 {
		return Amount{}, entity.Refuse("amount must be positive")
	}
	paid.Record(c, Deposited(d))
	return Amount{c.State().Balance}, nil
})

// What a node knows of its group: members, leader, quorum; and how parties meet at a barrier.
func ExampleNode_State() {
	ctx, dir := context.Background(), must(os.MkdirTemp("", "muster"))
	defer os.RemoveAll(dir)
	n := must(node.Start(ctx, node.Config{ID: "n1", Dir: dir, Zone: "north", Roles: []string{"storage"}}))
	defer n.Shutdown(ctx)

	s := must(n.State(ctx))
	self, _ := n.Self()
	fmt.Println(s.Leader, len(s.View.Members), s.View.Up("n1"), self.Zone, self.Roles)

	fmt.Println(n.WaitFor(ctx, 1))
	fmt.Println(n.SetRequiredQuorum(ctx, 1), n.RequiredQuorum().Met)

	opened := must(n.Barrier(ctx, "warm", 1, "me"))
	fmt.Println(opened.State, opened.Participants)
	// Output:
	// n1 1 true north [storage]
	// <nil>
	// <nil> true
	// released [me]
}
