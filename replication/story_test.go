package replication_test

import (
	"fmt"
	"strings"

	"muster/replication"
	"muster/shard"
)

// story tells steps one a line.
func (w *world) story(steps []step) string {
	var b strings.Builder
	for i, s := range steps {
		fmt.Fprintf(&b, "%3d. %s", i+1, verbs[s.what])
		if s.what >= sync && s.what <= wipe || s.what == mint {
			fmt.Fprintf(&b, " n%d", s.node+1)
		}
		for _, id := range s.of {
			if id != 0 {
				fmt.Fprintf(&b, " (copy %d)", id)
			}
		}
		for _, m := range s.msgs {
			if m != 0 {
				fmt.Fprintf(&b, " %s", tell(w.r.messages[m]))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func tell(m any) string {
	switch m := m.(type) {
	case replication.Append:
		var records journal
		records = records.with(&replication.Write{Records: m.Records})
		return fmt.Sprintf("append of epoch %d to copy %d: after %s %v, confirmed %d, round %d", m.Epoch, m.To, m.Prev, records, m.Confirmed, m.Round)
	case replication.Ack:
		return fmt.Sprintf("ack of epoch %d by copy %d: %d, round %d", m.Epoch, m.Copy, m.LSN, m.Round)
	case replication.Nack:
		return fmt.Sprintf("nack of epoch %d by copy %d: %s, promised %d, last %s", m.Epoch, m.Copy, m.Why, m.Promised, m.Last)
	case snapshot:
		return fmt.Sprintf("snapshot of epoch %d to copy %d: up to %s", m.Epoch, m.To, m.Base)
	case sealItem:
		return fmt.Sprintf("seal of epoch %d to copy %d", m.Epoch, m.Copy)
	case shard.Sealed:
		return fmt.Sprintf("[sealed of epoch %d by copy %d: last %s]", m.Epoch, m.Copy, m.Last)
	case established:
		return fmt.Sprintf("epoch %d of session %d", m.Epoch, m.Session)
	case report:
		return m.String()
	}
	return fmt.Sprint(m)
}
