package coordinator

import (
	"context"
	"slices"

	"muster/shard"
	"muster/transport/wire"
)

// receiveForm judges a Form from another founder: the first of those it names.
func (c *Coordinator) receiveForm(ctx context.Context, from shard.NodeID, req *wire.FormRequest) error {
	group := shard.GroupID(req.Group)
	var founders []Founder
	for _, f := range req.Founders {
		founders = append(founders, Founder{shard.NodeID(f.Node), f.Addr, shard.DirectoryID(f.Directory)})
	}
	switch {
	case req.Group == "" || len(founders) == 0:
		return shard.Invalid("a Form names its group and founders")
	case founders[0].Node != from:
		return shard.Invalid("a Form comes from the first founder, %q, and not from %q", founders[0].Node, from)
	case !slices.Contains(founders, c.self()):
		return shard.Errorf(shard.CodeMismatch, "node %s at %s is not among the founders as itself", c.cfg.Node, c.cfg.Addr)
	}
	if known := c.cfg.Directory.now.Load(); !known.agreed(group, founders, req.Edition) {
		if err := c.fits(known, group, founders, req.Edition); err != nil {
			return err
		}
		if err := c.avowed(ctx, group, founders[0], req.Edition); err != nil {
			return err
		}
	}
	if err := c.accept(group, founders, req.Edition); err != nil {
		return err
	}
	c.formation.once.Do(func() { close(c.formation.accepted) })
	return nil
}

// fits fails unless this node could agree to the list, by what it was told and has agreed to before.
func (c *Coordinator) fits(known *identity, group shard.GroupID, founders []Founder, edition uint64) error {
	if known.Group != "" {
		return c.replaces(known, group, founders, edition)
	}
	err := c.expects(founders)
	if err == nil && founders[0].Directory == c.cfg.Directory.ID() {
		err = shard.Invalid("node %s is the first founder and makes the list itself", c.cfg.Node)
	}
	return err
}

// avowed fails unless the first founder, asked at its address, says the same as the Form that came in its name. That address is a seed's; with TLS
// the certificate there names it.
//
// A Form by itself is a claim: with the certificate of any node, or in plaintext without one, a founder could be had to agree to a group that nobody ever
// begins, or to an edition above all that its first founder will come to, and would refuse that one's Forms for good.
func (c *Coordinator) avowed(ctx context.Context, group shard.GroupID, first Founder, edition uint64) error {
	c.cfg.Port.Wake(first.Addr) // it calls, so it is there
	h, err := c.sayHello(ctx, first.Addr)
	switch {
	case shard.CodeOf(err) == shard.CodeWrongGroup:
		return err
	case err != nil: // it comes again
		return shard.Errorf(shard.CodeUnavailable, "the first founder, %s, was not reached at %s: %s", first.Node, first.Addr, shard.As(err).Detail)
	case h.node != first.Node || h.directory != first.Directory:
		return shard.Errorf(shard.CodeMismatch, "at %s, the address of the first founder, %s, node %s answers with directory %s", first.Addr, first.Node, h.node, h.directory)
	case h.group != group || h.edition != edition:
		return shard.Errorf(shard.CodeMismatch, "the first founder, %s at %s, forms group %q, edition %d, and not %q, edition %d",
			first.Node, first.Addr, h.group, h.edition, group, edition)
	}
	return nil
}

// expects fails unless these can be the founders by what this node was told.
func (c *Coordinator) expects(founders []Founder) error {
	switch {
	case !c.cfg.founding():
		return shard.Invalid("node %s is not a founding node: its address %s is not among its seeds", c.cfg.Node, c.cfg.Addr)
	case len(founders) != c.cfg.Voters:
		return shard.Errorf(shard.CodeMismatch, "node %s expects %d voters, not %d: give every founding node the same", c.cfg.Node, c.cfg.Voters, len(founders))
	}
	for _, f := range founders {
		if !slices.Contains(c.cfg.Seeds, f.Addr) {
			return shard.Errorf(shard.CodeMismatch, "founder %s at %s is not among the seeds of node %s", f.Node, f.Addr, c.cfg.Node)
		}
	}
	return nil
}
