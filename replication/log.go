package replication

import "muster/shard"

// A log is what a Copy knows of its own records: where they end, which epoch wrote which, and how much of that the
// journal holds durably. The records themselves live in the journal.
//
// The fields without "durable" run ahead of the disk: they say what will be there when the writes under way are done.
//
// Invariant: durable ≤ last.LSN, base.LSN ≤ confirmed ≤ last.LSN, kept ≤ promised, last.Epoch ≤ promised; durable < base.LSN
// only while an installed snapshot is under way to the disk.
type log struct {
	promised  shard.Epoch
	base      shard.Position // the records up to here are gone; entities and requests are kept apart
	last      shard.Position
	history   shard.History
	confirmed shard.LSN // known to be confirmed; never goes back, never truncated

	durable shard.LSN   // synced, and still part of the log
	kept    shard.Epoch // the promise that is synced
	tickets Ticket      // the newest handed out
	writes  []pending   // under way, oldest first
}

// pending is what will be true when a write is synced.
type pending struct {
	ticket   Ticket
	promised shard.Epoch
	end      shard.LSN
}

// at returns the position of an LSN from base up to the log's end.
func (l *log) at(lsn shard.LSN) shard.Position {
	return shard.Position{Epoch: l.history.At(lsn), LSN: lsn}
}

// holds reports whether the log has the very record at p. By log matching it then has everything before it too. What
// stood below the base was confirmed, so the primary of any later epoch has the same there.
func (l *log) holds(p shard.Position) bool {
	if p.LSN < l.base.LSN {
		return p.Epoch <= l.base.Epoch
	}
	return p.LSN <= l.last.LSN && l.history.At(p.LSN) == p.Epoch
}

func (l *log) extend(records []Record) {
	for i := range records {
		l.history = l.history.Extend(records[i].Position)
		l.last = records[i].Position
	}
}

// truncate removes the records from lsn on. A write under way may still hold some of them: what it makes durable counts
// only up to here, because the LSNs after it are about to mean other records.
func (l *log) truncate(lsn shard.LSN) {
	l.history = l.history.Truncate(lsn)
	l.last = l.at(lsn - 1)
	l.durable = min(l.durable, lsn-1)
	for i := range l.writes {
		l.writes[i].end = min(l.writes[i].end, lsn-1)
	}
}

// write numbers w and remembers what it will have made durable.
func (l *log) write(w Write) *Write {
	l.tickets++
	w.Ticket, w.Confirmed = l.tickets, l.confirmed
	l.writes = append(l.writes, pending{ticket: w.Ticket, promised: l.promised, end: l.last.LSN})
	return &w
}

// synced notes that every write up to t is durable.
func (l *log) synced(t Ticket) {
	done := 0
	for done < len(l.writes) && l.writes[done].ticket <= t {
		l.durable, l.kept = l.writes[done].end, l.writes[done].promised
		done++
	}
	l.writes = l.writes[:copy(l.writes, l.writes[done:])]
}

// settled reports whether everything up to the ticket is durable.
func (l *log) settled(t Ticket) bool {
	return len(l.writes) == 0 || l.writes[0].ticket > t
}

// tail returns the newest epochs of the log that began at or before lsn, at most MaxHistoryTail.
func (l *log) tail(lsn shard.LSN) shard.History {
	h := l.history.Truncate(lsn + 1)
	return h[max(0, len(h)-MaxHistoryTail):]
}

// common returns the highest LSN at which this log and one with the given end and history agree as far as can be seen. Where
// the other history does not reach far enough back it returns the LSN before it, to be asked about next. An LSN below the
// base says that they part where this log has no records any more. The other side's words come from the network: whatever
// they are, each round of the loop ends at a lower LSN.
func (l *log) common(last shard.LSN, other shard.History) shard.LSN {
	n := min(l.last.LSN, last)
	for n >= max(1, l.base.LSN) {
		mine, theirs := l.history.At(n), other.At(n)
		switch {
		case mine == theirs || theirs == 0:
			return n
		case mine > theirs:
			n = firstOf(l.history, n) - 1
		default:
			n = firstOf(other, n) - 1
		}
	}
	return n
}

// firstOf returns where the epoch that wrote lsn begins, 1 or more.
func firstOf(h shard.History, lsn shard.LSN) shard.LSN {
	for i := len(h) - 1; i >= 0; i-- {
		if h[i].First <= lsn {
			return max(1, h[i].First)
		}
	}
	return 1
}
