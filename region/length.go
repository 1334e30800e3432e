package region

import (
	"muster/replication"
	"muster/shard"
)

// markEvery is how many bytes of records stand between two marks, about.
const markEvery = 64 << 10

// A length says how many bytes of records a log has, near enough to decide when to shorten it and where. Owned by the host.
type length struct {
	bytes int         // of the whole log
	open  int         // of records behind the newest mark
	marks queue[mark] // by LSN
}

// A mark ends a stretch of the log.
type mark struct {
	lsn   shard.LSN
	bytes int // of the records since the mark before
}

func (l *length) add(r *replication.Record) {
	const header = 32 // of a record and its entry, about
	n := header + len(r.Entity) + len(r.Body)
	l.bytes += n
	if l.open += n; l.open >= markEvery {
		l.marks.push(mark{r.LSN, l.open})
		l.open = 0
	}
}

// truncate forgets where stretches end that are not whole any more. Their bytes go on to count: a little too early is no harm.
func (l *length) truncate(lsn shard.LSN) {
	l.marks.filter(func(m mark) bool {
		if m.lsn >= lsn {
			l.open += m.bytes
		}
		return m.lsn < lsn
	})
}

// cut takes the records up to lsn away.
func (l *length) cut(lsn shard.LSN) {
	for l.marks.len() > 0 && l.marks.front().lsn <= lsn {
		l.bytes -= l.marks.pop().bytes
	}
}

// tail returns an LSN behind which at most that many bytes stand, 0 when the whole log is shorter.
func (l *length) tail(bytes int) shard.LSN {
	left := l.bytes
	for _, m := range l.marks.all() {
		if left <= bytes {
			break
		}
		if left -= m.bytes; left <= bytes {
			return m.lsn
		}
	}
	return 0
}
