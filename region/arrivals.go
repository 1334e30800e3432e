package region

import (
	"google.golang.org/grpc/mem"

	"muster/replication"
)

// arrivals are the appends of one batch. Their records are taken apart by the host, into memory that the next batch uses
// again: once the batch is worked off, the journal has its copy.
type arrivals struct {
	items   []arrived
	records []replication.Record // of the appends that were taken apart
}

// arrived is an append, the frame that its records stand in, and the stream to answer it on.
type arrived struct {
	m       replication.Append // without Records
	records []byte
	frame   mem.Buffer
	from    *ackStream
}

// room makes place for the records of all, so that those taken apart do not move.
func (a *arrivals) room() {
	n := 0
	for i := range a.items {
		n += replication.CountRecords(a.items[i].records)
	}
	if cap(a.records) < n {
		a.records = make([]replication.Record, 0, n)
	}
}

// next returns an append with its records. They have the room behind them that the records of the appends after it go to: the
// copy may append those in place, which is then already done.
func (a *arrivals) next(i int) (m *replication.Append, err error) {
	m = &a.items[i].m
	from := len(a.records)
	a.records, err = replication.DecodeRecords(a.records, a.items[i].records)
	m.Records = a.records[from:]
	return m, err
}

// join moves the items of later to the end of a's.
func (a *arrivals) join(later *arrivals) {
	a.items = append(a.items, later.items...)
	clear(later.items)
	later.items = later.items[:0]
}

// reset lets go of the frames and keeps memory for the next batch, unless it is much.
func (a *arrivals) reset() {
	for i := range a.items {
		a.items[i].frame.Free()
	}
	clear(a.items)
	clear(a.records)
	a.items, a.records = a.items[:0], a.records[:0]
	if cap(a.records) > mostRecords {
		a.records = nil
	}
}
