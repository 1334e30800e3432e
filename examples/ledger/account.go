package main

import "muster/entity"

// An Account is folded from its postings. Amounts are in hundredths, a debit is negative, and no posting is ever refused.
type Account struct{ Balance, Postings int64 }

type bank struct {
	accounts *entity.Type[Account]
	post     *entity.Command[Account, int64, Account]
	balance  *entity.Command[Account, struct{}, Account]
}

func newBank(options ...entity.Option) bank {
	accounts := entity.Define[Account]("account", options...)
	posted := entity.On(accounts, "posted", func(a *Account, amount int64) { a.Balance += amount; a.Postings++ })
	post := entity.Handle(accounts, "post", func(c *entity.Context[Account], amount int64) (Account, error) {
		posted.Record(c, amount)
		return c.State(), nil
	})
	balance := entity.Handle(accounts, "balance", func(c *entity.Context[Account], _ struct{}) (Account, error) { return c.State(), nil })
	return bank{accounts, post, balance}
}
