package plan

import (
	"muster/fsm"
	"muster/shard"
)

// Reporter is the process that found something.
type Reporter struct {
	Directory shard.DirectoryID
	Session   shard.SessionID // 0 before it has one
}

// News is what a batch of reports comes to.
type News struct {
	Commands []fsm.Command  // to propose, those first that callers wait for
	Facts    []shard.Report // for Driver.Report
}

// Sort makes commands of reports on copies, wanted changes of C and hand-overs, and facts of those of primaries that are
// established or cannot go on. A primary is believed only when it speaks from the session that the placement names. It
// fails with CodeInvalid on a report of a kind that there is not.
//
// A hand-over to a session that takes is activated in the same entry: the copy that is to lead holds everything confirmed, and
// nobody else confirms anything any more, so its word decides the next election from here on; that it serves only when its
// first record is on the write quorum, it sees to itself. The Commands belong into one entry, in their order.
func Sort(v *shard.View, from Reporter, batch []shard.Report, takes func(shard.SessionID) bool) (News, error) {
	s := sorting{view: v, takes: takes}
	for _, one := range batch {
		p := v.Placement(one.Shard)
		switch leads := p != nil && p.Session == from.Session && p.Epoch == one.Epoch && from.Session != 0; {
		case one.Kind < shard.ReportReady || one.Kind > shard.ReportStalledHandoff:
			return News{}, shard.Invalid("report of unknown kind %d", one.Kind)
		case one.Kind == shard.ReportReady:
			s.ready = append(s.ready, fsm.CopyItem{Shard: one.Shard, Copy: one.Copy, Directory: from.Directory})
		case one.Kind == shard.ReportLost:
			s.lost = append(s.lost, fsm.CopyItem{Shard: one.Shard, Copy: one.Copy, Directory: from.Directory})
		case leads:
			s.ofPrimary(v.Types[one.Shard.Type].Spec, p, one)
		}
	}
	return News{s.commands(), s.facts}, nil
}

// sorting is a batch of reports by what they are.
type sorting struct {
	view        *shard.View
	takes       func(shard.SessionID) bool
	ready, lost []fsm.CopyItem
	changes     []fsm.Reconfiguration
	handings    []fsm.Handing
	activations []fsm.Activation // of what is handed over
	facts       []shard.Report
}

// ofPrimary sorts in what the primary of a placement reports.
func (s *sorting) ofPrimary(spec shard.Spec, p *shard.Placement, one shard.Report) {
	switch {
	case one.Kind == shard.ReportReconfig && one.Copies != shard.CopySet{}:
		ids := one.Copies.IDs()
		s.changes = append(s.changes, fsm.Reconfiguration{
			Shard: one.Shard, Epoch: one.Epoch, Version: one.Version, Session: p.Session,
			Copies: ids, WriteQuorum: p.Quorums(spec.WriteQuorum()).For(len(ids)),
		})
	case one.Kind == shard.ReportHandoff && (one.Copy != 0 || one.Detail != ""):
		h := fsm.Handing{Shard: one.Shard, Epoch: one.Epoch, Version: one.Version, Session: p.Session, To: one.Copy}
		if one.Copy == 0 {
			h.Node = shard.NodeID(one.Detail) // a volatile shard goes to a node
		}
		s.handings = append(s.handings, h)
		s.activate(p, h)
	default:
		s.facts = append(s.facts, one)
	}
}

// activate has a journaled shard served as soon as the session can that it is handed to. A session that came up since, or a copy
// that cannot lead any more, makes the state machine refuse this, and what follows is as after an election.
func (s *sorting) activate(p *shard.Placement, h fsm.Handing) {
	c, member := p.Copy(h.To)
	if to := s.view.Members[c.Node].Session; member && to != 0 && s.takes(to) {
		s.activations = append(s.activations, fsm.Activation{Shard: h.Shard, Epoch: h.Epoch + 1, Version: h.Version, Session: to})
	}
}

func (s *sorting) commands() []fsm.Command {
	var commands []fsm.Command
	if len(s.handings) > 0 {
		commands = append(commands, &fsm.HandOver{Items: s.handings})
	}
	if len(s.activations) > 0 {
		commands = append(commands, &fsm.Activate{Items: s.activations})
	}
	if len(s.changes) > 0 {
		commands = append(commands, &fsm.Reconfig{Items: s.changes})
	}
	if len(s.ready) > 0 {
		commands = append(commands, &fsm.CopyReady{Items: s.ready})
	}
	if len(s.lost) > 0 {
		commands = append(commands, &fsm.CopyLost{Items: s.lost})
	}
	return commands
}
