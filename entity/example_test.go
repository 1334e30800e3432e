package entity_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"muster/entity"
	"muster/shard"
)

type Account struct{ Balance int64 }

type (
	Deposited  struct{ Amount int64 }
	DepositCmd struct{ Amount int64 }
	Balance    struct{ Amount int64 }
)

var accounts = entity.Define[Account]("account", entity.Shards(64), entity.Replicate(2, 1, 5*time.Second))

var deposited = entity.On(accounts, "deposited", func(a *Account, e Deposited) { a.Balance += e.Amount })

var Deposit = entity.Handle(accounts, "deposit", func(c *entity.Context[Account], d DepositCmd) (Balance, error) {
	if d.Amount <= 0 {
		return Balance{}, entity.Refuse("amount must be positive, not %d", d.Amount)
	}
	deposited.Record(c, Deposited(d))
	return Balance{c.State().Balance}, nil
})

// sender stands for a *node.Node or a *client.Client.
var sender = newMemory(accounts, notes)

// An entity type is a state, the events that change it, and the commands that record them.
func Example() {
	ctx := context.Background()
	for range 2 {
		b, err := Deposit.Ask(ctx, sender, "alice", DepositCmd{Amount: 100})
		fmt.Println(b.Amount, err)
	}
	// Output:
	// 100 <nil>
	// 200 <nil>
}

// A refusal reaches the caller typed, with the handler's words.
func ExampleRefuse() {
	_, err := Deposit.Ask(context.Background(), sender, "bob", DepositCmd{Amount: -5})
	var e *shard.Error
	if errors.As(err, &e) && e.Code == shard.CodeRefused {
		fmt.Println(e.Detail)
		fmt.Println(e.Outcome)
	}
	// Output:
	// amount must be positive, not -5
	// not applied
}

var notes = entity.Define[string]("note", entity.Encoding(entity.Raw), entity.SnapshotEvery(20))

var written = entity.On(notes, "written", func(note *string, text string) { *note = text })

var Write = entity.Handle(notes, "write", func(c *entity.Context[string], text string) (string, error) {
	before := c.State()
	written.Record(c, text)
	return before, nil
})

// With Raw, strings and byte slices travel as they are. Binary does the same for types with MarshalBinary, and any other
// format is a Codec of two methods.
func ExampleEncoding() {
	ctx := context.Background()
	_ = Write.Tell(ctx, sender, "n1", "hello")
	before, err := Write.Ask(ctx, sender, "n1", "world")
	fmt.Println(before, err)
	// Output: hello <nil>
}

// A type's cells can be driven by hand, to test an entity without a group.
func ExampleCell() {
	c := accounts.NewCell("carol")
	e, _ := Deposit.Envelope("carol", DepositCmd{Amount: 7})
	o, err := c.Handle(context.Background(), e)
	fmt.Println(string(o.Reply), o.Events[0].Name, c.Seq(), err)

	again := accounts.NewCell("carol")
	fmt.Println(again.Replay(1, o.Append(nil)))
	state, _ := again.Snapshot()
	fmt.Printf("%s\n", state[1:])
	// Output:
	// {"Amount":7} deposited 1 <nil>
	// <nil>
	// {"Balance":7}
}
