package route

import "muster/shard"

// Holding is what a node knows of a copy that is in its directory, or being created there, or should be there and is not.
type Holding struct {
	Since    shard.Index // maps from here on know the copy, or that it is no more; 0 while no such map was seen
	Creating bool
	Missing  bool
	Damage   string // why its data cannot be trusted, "" when they can
}

// Fate is what becomes of a copy by a map.
type Fate uint8

const (
	Keep   Fate = iota // it counts, or the map may be too old to know it
	Aside              // given up as lost, or the shard went on without it: it answers nobody, its data stay
	Remove             // neither a member of C nor a learner, nor kept aside: its data go
	Forget             // likewise, and there are no data
)

// Fate judges a copy by the placement in a map of that index. Removing cannot be undone, so the map has to be one that would
// name the copy if it were still one. Ids are not used again, so what such a map does not name never comes back.
func (h *Holding) Fate(id shard.CopyID, p *shard.Placement, index shard.Index) Fate {
	switch found, ok := Named(p, id); {
	case ok && found.State != shard.CopyLost:
		return Keep
	case ok:
		return Aside
	case h.Since == 0 || index < h.Since || h.Creating:
		return Keep
	case h.Missing:
		return Forget
	default:
		return Remove
	}
}

// Report is what the coordinator has to be told about the copy, which the map shows as mine; false when there is nothing.
func (h *Holding) Report(id shard.ID, mine shard.Copy) (shard.Report, bool) {
	r := shard.Report{Shard: id, Copy: mine.ID}
	switch {
	case h.Damage != "":
		r.Kind, r.Detail = shard.ReportLost, h.Damage
	case h.Missing:
		r.Kind, r.Detail = shard.ReportLost, "the directory does not hold the copy"
	case mine.State == shard.CopyMinted && !h.Creating:
		r.Kind = shard.ReportReady
	default:
		return shard.Report{}, false
	}
	return r, true
}

// CopyOn returns the copy, member of C or learner, that the directory is to hold.
func CopyOn(p *shard.Placement, d shard.DirectoryID) (shard.Copy, bool) {
	if c, ok := p.CopyOn(d); ok && c.State != shard.CopyLost {
		return c, true
	}
	l, ok := p.LearnerOn(d)
	return l.Copy, ok
}

// Named returns the copy of that id, member of C, kept aside or learner.
func Named(p *shard.Placement, id shard.CopyID) (shard.Copy, bool) {
	if c, ok := p.Copy(id); ok {
		return c, true
	}
	if a, ok := p.KeptAside(id); ok {
		return a.Copy, true
	}
	l, ok := p.Learner(id)
	return l.Copy, ok
}

// Part is what a copy is to do by a placement.
type Part uint8

const (
	Follow Part = iota + 1 // another leads, or nobody
	Lead                   // establish the epoch
	Serve                  // the epoch is active: serve as soon as it is established, which one that was handed over is not yet
	Await                  // it was elected for a session that this process was granted and has not adopted yet
)

// PartOf returns the part of a copy in a process of that session.
func PartOf(p *shard.Placement, id shard.CopyID, session shard.SessionID) Part {
	switch {
	case p.Primary != id || p.Session < session:
		return Follow
	case p.Session > session:
		return Await
	case p.Status == shard.Establishing:
		return Lead
	case p.Status == shard.Active:
		return Serve
	}
	return Follow
}

// Settled reports whether a map is younger than every copy that a directory held when the process of that session started: it
// shows the session, which was registered after the process that created those copies was over. From then on a copy that
// the map does not name is known to be no more, and one that it shows as minted was never created.
//
// Rejected: to compare copy ids with those in the map. The newest ids may be exactly the ones an old map does not have.
func Settled(v *shard.View, session shard.SessionID, d shard.DirectoryID) bool {
	s, live := v.Sessions[session]
	return session != 0 && live && s.Directory == d
}
