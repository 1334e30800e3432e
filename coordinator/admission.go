package coordinator

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// meet sees that whoever registers at an address that is new for it answers there: a node that nobody can find would be given copies, and
// never make them. With TLS the certificate there has to name the node too: what answers may say any name. One that comes back where it
// was known is not asked; it may be cut off from this leader and not from the others.
//
// What the network says is no part of the replicated state, so the leader looks before it proposes. That no two members that are up
// have one address is for the entry to decide, see fsm.Register.
func (v *voter) meet(ctx context.Context, r *fsm.Register) error {
	m := v.machine.state().View.Members[r.Node]
	if r.Node == v.c.cfg.Node || m.Addr == r.Addr && m.Directory == r.Directory || r.Validate() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	var who peer.Peer
	there, err := wire.NewGroupClient(v.c.cfg.Port.Peer(r.Addr)).Hello(ctx, &wire.HelloRequest{}, grpc.Peer(&who))
	refused := &shard.Error{Code: shard.CodeUnreachable, Node: r.Node, Addr: r.Addr}
	switch {
	case err != nil:
		refused.Detail = fmt.Sprintf("node %s, the leader, reaches nobody at %s, the address of node %s: %s", v.c.cfg.Node, r.Addr, r.Node, transport.Typed(err).Detail)
	case shard.NodeID(there.Node) != r.Node:
		refused.Detail = fmt.Sprintf("at %s, the address of node %s, node %s answers", r.Addr, r.Node, there.Node)
	case !vouched(&who, refused):
	case shard.DirectoryID(there.Directory) != r.Directory:
		refused.Detail = fmt.Sprintf("at %s, the address of node %s, another process answers under that name, with another data directory", r.Addr, r.Node)
	default:
		return nil
	}
	v.hangUp(r.Addr)
	return refused
}

// vouched reports whether the certificate at the address, if there is one, names the node, and says in refused why it does not.
func vouched(who *peer.Peer, refused *shard.Error) bool {
	err := transport.Vouched(who, refused.Node)
	if err == nil {
		return true
	}
	refused.Code = shard.CodeOf(err)
	refused.Detail = fmt.Sprintf("at %s, the address of node %s: %s", refused.Addr, refused.Node, shard.As(err).Detail)
	return false
}

// hangUp closes the connections to an address at which nobody was found, unless it is a member's: they would be dialed on and on.
func (v *voter) hangUp(addr string) {
	for _, m := range v.machine.state().View.Members {
		if m.Addr == addr {
			return
		}
	}
	v.c.cfg.Port.HangUp(addr)
}

// formerAddrs are the addresses that were a member's in the map before and are nobody's now.
func formerAddrs(before, now *shard.View) []string {
	var left []string
	for id, m := range before.Members {
		if n, there := now.Members[id]; !there || n.Addr != m.Addr {
			left = append(left, m.Addr)
		}
	}
	for _, m := range now.Members {
		if len(left) == 0 {
			break
		}
		left = slices.DeleteFunc(left, func(addr string) bool { return addr == m.Addr })
	}
	return left
}

// taken is the fault of a node that registers at the address of the leader: it can ask nobody but itself. Nil when it is something else
// that keeps the call from the leader.
func (c *Coordinator) taken(fault *shard.Error) *shard.Error {
	if fault == nil || fault.Code != shard.CodeNotLeader || fault.Addr != c.cfg.Addr || fault.Node == c.cfg.Node || c.Session() != 0 {
		return nil
	}
	return &shard.Error{Code: shard.CodeInUse, Node: fault.Node, Addr: c.cfg.Addr,
		Detail: fmt.Sprintf("address %s is that of node %s, which leads the group", c.cfg.Addr, fault.Node)}
}
