package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"

	"muster/internal/load"
)

// oneWay sends envelopes over a bare gRPC stream to a process that takes them out of their frames and counts them, perFrame in a
// frame, and expects nothing back. Whatever the number of callers, one goroutine puts them into frames and sends.
type oneWay struct {
	server *load.Process
	stream grpc.ClientStream
	next   uint64 // the number of the next envelope
	sent   int64
}

const perFrame = 64

func newOneWay(dir string) (reference, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	server, err := start(dir, "mailboxes", "counter", "count")
	if err != nil {
		return nil, err
	}
	var addr string
	if err := server.Do(load.Request{Do: "addr"}, &addr); err != nil {
		return nil, err
	}
	s, err := stream(addr)
	return &oneWay{server: server, stream: s}, err
}

func (o *oneWay) close() { o.server.Kill() }

// run sends until the time is over, and waits until everything has arrived: what the stream still held counts in time.
func (o *oneWay) run(r load.Request) (*load.Sample, error) {
	r.Loop.Callers = 1
	var body [envelopeSize]byte
	began := time.Now()
	s := r.Loop.Run(context.Background(), func(context.Context, int, int) error {
		frame := make([]byte, 0, perFrame*(slotSize+envelopeSize)) // gRPC keeps it until it is written
		for range perFrame {
			frame = append(binary.BigEndian.AppendUint64(frame, o.next), body[:]...)
			o.next++
		}
		return o.stream.SendMsg(&frame)
	})
	s.Ops, s.Late = (s.Ops+s.Late)*perFrame, 0
	o.sent += int64(s.Ops)
	for received := int64(-1); received != o.sent; {
		if err := o.server.Do(load.Request{Do: "received"}, &received); err != nil {
			return nil, err
		}
		if time.Since(began) > r.Loop.For+10*time.Second {
			return nil, fmt.Errorf("%d were sent, %d arrived", o.sent, received)
		}
	}
	s.Seconds = time.Since(began).Seconds()
	return s, nil
}
