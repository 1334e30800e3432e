// Package entity is what an application writes: an entity type, the events its state is folded from, and the commands
// that record them. The rest of Muster puts each entity on one node, journals and copies its events, and brings it back.
//
//	type Account struct{ Balance int64 }
//
//	var accounts = entity.Define[Account]("account", entity.Replicate(2, 1, 5*time.Second))
//
//	var deposited = entity.On(accounts, "deposited", func(a *Account, e Deposited) { a.Balance += e.Amount })
//
//	var Deposit = entity.Handle(accounts, "deposit", func(c *entity.Context[Account], d DepositCmd) (Balance, error) {
//		if d.Amount <= 0 {
//			return Balance{}, entity.Refuse("amount must be positive")
//		}
//		deposited.Record(c, Deposited{d.Amount})
//		return Balance{c.State().Balance}, nil
//	})
//
//	b, err := Deposit.Ask(ctx, n, "alice", DepositCmd{Amount: 100}) // n: a node of the group, or a client
//
// Three rules keep an entity recoverable. State changes only inside the functions given to [On]. Those functions depend
// on nothing but their arguments: they run again whenever the entity is brought back. Whatever a command learned from a
// clock, dice or another service goes into the event.
//
// A handler may ask other entities, under the context that its own Context returns, by which the node knows that it waits and lets another
// handler run; as it is not told of a node, the program keeps the Sender. Meanwhile its entity answers nobody: a handler that asks its own entity, or one that asks back, waits for itself until
// the deadline.
//
// Definitions are made once, in package variables; a mistake in one panics there, before anything runs. After [Types]
// or the first cell a definition is frozen and may be used by any number of nodes and goroutines.
//
// The package runs no goroutine and reads no clock. A [Cell] is one entity as the region runs it; applications do not
// touch cells except to test an entity by itself.
package entity
