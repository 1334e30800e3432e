package coordinator

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"muster/fsm"
	"muster/internal/boottime"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// A session is this process's standing in the group: registered once, kept alive by renewals, opened anew when the group
// has ended it.
//
// The lease counts from the moment a renewal was sent, on boottime, less a margin, and a grant takes effect only when OnView has
// been shown the map at the entry that holds the renewal: until then the map that is gone by may not yet show that the lease
// was lost for a shard. A number is sent once; after a lost answer the next one follows, so that a late repetition can never
// stretch a lease.
//
// How long the lease is this process says with its registration and its renewals, and the leader's answer says for how long the group waits: what the log has of
// this session, or as long as that leader waits for one that has said nothing. The shorter counts.
type session struct {
	c       *Coordinator
	process string // names this process; with opened it makes the nonce
	renewed bell   // rings when a renewal should be sent at once
	life    *life  // of the renewing; it ends before the node says good-bye

	// Every command that this node takes in looks at these two, so they are read without the lock; they change under it. The lease
	// of one session is over before the next one's number shows.
	number atomic.Uint64 // the session's, a shard.SessionID; 0 before there is one
	until  atomic.Int64  // the end of its lease, a time.Duration on boottime; 0 for none

	mu struct {
		sync.Mutex
		opened   int           // sessions tried so far
		sent     time.Duration // when the present nonce was first sent; 0: not yet
		renewals uint64        // the number of the newest renewal sent
		pending  []grant       // not in effect yet
	}
}

// grant extends the lease to until once the map has reached index.
type grant struct {
	session shard.SessionID
	index   shard.Index
	until   time.Duration
}

func newSession(c *Coordinator) *session {
	return &session{c: c, process: uuid.NewString(), life: newLife(c.life.ctx)}
}

func (s *session) id() shard.SessionID { return shard.SessionID(s.number.Load()) }

func (s *session) leaseUntil() time.Duration { return time.Duration(s.until.Load()) }

// open registers this process and returns when the map shows it.
//
// While another process holds the node id or the address, or the leader finds nobody at the address, it is asked again for three leases, this process's
// or that one's, whichever is longer: a predecessor that died runs out in that time, and one that lives is a mistake the operator must hear of.
//
// The time begins with the first refusal, and anew when no leader was there to answer meanwhile: the next one gives every session a whole
// lease, as it has not heard the renewals of before. Rejected: to count only the time under a leader, of which then less may be left.
func (s *session) open(ctx context.Context) error {
	var refused time.Time // first, by a leader that is still there; none before that
	longest := s.c.cfg.Times.Lease
	said, lacks, lapses := "", shard.SessionID(0), s.c.contacts.lapses.Load()
	late := time.AfterFunc(formSayAfter, func() {
		if first, waits := s.c.begins(); waits {
			s.c.log.Info("this node has agreed to form a group and waits for the founder that begins it", "node", s.c.cfg.Node, "founder", first.Node, "addr", first.Addr)
			return
		}
		s.c.log.Info("this node is not registered yet: it waits for the leader of its group", "node", s.c.cfg.Node, "addr", s.c.cfg.Addr)
	})
	defer late.Stop()
	for {
		nonce, sent := s.nonce()
		claim := s.c.registration(nonce)
		claim.SetBack = lacks
		d, err := s.c.surely(ctx, claim)
		verdict := fsm.Verdict{}
		if err == nil {
			verdict = d.verdicts[0]
			err = verdict.Err()
		}
		fault := shard.As(err)
		if now := s.c.contacts.lapses.Load(); now != lapses {
			lapses, refused = now, time.Time{}
		}
		if notYet(fault) && refused.IsZero() {
			refused = time.Now()
		}
		longest = max(longest, d.lease)
		switch {
		case fault == nil:
			return s.adopt(ctx, grant{verdict.Session, d.index, s.c.expiry(sent, d.lease)})
		case notYet(fault) && time.Since(refused) < 3*longest:
			if fault.Detail != said {
				said = fault.Detail
				s.c.log.Info("this node is not admitted yet: it asks again for a while", "node", s.c.cfg.Node, "reason", said)
			}
		case fault.Code == shard.CodeInUse:
			return inUse(s.c.cfg.Node, fault)
		case fault.Code == shard.CodeSetBack && verdict.Session != lacks:
			if lacks = verdict.Session; lacks != 0 {
				s.c.log.Warn("this data directory is older than the group knows it: its copies are given up and made anew",
					"node", s.c.cfg.Node, "stored", claim.LastSession, "lacks", lacks)
			}
			continue // to confirm it is all it takes
		case fault.Code == shard.CodeSessionEnded:
			s.retire()
		default:
			return fmt.Errorf("register node %s: %w", s.c.cfg.Node, fault)
		}
		if !pause(ctx, repeatPause) {
			return shard.Errorf(shard.CodeTimeout, "register node %s: %v", s.c.cfg.Node, fault)
		}
	}
}

