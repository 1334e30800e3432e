package plan

import (
	"time"

	"muster/fsm"
	"muster/shard"
)

// ofEstablishing activates an elected primary that is ready, and gives up one that does not get there.
//
// While fewer copies are up than must hold the log nobody else would get there either: the elected one stays, and goes on when
// one of them is back. When enough are up and it still does not, another is tried, after twice as long as the one before.
//
// Rejected: another epoch every few seconds for as long as copies are away. Each leaves a record in the logs, and an entry in Raft's.
func (b *batch) ofEstablishing(spec shard.Spec, p *shard.Placement, m *memory) {
	ready := spec.Volatile || m.established(p)
	away := missing(b.view, p)
	short := !ready && len(p.Copies)-len(away) < p.WriteQuorum
	if short {
		m.since = b.in.Now // its time begins when enough are up
	}
	stalls := m.since + b.d.patience(m)
	switch wait := b.gate(p, m); {
	case b.view.Ended(p.Session):
		b.beginRecovery(p, m, shard.CauseSessionExpired, OwnerGone)
	case m.gaveUp(p):
		b.beginRecovery(p, m, shard.CauseAsked, OwnerAsked)
	case short:
		b.skip(Note{
			Reason: AwaitCopies, Shard: p.Shard, Epoch: p.Epoch, Node: p.Node, Copy: p.Primary,
			Have: len(p.Copies) - len(away), Want: p.WriteQuorum, Waiting: away,
		})
	case !ready && b.in.Now >= stalls:
		b.beginRecovery(p, m, shard.CauseStalled, Stalled)
	case !ready:
		b.skip(Note{Reason: AwaitPrimary, Shard: p.Shard, Epoch: p.Epoch, Node: p.Node, Copy: p.Primary, Wait: stalls - b.in.Now})
	case wait > 0:
		b.skip(Note{Reason: AwaitLease, Shard: p.Shard, Epoch: p.Epoch, Session: p.ActiveSession, Wait: wait})
	case !b.due(m):
		b.skip(Note{Reason: AwaitProposal, Shard: p.Shard, Epoch: p.Epoch})
	default:
		b.activate.add(
			fsm.Activation{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Session: p.Session},
			Note{Reason: Ready, Shard: p.Shard, Epoch: p.Epoch, Session: p.Session, Node: p.Node},
		)
	}
}

// established reports whether the primary has its log on the write quorum of exactly this configuration.
func (m *memory) established(p *shard.Placement) bool {
	r := m.report
	return r.Kind == shard.ReportEstablished && r.Epoch == p.Epoch && r.Version == p.Version && r.Copy == p.Primary
}

// patience is how long an elected primary gets: twice as long as the one before it that got nowhere, up to a bound.
func (d *Driver) patience(m *memory) time.Duration {
	wait := d.Times.Establish
	for range m.stalls {
		if wait *= 2; wait >= d.Times.Relent {
			return d.Times.Relent
		}
	}
	return wait
}

// missing lists the copies of C that cannot hold anything new: their data are lost, or their node is down.
func missing(v *shard.View, p *shard.Placement) []shard.CopyID {
	var ids []shard.CopyID
	for _, c := range p.Copies {
		if _, up := sessionOf(v, c); !up || c.State != shard.CopyReady {
			ids = append(ids, c.ID)
		}
	}
	return ids
}
