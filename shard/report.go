package shard

import "slices"

// Report is what a node tells the coordinator about one of its copies. Reports are repeated until the map shows their
// effect, so losing one is harmless. Comparable: two reports say the same exactly when they are equal.
type Report struct {
	Kind    ReportKind
	Shard   ID
	Copy    CopyID // the copy it is about; of a hand-off the one that is to lead
	Epoch   Epoch
	Version ConfigVersion
	Copies  CopySet // the wanted C of a ReportReconfig
	Detail  string
}

// ReportKind is what a Report says.
type ReportKind uint8

const (
	ReportReady          ReportKind = iota + 1 // the copy was created in this directory
	ReportLost                                 // the copy should be in this directory and is not, or its data is rotten
	ReportEstablished                          // the primary holds its log on the write quorum: activate it
	ReportRecover                              // the primary cannot go on leading this epoch
	ReportReconfig                             // the primary wants C to become Copies, and confirms by both until it knows
	ReportHandoff                              // the primary has stepped down for good; Copy holds all it confirmed and is to lead
	ReportStalledHandoff                       // the primary could not hand over in time and goes on leading
)

func (k ReportKind) String() string {
	return name(k, "", "ready", "lost", "established", "recover", "reconfig", "handoff", "stalled-handoff")
}

// CopySet is a set of copies of one shard, as many as C can have. Comparable: equal sets are equal values.
type CopySet [MaxReplicas + 1]CopyID // rising, zeros last

// NewCopySet makes a set of the ids, in any order. It fails with CodeInvalid on more than C can have, on 0 and on an id named
// twice.
func NewCopySet(ids ...CopyID) (CopySet, error) {
	var s CopySet
	if len(ids) > len(s) {
		return s, Invalid("%d copies, at most %d", len(ids), len(s))
	}
	sorted := slices.Sorted(slices.Values(ids))
	for i, id := range sorted {
		if id == 0 || i > 0 && sorted[i-1] == id {
			return CopySet{}, Invalid("copies %v: 0 or one named twice", sorted)
		}
		s[i] = id
	}
	return s, nil
}

// IDs returns the ids of the set, rising; nil when it is empty.
func (s CopySet) IDs() []CopyID {
	n := slices.Index(s[:], 0)
	switch n {
	case 0:
		return nil
	case -1:
		n = len(s)
	}
	return slices.Clone(s[:n])
}