// notYet reports whether a registration was refused for what may be over in a while.
func notYet(fault *shard.Error) bool {
	return fault != nil && (fault.Code == shard.CodeInUse || fault.Code == shard.CodeUnreachable)
}

func inUse(node shard.NodeID, fault *shard.Error) error {
	if fault.Node != node {
		return fault // it is not the id
	}
	named := *fault
	named.Detail = fmt.Sprintf("id %s is in use by %s: %s", node, fault.Addr, fault.Detail)
	return &named
}

// nonce names the session that is being opened, and says when it was first sent: the lease counts from there, whichever
// of the repetitions the group heard.
func (s *session) nonce() (string, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.sent == 0 {
		s.mu.sent = boottime.Now()
	}
	return fmt.Sprintf("%s/%d", s.process, s.mu.opened), s.mu.sent
}

// yield ends the lease now.
func (s *session) yield() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.pending = nil
	s.until.Store(min(s.until.Load(), int64(boottime.Now())))
}

// retire gives up a session: the next one opens under another nonce.
func (s *session) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.opened++
	s.mu.sent, s.mu.pending = 0, nil
	s.until.Store(0)
}

func (c *Coordinator) registration(nonce string) *fsm.Register {
	d := c.cfg.Directory
	return &fsm.Register{
		Node: c.cfg.Node, Directory: d.ID(), Machine: d.Machine(), Addr: c.cfg.Addr, Zone: c.cfg.Zone, Roles: c.cfg.Roles,
		Hosts: c.cfg.Hosts, Nonce: nonce, LastSession: d.Session(), Voter: c.Voter(), Fenced: true, // the lock is held
	}
}

// adopt makes a granted session this process's. The directory knows it first: the first renewal tells the group that it does.
func (s *session) adopt(ctx context.Context, first grant) error {
	d := s.c.cfg.Directory
	id := first.session
	if err := d.confirm(s.c.cfg.Port.Group(), id); err != nil {
		return err
	}
	s.mu.Lock()
	s.until.Store(0)
	s.number.Store(uint64(id))
	s.mu.renewals = 0
	s.mu.pending = []grant{first}
	s.mu.Unlock()
	s.c.log.Info("registered", "node", s.c.cfg.Node, "session", id, "group", s.c.cfg.Port.Group(), "voter", s.c.Voter())
	s.renewed.ring()
	s.c.follower.announce()
	return s.c.follower.reach(ctx, first.index)
}

// expiry is the end of a lease whose renewal was sent at the given time, as this node may count on it: the leader waits for so long, 0 when it
// is too old to say. Then the lengths must agree, as they had to in its build.
func (c *Coordinator) expiry(sent, waited time.Duration) time.Duration {
	lease := c.cfg.Times.Lease
	if waited != 0 {
		lease = min(lease, waited)
	}
	return sent + lease - margin(lease)
}

