package region

import (
	"cmp"
	"slices"
	"time"

	"muster/replication"
	"muster/shard"
)

// requests remembers what became of each command, so that a retry never takes effect twice. Kept by primaries and
// replicas alike from the records they append, and thus rebuilt by reading the log. Owned by the host.
//
// A command that left no record is remembered in memory only, for as long as this copy leads: a late twin of it could
// only arrive in the same epoch, and a new primary cannot have executed it.
//
// What the log no longer has a record of is remembered apart from it, see remembered.
type requests struct {
	sessions map[shard.SessionID]*window
	gone     []replication.Key // sessions that are forgotten here and not yet apart from the log
}

// A window holds the numbers of one session at or above its floor, rising.
type window struct {
	floor uint64
	open  queue[request]
	last  shard.LSN     // its newest record
	apart shard.LSN     // what its records up to here came to is apart from the log
	seen  *shard.View   // the map that last showed the session live
	over  time.Duration // on the region's clock, when the session was first seen to be over; 0 while it lives
}

// A request is running (call set), recorded (at set), or answered without a record (kept set). One whose record the log has
// no more, or will soon do without, is recorded and has its answer kept.
type request struct {
	number uint64
	at     shard.LSN
	call   *call
	kept   *kept
}

// kept is an answer that no record has to be read for.
type kept struct {
	digest uint64
	reply  []byte
	fault  *shard.Error
	lost   bool // the reply was too large to keep
}

func newRequests() requests { return requests{sessions: map[shard.SessionID]*window{}} }

func (r *requests) window(id shard.SessionID) *window {
	w := r.sessions[id]
	if w == nil {
		w = &window{}
		r.sessions[id] = w
	}
	return w
}

// admitted returns the window of a session, or says why its requests are not taken: it is over, or too young for this node's map. The map
// is looked at once per version, and nothing is kept of a session that it does not show.
func (r *requests) admitted(v *shard.View, of shard.ID, id shard.SessionID) (*window, *shard.Error) {
	w := r.sessions[id]
	if w != nil && w.seen == v {
		return w, nil
	}
	if _, live := v.Sessions[id]; live {
		w = r.window(id)
		w.seen = v
		return w, nil
	}
	if v.Ended(id) {
		return nil, shard.Errorf(shard.CodeSessionEnded, "session %d is over", id)
	}
	return nil, &shard.Error{Code: shard.CodeBehind, Shard: of, Detail: "the node's map does not show the sender's session yet"}
}

// note takes a record into account that was appended to the log.
func (r *requests) note(rec *replication.Record) {
	if rec.Request.Session == 0 {
		return
	}
	w := r.window(rec.Request.Session)
	w.last = rec.LSN
	w.raise(rec.Floor)
	if rec.Request.Number >= w.floor {
		w.put(request{number: rec.Request.Number, at: rec.LSN})
	}
}

// truncate forgets the records from lsn on.
func (r *requests) truncate(lsn shard.LSN) {
	for _, w := range r.sessions {
		w.last = min(w.last, lsn-1)
		w.open.filter(func(q request) bool { return q.at < lsn })
	}
}

// depose forgets what has no record: this copy leads no more.
func (r *requests) depose() {
	for _, w := range r.sessions {
		w.open.filter(func(q request) bool { return q.at > 0 })
	}
}

// forget drops the sessions that were over for long enough.
func (r *requests) forget(v *shard.View, now time.Duration) {
	for id, w := range r.sessions {
		switch {
		case !v.Ended(id):
		case w.over == 0:
			w.over = now
		case now-w.over > sessionMemory:
			delete(r.sessions, id)
			if w.apart > 0 {
				r.gone = append(r.gone, replication.Key{Kind: replication.KindRequests, Session: id})
			}
		}
	}
}

// search returns where the number is, or belongs.
func (w *window) search(number uint64) (int, bool) {
	all := w.open.all()
	if n := len(all); n == 0 || all[n-1].number < number {
		return n, false
	}
	return slices.BinarySearchFunc(all, number, func(q request, number uint64) int { return cmp.Compare(q.number, number) })
}

// find returns the request of that number, nil when it is not known. It is valid until the window changes.
func (w *window) find(number uint64) *request {
	if i, ok := w.search(number); ok {
		return &w.open.all()[i]
	}
	return nil
}

// put adds or replaces a request.
func (w *window) put(q request) {
	if i, ok := w.search(q.number); ok {
		w.open.all()[i] = q
	} else {
		w.open.insert(i, q)
	}
}

// raise moves the floor up and forgets what is below it.
func (w *window) raise(floor uint64) {
	if floor <= w.floor {
		return
	}
	w.floor = floor
	for w.open.len() > 0 && w.open.front().number < floor {
		w.open.pop()
	}
}

// drop forgets a request that was refused, whose call its sender may use again.
func (r *requests) drop(id shard.RequestID) {
	if w := r.sessions[id.Session]; w != nil {
		w.drop(id.Number)
	}
}

// drop forgets a request as if it had never come.
func (w *window) drop(number uint64) {
	w.open.filter(func(q request) bool { return q.number != number })
}
