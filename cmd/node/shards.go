package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"muster/shard"
)

var shardsVerb = verb{
	use:   "shards [TYPE]",
	short: "where every shard is, and in which epoch",
	long: "Lists the shards of all types or of one: the primary's node, the nodes of the copies that count (the primary's first),\n" +
		"the quorums, and why the placement last changed. W is the write quorum, as 1/2 when it is lower than the type's own.",
	example: "muster shards counter",
	output: `SHARD      STATUS  EPOCH  VERSION  PRIMARY  COPIES    W  R  REASON
counter/0  active  1      1        n1       n1,n2,n3  2  2  activated
counter/1  active  1      1        n2       n2,n1,n3  2  2  activated`,
	most: 1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := readingFlags(flags)
		return func(ctx context.Context, args []string) error {
			var only shard.TypeName
			if len(args) > 0 {
				only = shard.TypeName(args[0])
			}
			s, err := r.state(ctx, t)
			if err != nil {
				return err
			}
			if only != "" && s.View.Types[only] == nil {
				return unknownType(only)
			}
			shards := reportShards(s.View, only)
			return t.show(shards, func(w *columns) {
				w.row("SHARD", "STATUS", "EPOCH", "VERSION", "PRIMARY", "COPIES", "W", "R", "REASON")
				for _, p := range shards {
					w.row(fmt.Sprintf("%s/%d", p.Type, p.Shard), p.Status, p.Epoch, p.ConfigVersion, p.Primary, commas(p.InSync),
						writesTo(p), p.RecoveryQuorum, p.Reason)
				}
			})
		}
	},
}

// missing says that there is no such shard; nil when there is.
func missing(v *shard.View, id shard.ID) error {
	known := v.Types[id.Type]
	switch {
	case known == nil:
		return unknownType(id.Type)
	case int(id.Number) >= len(known.Placements):
		return shard.Errorf(shard.CodeNotFound, "there is no shard %s: type %s has %d, counted from 0", id, id.Type, len(known.Placements))
	}
	return nil
}

func unknownType(name shard.TypeName) error {
	return shard.Errorf(shard.CodeUnknownType, "no member hosts a type %q; see muster types", name)
}
