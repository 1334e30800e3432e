package region_test

import (
	"errors"
	"time"

	"muster/entity"
)

// The entity types that the tests use. Each test makes its own, so options can differ.
type counter struct{ Value, Adds int64 }

type added struct{ N int64 }

type counters struct {
	*entity.Type[counter]
	add    *entity.Command[counter, int64, int64]
	get    *entity.Command[counter, struct{}, int64]
	adds   *entity.Command[counter, struct{}, int64]
	refuse *entity.Command[counter, struct{}, int64]
	broken *entity.Command[counter, int64, int64]
	wait   *entity.Command[counter, struct{}, int64]
	bulky  *entity.Command[counter, []byte, int64] // adds 1
	gate   chan struct{}                           // wait's handler returns when something comes
	inside chan struct{}                           // wait's handler says that it runs
}

func define(name string, options ...entity.Option) *counters {
	t := entity.Define[counter](name, options...)
	event := entity.On(t, "added", func(c *counter, e added) { c.Value += e.N; c.Adds++ })
	c := &counters{Type: t, gate: make(chan struct{}), inside: make(chan struct{}, 16)}
	c.add = entity.Handle(t, "add", func(x *entity.Context[counter], n int64) (int64, error) {
		event.Record(x, added{n})
		return x.State().Value, nil
	})
	c.bulky = entity.Handle(t, "bulky", func(x *entity.Context[counter], _ []byte) (int64, error) {
		event.Record(x, added{1})
		return x.State().Value, nil
	})
	c.get = entity.Handle(t, "get", func(x *entity.Context[counter], _ struct{}) (int64, error) { return x.State().Value, nil })
	c.adds = entity.Handle(t, "adds", func(x *entity.Context[counter], _ struct{}) (int64, error) { return x.State().Adds, nil })
	c.refuse = entity.Handle(t, "refuse", func(*entity.Context[counter], struct{}) (int64, error) {
		return 0, entity.Refuse("never")
	})
	c.broken = entity.Handle(t, "broken", func(x *entity.Context[counter], n int64) (int64, error) {
		event.Record(x, added{n})
		if n < 0 {
			panic("a defect")
		}
		return 0, errors.New("a failure after an event")
	})
	c.wait = entity.Handle(t, "wait", func(x *entity.Context[counter], _ struct{}) (int64, error) {
		c.inside <- struct{}{}
		select {
		case <-c.gate:
		case <-x.Context().Done():
			return 0, x.Context().Err()
		}
		return x.State().Value, nil
	})
	return c
}

// patience bounds what has to happen at some time. It is long for a machine, and a disk, that have other things to do as well.
const patience = 30 * time.Second
