package region_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"muster/entity"
)

// A ledger is an entity of the model test: all that ever happened to it, by the mark of each event. Pad is the newest event's, so that
// its snapshots have sizes on both sides of the limit.
type ledger struct {
	Marks []uint64
	Pad   []byte `json:",omitempty"`
}

// A mark names an event: the serial number of its order, and which event of that it is.
func mark(serial uint64, event int) uint64 { return serial<<markBits | uint64(event) }

func serialOf(mark uint64) uint64 { return mark >> markBits }

const markBits = 12 // enough for all events of an order

type entry struct {
	Mark  uint64
	Pad   []byte `json:",omitempty"`
	Reign uint64 `json:",omitempty"` // what a volatile ledger begins with, so that two of its lives differ though the same order began them
}

// An order is the one command of a ledger: what it records, and how it ends.
type order struct {
	Serial uint64
	Events int           `json:",omitempty"`
	Pad    int           `json:",omitempty"` // bytes of each event
	Reply  int           `json:",omitempty"` // bytes of the reply beyond the marks
	Pause  time.Duration `json:",omitempty"` // inside the handler
	Ends   ending        `json:",omitempty"`
}

// ending is how a handler ends, after it has recorded.
type ending string

const (
	answers  ending = ""
	refuses  ending = "refuses"
	fails    ending = "fails"
	panics   ending = "panics"
	vanishes ending = "vanishes" // with its goroutine
)

// A page is the reply: what the entity is after the order.
type page struct {
	Marks []uint64
	Pad   []byte `json:",omitempty"`
}

// ledgers is a type of ledgers.
type ledgers struct {
	*entity.Type[ledger]
	order *entity.Command[ledger, order, page]
}

func defineLedgers(name string, options ...entity.Option) *ledgers {
	t := entity.Define[ledger](name, options...)
	event := entity.On(t, "entry", func(l *ledger, e entry) {
		if len(l.Marks) == 0 && e.Reign > 0 {
			l.Marks = append(l.Marks, e.Reign)
		}
		l.Marks, l.Pad = append(l.Marks, e.Mark), e.Pad
	})
	var reigns atomic.Uint64
	handler := func(x *entity.Context[ledger], o order) (page, error) {
		if o.Pause > 0 {
			pause := time.NewTimer(o.Pause)
			defer pause.Stop()
			select {
			case <-pause.C:
			case <-x.Context().Done():
				return page{}, x.Context().Err()
			}
		}
		reign := uint64(0)
		if t.Spec().Volatile {
			reign = mark(1<<40+reigns.Add(1), 0)
		}
		for i := range o.Events {
			event.Record(x, entry{mark(o.Serial, i), make([]byte, o.Pad), reign})
		}
		switch o.Ends {
		case refuses:
			return page{}, entity.Refuse("order %d", o.Serial)
		case fails:
			return page{}, fmt.Errorf("order %d fails", o.Serial)
		case panics:
			panic(fmt.Sprintf("order %d panics", o.Serial))
		case vanishes:
			runtime.Goexit()
		}
		return page{slices.Clone(x.State().Marks), make([]byte, o.Reply)}, nil
	}
	return &ledgers{Type: t, order: entity.Handle(t, "order", handler)}
}

// A flaw is a codec that now and then fails, panics or ends its goroutine, at the owner alone: whoever asks encodes and decodes in peace.
type flaw struct {
	seed  uint64
	calls *atomic.Uint64
	armed *atomic.Bool
}

// One in so many calls goes wrong.
const (
	flawedStates  = 24
	flawedEntries = 400
)

var errFlaw = errors.New("a flaw")

func (f flaw) Marshal(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return b, errors.Join(err, f.strike(v))
}

func (f flaw) Unmarshal(b []byte, v any) error {
	if _, answer := v.(*page); answer {
		return json.Unmarshal(b, v)
	}
	return errors.Join(json.Unmarshal(b, v), f.strike(v))
}

func (f flaw) strike(v any) error {
	if !f.armed.Load() {
		return nil
	}
	one := uint64(flawedEntries)
	switch v.(type) {
	case *order:
		return nil
	case *ledger:
		one = flawedStates
	}
	random := rand.New(rand.NewPCG(f.seed, f.calls.Add(1)))
	if random.Uint64N(one) != 0 {
		return nil
	}
	switch random.IntN(4) {
	case 0:
		runtime.Goexit()
	case 1:
		panic("a flaw")
	}
	return errFlaw
}
