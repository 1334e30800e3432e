package node_test

import (
	"testing"
	"time"

	"muster/client"
	"muster/entity"
	"muster/shard"
)

// parcels are on two nodes, neither of which votes.
var parcels = entity.Define[Account]("parcel", entity.Shards(2), entity.Role("data"), entity.Replicate(1, 1, 5*time.Second))

var added = entity.On(parcels, "added", func(a *Account, e Deposited) { a.Balance += e.Amount })

var Add = entity.Handle(parcels, "add", func(c *entity.Context[Account], a Amount) (Amount, error) {
	added.Record(c, Deposited{a.Amount})
	return Amount{c.State().Balance}, nil
})

// Both directories that held a shard are lost. The group waits until an operator accepts that, and then begins it anew: on new
// copies, in a higher epoch, with nothing; map and history say so for good. The other shard stays as it is, and waits.
func TestBeginAnew(t *testing.T) {
	c := newCluster(t, 3, entity.Types(parcels)...)
	for i := range c.configs {
		c.configs[i].Voters, c.configs[i].Seeds = 1, c.configs[0].Seeds[:1]
		c.configs[i].Tuning.Times.Autonomy = time.Second
		if i > 0 {
			c.configs[i].Roles = []string{"data"}
		}
	}
	c.start()
	c.ready()
	cl, err := client.Open(t.Context(), client.Config{Addrs: []string{c.configs[0].Addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if got, err := Add.Ask(c.context(), c.nodes[0], "p", Amount{7}); err != nil || got.Amount != 7 {
		t.Fatalf("add: %+v, %v", got, err)
	}
	id, _ := c.nodes[0].View().Locate("parcel", "p")
	old := c.await(id, "it serves", func(p *shard.Placement) bool { return p.Status == shard.Active })
	c.wipe(1)
	c.wipe(2)
	c.await(id, "it has no primary", func(p *shard.Placement) bool { return p.Status == shard.Recovering })
	c.start(1)
	c.start(2)
	e := c.evidence(cl, id, func(e client.Evidence) bool { return len(e.Anew) == 2 && e.Quiet == 0 })
	if e.Chosen != 0 || e.Whole || e.Lost < 1 {
		t.Errorf("the evidence is %+v", e)
	}
	c.recover(cl, id, e)
	p := c.await(id, "it serves again", func(p *shard.Placement) bool { return p.Status == shard.Active })
	if p.Emptied <= old.Epoch || p.Emptied > p.Epoch || len(p.Copies) != 2 || p.WriteQuorum != 2 || len(p.Aside) != 2 {
		t.Errorf("it is %+v", p)
	}
	if got, err := Add.Ask(c.context(), c.nodes[0], "p", Amount{1}); err != nil || got.Amount != 1 {
		t.Errorf("an add to what began with nothing: %+v, %v", got, err)
	}
	changes, err := cl.History(c.context(), id)
	if err != nil {
		t.Fatal(err)
	}
	told := false
	for _, one := range changes {
		told = told || one.Cause == shard.CauseEmptied && one.Epoch == p.Emptied && len(one.GivenUp) == 2
	}
	if !told {
		t.Errorf("the history does not tell: %+v", changes)
	}
	other := shard.ID{Type: "parcel", Number: 1 - id.Number}
	if p := c.nodes[0].View().Placement(other); p.Status != shard.Recovering || p.Emptied != 0 {
		t.Errorf("the other shard is %+v", p)
	}
}
