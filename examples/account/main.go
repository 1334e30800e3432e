package main

import (
	"context"
	"fmt"
	"muster/entity"
	"muster/node"
)

var accounts = entity.Define[int64]("account")
var deposited = entity.On(accounts, "deposited", func(balance *int64, amount int64) { *balance += amount })
var deposit = entity.Handle(accounts, "deposit", func(c *entity.Context[int64], amount int64) (int64, error) {
	deposited.Record(c, amount)
	return c.State(), nil
})

func main() {
	ctx := context.Background()
	n, err := node.Start(ctx, node.Config{ID: "n1", Dir: "data", Hosts: entity.Types(accounts)})
	if err != nil {
		panic(err)
	}
	defer n.Shutdown(ctx)
	fmt.Println(deposit.Ask(ctx, n, "alice", 100))
}
