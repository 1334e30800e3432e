package main

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc"

	"muster/internal/load"
)

// mailboxes are goroutines that each answer what comes into their channel, one at a time: entities without anything that
// makes them entities.
type mailboxes struct {
	doors    []chan letter
	received atomic.Int64 // envelopes that came one way
}

// letter is one envelope on its way through a mailbox.
type letter struct {
	slot  uint64
	body  []byte
	out   *gatherer   // where the reply goes,
	reply chan []byte // or, for a unary call, here
}

const doors = 1024

// runMailboxes is the process that answers. With the argument "count" it takes frames one way and counts what is in them.
func runMailboxes(_ string, args []string) error {
	m := &mailboxes{}
	for range doors {
		door := make(chan letter, 1024)
		m.doors = append(m.doors, door)
		go m.answer(door)
	}
	e := &endpoint{stream: m.serve, unary: m.unary}
	if len(args) > 0 {
		e.stream = m.count
	}
	addr, err := listen(e)
	if err != nil {
		return err
	}
	return load.Serve(func(q load.Request) (any, error) {
		switch q.Do {
		case "addr":
			return addr, nil
		case "received":
			return m.received.Load(), nil
		}
		return nil, fmt.Errorf("nothing is called %q", q.Do)
	})
}

func (m *mailboxes) answer(door <-chan letter) {
	count := uint64(0)
	for l := range door {
		count++
		if l.out == nil {
			l.reply <- binary.BigEndian.AppendUint64(append(make([]byte, 0, replySize), l.body[:8]...), count)
			continue
		}
		l.out.put(func(frame []byte) []byte {
			frame = append(binary.BigEndian.AppendUint64(frame, l.slot), l.body[:8]...)
			return binary.BigEndian.AppendUint64(frame, count)
		})
	}
}

// door is where an envelope goes: callers and their successive envelopes are spread over all.
func (m *mailboxes) door(body []byte) chan<- letter {
	tag := binary.BigEndian.Uint64(body)
	return m.doors[(tag>>40*7919+tag&(1<<40-1)*104_729)%doors]
}

func (m *mailboxes) serve(s grpc.ServerStream) error {
	out := newGatherer(func(frame []byte) error { return s.SendMsg(&frame) })
	for {
		var frame []byte
		if err := s.RecvMsg(&frame); err != nil {
			return err
		}
		for ; len(frame) >= slotSize+envelopeSize; frame = frame[slotSize+envelopeSize:] {
			body := frame[slotSize : slotSize+envelopeSize]
			m.door(body) <- letter{slot: binary.BigEndian.Uint64(frame), body: body, out: out}
		}
	}
}

func (m *mailboxes) unary(body []byte) []byte {
	reply := make(chan []byte, 1)
	m.door(body) <- letter{body: body, reply: reply}
	return <-reply
}

func (m *mailboxes) count(s grpc.ServerStream) error {
	next := uint64(0)
	for {
		var frame []byte
		if err := s.RecvMsg(&frame); err != nil {
			return err
		}
		for ; len(frame) >= slotSize+envelopeSize; frame = frame[slotSize+envelopeSize:] {
			n := binary.BigEndian.Uint64(frame)
			if n != next {
				return fmt.Errorf("envelope %d came where %d is due", n, next)
			}
			next++
		}
		m.received.Store(int64(next))
	}
}
