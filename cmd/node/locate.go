package main

import (
	"context"

	"github.com/spf13/pflag"

	"muster/shard"
)

var locateVerb = verb{
	use:   "locate TYPE ENTITY",
	short: "which node owns an entity",
	long: "Computes the entity's shard and shows where the map has it. The entity need not exist: every id has its place.\n" +
		"A shard that is between two owners has no primary.",
	example: "muster locate counter hits",
	output: `TYPE     ENTITY  SHARD       EPOCH  PRIMARY  ADDR             COPIES
counter  hits    counter/30  1      n1       127.0.0.1:40001  n1,n2,n3`,
	args: 2,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := readingFlags(flags)
		return func(ctx context.Context, args []string) error {
			name, entity := shard.TypeName(args[0]), shard.EntityID(args[1])
			if err := entity.Validate(); err != nil {
				return err
			}
			s, err := r.state(ctx, t)
			if err != nil {
				return err
			}
			found, err := locate(s.View, name, entity)
			if err != nil {
				return err
			}
			return t.show(found, func(w *columns) {
				w.row("TYPE", "ENTITY", "SHARD", "EPOCH", "PRIMARY", "ADDR", "COPIES")
				w.row(found.Type, found.Entity, shard.ID{Type: found.Type, Number: found.Shard}, found.Epoch,
					found.Primary, found.Addr, commas(found.Copies))
			})
		}
	},
}

type location struct {
	Type    shard.TypeName `json:"type"`
	Entity  shard.EntityID `json:"entity"`
	Shard   shard.Number   `json:"shard"`
	Epoch   shard.Epoch    `json:"epoch"`
	Primary shard.NodeID   `json:"primary"`
	Addr    string         `json:"addr"`
	Copies  []shard.NodeID `json:"copies"`
}

func locate(v *shard.View, name shard.TypeName, entity shard.EntityID) (location, error) {
	id, ok := v.Locate(name, entity)
	if !ok {
		return location{}, unknownType(name)
	}
	found := location{Type: name, Entity: entity, Shard: id.Number, Copies: []shard.NodeID{}}
	if p := v.Placement(id); p != nil {
		found.Epoch, found.Primary, found.Addr, found.Copies = p.Epoch, p.Node, v.Members[p.Node].Addr, nodesOf(p)
	}
	return found, nil
}
