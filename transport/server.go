package transport

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"muster/shard"
	"muster/transport/wire"
)

// The metadata that calls between nodes carry.
const (
	groupKey = "muster-group"
	nodeKey  = "muster-node"
)

// How a server keeps connections. Failure detection is not gRPC's business: these only clear away what is dead.
const (
	serverPing     = 10 * time.Second
	serverPingWait = 5 * time.Second
	fastestPing    = 5 * time.Second // a client that pings more often is cut off
	longestIdle    = 15 * time.Minute
	oldestConn     = 12 * time.Hour // then clients move to a fresh connection; running streams go on
)

// access says what a method wants of its caller. A method that is not in the table is refused, so a new one is closed
// until someone decides.
type access struct {
	group groupRule
	roles []Role // certificates that may call it; plaintext has no roles
}

// groupRule says when the group that a call names must be this node's.
type groupRule uint8

const (
	anyGroup    groupRule = iota // never: the call is how groups come about
	groupNamed                   // when it names one: clients may not know it yet
	groupMember                  // always, and it must name one
)

var (
	everyone = []Role{RoleServer, RoleAdmin, RoleClient}
	servers  = []Role{RoleServer}
)

var methods = map[string]access{
	wire.Group_Hello_FullMethodName:      {anyGroup, everyone},
	wire.Group_Form_FullMethodName:       {anyGroup, servers},
	wire.Group_Seat_FullMethodName:       {groupMember, servers},
	wire.Group_Propose_FullMethodName:    {groupMember, []Role{RoleServer, RoleAdmin}},
	wire.Group_Renew_FullMethodName:      {groupMember, servers},
	wire.Group_Report_FullMethodName:     {groupMember, servers},
	wire.Group_Watch_FullMethodName:      {groupNamed, everyone},
	wire.Group_Arrive_FullMethodName:     {groupNamed, everyone},
	wire.Group_Inspect_FullMethodName:    {groupNamed, everyone},
	wire.Group_Administer_FullMethodName: {groupNamed, []Role{RoleServer, RoleAdmin}},
	wire.Group_Consult_FullMethodName:    {groupNamed, everyone},
	wire.Peer_Deliver_FullMethodName:     {groupMember, servers},
	wire.Peer_OneWay_FullMethodName:      {groupMember, servers},
	wire.Peer_Replicate_FullMethodName:   {groupMember, servers},
	wire.Peer_Seal_FullMethodName:        {groupMember, servers},
	wire.Muster_Ask_FullMethodName:       {groupNamed, everyone},
}

func (r groupRule) allows(claimed, own shard.GroupID) bool {
	switch r {
	case anyGroup:
		return true
	case groupNamed:
		return claimed == "" || claimed == own
	default:
		return own != "" && claimed == own
	}
}

func (p *Port) newServer() *grpc.Server {
	return grpc.NewServer(
		grpc.Creds(finished{}),
		serverCodec(),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.MaxRecvMsgSize(p.limits.Request),
		grpc.MaxSendMsgSize(p.limits.Reply),
		grpc.MaxConcurrentStreams(p.limits.Streams),
		grpc.MaxHeaderListSize(p.limits.Headers),
		grpc.ConnectionTimeout(p.limits.Handshake),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: longestIdle, MaxConnectionAge: oldestConn, Time: serverPing, Timeout: serverPingWait,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: fastestPing, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := p.authorize(ctx, info.FullMethod); err != nil {
				return nil, err
			}
			reply, err := next(ctx, req)
			return reply, typedStatus(err)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := p.authorize(stream.Context(), info.FullMethod); err != nil {
				return err
			}
			return typedStatus(next(srv, stream))
		}),
	)
}

// authorize decides whether the caller may use the method. The error is a status with a fault.
func (p *Port) authorize(ctx context.Context, method string) error {
	err := p.judge(ctx, method)
	if err == nil {
		return nil
	}
	p.counters.strangers.Add(1)
	p.log.Debug("call refused", "method", method, "error", err)
	return StatusOf(err)
}

func (p *Port) judge(ctx context.Context, method string) error {
	want, known := methods[method]
	if !known {
		return shard.Invalid("method %s is not offered to anyone", method)
	}
	claimed, own := shard.GroupID(incoming(ctx, groupKey)), p.Group()
	if own == "" && claimed != "" && !want.group.allows(claimed, own) { // it may be a founder that is a moment late
		return &shard.Error{Code: shard.CodeUnavailable, Node: p.node, Detail: "this node belongs to no group yet"}
	}
	if !want.group.allows(claimed, own) {
		return &shard.Error{
			Code: shard.CodeWrongGroup, Node: p.node,
			Detail: "node " + string(p.node) + " belongs to group " + quoted(own) + ", the call came from " + quoted(claimed),
		}
	}
	return p.judgeIdentity(ctx, want)
}

func (p *Port) judgeIdentity(ctx context.Context, want access) error {
	caller, _ := peer.FromContext(ctx)
	secure, isTLS := caller.AuthInfo.(credentials.TLSInfo)
	if !isTLS {
		return nil
	}
	who, err := identity(&secure.State)
	if err == nil {
		err = who.within(p.domain)
	}
	if err != nil {
		return err
	}
	for _, role := range want.roles {
		if who.Role != role {
			continue
		}
		if claimed := CallerNode(ctx); claimed != "" {
			return who.vouches(claimed)
		}
		return nil
	}
	return shard.Errorf(shard.CodeWrongGroup, "a certificate of role %s may not do this", who.Role)
}

// CallerNode returns the node a call says it comes from, "" for a client. With TLS the certificate vouches for it.
func CallerNode(ctx context.Context) shard.NodeID { return shard.NodeID(incoming(ctx, nodeKey)) }

// CallerName returns who calls, for the record: the name in the certificate, or the address where there is none.
func CallerName(ctx context.Context) string {
	caller, ok := peer.FromContext(ctx)
	if !ok {
		return "unknown"
	}
	if secure, isTLS := caller.AuthInfo.(credentials.TLSInfo); isTLS {
		if who, err := identity(&secure.State); err == nil {
			return string(who.Role) + " " + valid(who.Name)
		}
	}
	if caller.Addr == nil {
		return "unknown"
	}
	return caller.Addr.String()
}

// incoming returns a metadata value that must be there at most once; several are as good as a wrong one.
func incoming(ctx context.Context, key string) string {
	switch values := metadata.ValueFromIncomingContext(ctx, key); len(values) {
	case 0:
		return ""
	case 1:
		return values[0]
	default:
		return "several"
	}
}

func quoted(g shard.GroupID) string {
	if g == "" {
		return "no group"
	}
	return valid(string(g))
}

// typedStatus gives a handler's typed error its status, so that handlers may return one as it is. What is a status
// already stays as it is.
func typedStatus(err error) error {
	var typed *shard.Error
	if _, isStatus := status.FromError(err); isStatus && !errors.As(err, &typed) {
		return err
	}
	return StatusOf(err)
}