// seen puts the grants into effect that the map has reached. The follower calls it for every newer map.
func (s *session) seen(v *shard.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.id()
	if id == 0 {
		return
	}
	if v.Ended(id) {
		s.until.Store(0)
		s.mu.pending = nil
		return
	}
	s.mu.pending = slices.DeleteFunc(s.mu.pending, func(g grant) bool {
		reached := g.index <= v.Index
		if reached && g.session == id {
			s.until.Store(int64(max(s.leaseUntil(), g.until)))
		}
		return reached
	})
}

// run renews until the node closes.
func (s *session) run() {
	ctx := s.life.ctx
	wait := time.Duration(0)
	for {
		ring, leader := s.renewed.listen(), s.c.leaders.listen()
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-ring:
		case <-leader: // whoever leads now should hear of this session before it runs out
		}
		timer.Stop()
		wait = s.renewOnce(ctx)
	}
}

// renewOnce sends one renewal and returns how long to wait before the next.
func (s *session) renewOnce(ctx context.Context) time.Duration {
	t := s.c.cfg.Times
	if view := s.c.View(); view.Ended(s.id()) {
		return s.reopen(ctx)
	}
	id, number := s.next()
	sent := boottime.Now()
	e, err := s.c.renew(ctx, fsm.Renewal{Session: id, Number: number, Lengths: s.c.cfg.Times.lengths()})
	switch fault := shard.As(err); {
	case fault == nil:
		s.granted(grant{id, e.index, s.c.expiry(sent, e.lease)})
		return min(max(e.next-(boottime.Now()-sent), 0), t.Renew)
	case fault.Code == shard.CodeSessionEnded:
		return s.reopen(ctx)
	default:
		s.c.log.Debug("a renewal failed", "session", id, "number", number, "error", fault)
		return min(repeatPause, t.Renew)
	}
}

func (s *session) next() (shard.SessionID, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.renewals++
	return s.id(), s.mu.renewals
}

func (s *session) granted(g grant) {
	s.mu.Lock()
	if g.session == s.id() {
		s.mu.pending = append(s.mu.pending, g)
	}
	s.mu.Unlock()
	s.seen(s.c.follower.shown.Load()) // not the newest: OnView may be under way with that
}

// reopen opens a new session after the group has ended the old one.
func (s *session) reopen(ctx context.Context) time.Duration {
	s.c.log.Warn("the group ended this node's session; opening another", "session", s.id())
	s.retire()
	err := s.open(ctx)
	if err == nil || ctx.Err() != nil {
		return 0
	}
	s.c.log.Error("no new session", "error", err)
	if fault := shard.As(err); permanent(fault) && !notYet(fault) {
		s.c.fail(err)
	}
	return s.c.cfg.Times.Lease
}

// extension is the leader's answer to a renewal.
type extension struct {
	index shard.Index   // of its entry
	next  time.Duration // when the leader wants the next, counted from the sending
	lease time.Duration // for so long the group waits for the session from this renewal; 0: the leader is too old to say
}

// renew has a renewal applied.
func (c *Coordinator) renew(ctx context.Context, r fsm.Renewal) (e extension, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Times.Lease/2)
	defer cancel()
	err = c.atLeader(ctx, leaderCall{
		local: func(ctx context.Context, v *voter) error {
			v.leading.heirs.add(v.machine.state().View, r.Session, fsm.Version)
			e, err = v.leading.renew(ctx, r)
			return err
		},
		remote: func(ctx context.Context, g wire.GroupClient) error {
			reply, err := g.Renew(ctx, &wire.RenewRequest{
				Session: uint64(r.Session), Number: r.Number, Heir: true, Reads: fsm.Version,
				LeaseMicros: r.Lengths.Lease.Microseconds(), AutonomyMicros: r.Lengths.Autonomy.Microseconds(),
			})
			if err != nil {
				return transport.Typed(err)
			}
			if reply.Fault != nil {
				return transport.ErrorOf(reply.Fault)
			}
			e = extension{shard.Index(reply.Index), micros(reply.NextMicros), micros(reply.LeaseMicros)}
			return nil
		},
	})
	return e, err
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
