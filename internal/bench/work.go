package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"muster/entity"
	"muster/internal/load"
	"muster/shard"
)

// Where the entities are that a caller asks, seen from its node.
const (
	anywhere  = "anywhere"
	ownedHere = "here"      // by the caller's node
	elsewhere = "elsewhere" // by another one
)

// work is what the callers of a member do.
type work struct {
	Kind     string `json:"kind"`
	Entities int    `json:"entities"` // how many there are in all
	Where    string `json:"where"`
	Read     bool   `json:"read"` // get instead of put
	OneWay   bool   `json:"one_way"`
	Event    int    `json:"event"` // bytes of each event; 0: eventSize
}

// patience bounds one command; one that takes longer makes the run void.
const patience = 20 * time.Second

func (m *member) run(r load.Request) (*load.Sample, error) {
	var w work
	if err := json.Unmarshal(r.With, &w); err != nil {
		return nil, err
	}
	ids, err := m.entities(w)
	if err != nil {
		return nil, err
	}
	op, err := m.op(w, ids, r.Loop)
	if err != nil {
		return nil, err
	}
	before := m.counts()
	ctx, cancel := context.WithTimeout(context.Background(), r.Loop.For+patience)
	defer cancel()
	s, err := r.Loop.Run(ctx, op), error(nil)
	if w.OneWay {
		err = m.arrived(ctx, w, s)
	}
	for name, n := range m.counts() {
		s.Counts[name] = n - before[name]
	}
	return s, err
}

// arrived waits until the entities have counted every command of this run and the ones before it, which is within the time of the run.
func (m *member) arrived(ctx context.Context, w work, s *load.Sample) error {
	began := time.Now()
	m.sent += s.Ops + s.Late
	for n := uint64(0); n != m.sent; {
		var err error
		if n, err = m.total(ctx, w); err != nil {
			return fmt.Errorf("%d were sent, %d arrived: %w", m.sent, n, err)
		}
	}
	s.Ops, s.Late = s.Ops+s.Late, 0
	s.Seconds += time.Since(began).Seconds()
	return nil
}

// op returns the operation of a caller: command and reply are checked, nothing is retried here.
func (m *member) op(w work, ids []entity.ID, l load.Loop) (load.Op, error) {
	k := m.kinds[w.Kind]
	if k == nil {
		return nil, fmt.Errorf("no entity type is called %q", w.Kind)
	}
	command, size := k.put, cmp.Or(w.Event, eventSize)
	if w.Read {
		command = k.get
	}
	if k.Spec().Volatile {
		size = envelopeSize
	}
	bodies := make([][]byte, l.Callers)
	for i := range bodies {
		bodies[i] = make([]byte, size)
	}
	return func(ctx context.Context, caller, n int) error {
		tag, body := uint64(caller)<<40|uint64(n), bodies[caller]
		binary.BigEndian.PutUint64(body, tag)
		id := ids[(caller*7919+n*104_729)%len(ids)]
		if w.OneWay {
			return command.OneWay(ctx, m.node, id, body)
		}
		reply, err := command.Ask(ctx, m.node, id, body)
		if err == nil {
			_, err = counted(reply, tag)
		}
		return err
	}, nil
}

// entities lists those that the work is about.
func (m *member) entities(w work) ([]entity.ID, error) {
	key := fmt.Sprintf("%s %d %s", w.Kind, w.Entities, w.Where)
	if ids := m.plans[key]; ids != nil {
		return ids, nil
	}
	view := m.node.View()
	var ids []entity.ID
	for i := range w.Entities {
		id := entity.ID(fmt.Sprintf("e%d", i))
		s, ok := view.Locate(shard.TypeName(w.Kind), id)
		if !ok {
			return nil, fmt.Errorf("type %q is not registered", w.Kind)
		}
		p := view.Placement(s)
		mine := p != nil && p.Node == m.node.ID()
		if w.Where == anywhere || mine == (w.Where == ownedHere) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("no entity of %d is %s", w.Entities, w.Where)
	}
	m.plans[key] = ids
	return ids, nil
}

// audit answers the driver's question for the total.
func (m *member) audit(r load.Request) (uint64, error) {
	var w work
	if err := json.Unmarshal(r.With, &w); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return m.total(ctx, w)
}

// total reads every entity and returns how many commands they have counted.
func (m *member) total(ctx context.Context, w work) (uint64, error) {
	ids, err := m.entities(w)
	if err != nil {
		return 0, err
	}
	const readers = 1024
	var all sync.WaitGroup
	var sums [readers]uint64
	var faults [readers]error
	for i := range readers {
		all.Go(func() {
			for k := i; k < len(ids) && faults[i] == nil; k += readers {
				var n uint64
				n, faults[i] = m.read(ctx, m.kinds[w.Kind], ids[k])
				sums[i] += n
			}
		})
	}
	all.Wait()
	sum := uint64(0)
	for i := range readers {
		if faults[i] != nil {
			return 0, fmt.Errorf("read an entity: %w", faults[i])
		}
		sum += sums[i]
	}
	return sum, nil
}

func (m *member) read(ctx context.Context, k *kind, id entity.ID) (uint64, error) {
	var body [tagSize]byte
	reply, err := k.get.Ask(ctx, m.node, id, body[:])
	if err != nil {
		return 0, err
	}
	return counted(reply, 0)
}
