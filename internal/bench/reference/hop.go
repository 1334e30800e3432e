package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"google.golang.org/grpc"

	"muster/internal/load"
)

// hop is asking over a bare gRPC stream: envelopes gather in frames while the previous one is sent, cross to another process,
// go through the mailbox of one of its goroutines, and replies gather in frames on their way back. Both sides yield once
// before they flush, which lets more gather and costs nothing when idle. It is the limit of asks between processes.
type hop struct {
	server  *load.Process
	conn    *grpc.ClientConn
	unary   bool
	out     *gatherer
	callers []chan []byte // where each caller waits for its reply
	broken  chan struct{}
}

const (
	slotSize  = 8
	replySize = 16
)

func newHop(dir string) (reference, error) { return openHop(dir, false) }

func newUnary(dir string) (reference, error) { return openHop(dir, true) }

func openHop(dir string, unary bool) (reference, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	h := &hop{unary: unary, broken: make(chan struct{})}
	var err error
	if h.server, err = start(dir, "mailboxes", "mailboxes"); err != nil {
		return nil, err
	}
	var addr string
	if err := h.server.Do(load.Request{Do: "addr"}, &addr); err != nil {
		return nil, err
	}
	if unary {
		h.conn, err = dial(addr)
		return h, err
	}
	s, err := stream(addr)
	if err != nil {
		return nil, err
	}
	h.out = newGatherer(func(frame []byte) error { return s.SendMsg(&frame) })
	for range 8192 {
		h.callers = append(h.callers, make(chan []byte, 1))
	}
	go h.receive(s)
	return h, nil
}

func (h *hop) close() { h.server.Kill() }

func (h *hop) receive(s grpc.ClientStream) {
	defer close(h.broken)
	for {
		var frame []byte
		if err := s.RecvMsg(&frame); err != nil {
			fmt.Fprintln(os.Stderr, "receive replies:", err)
			return
		}
		for ; len(frame) >= slotSize+replySize; frame = frame[slotSize+replySize:] {
			h.callers[binary.BigEndian.Uint64(frame)] <- frame[slotSize : slotSize+replySize]
		}
	}
}

func (h *hop) run(r load.Request) (*load.Sample, error) {
	if r.Loop.Callers > len(h.callers) && !h.unary {
		return nil, fmt.Errorf("%d callers are too many", r.Loop.Callers)
	}
	bodies := make([][envelopeSize]byte, r.Loop.Callers)
	return r.Loop.Run(context.Background(), func(ctx context.Context, caller, n int) error {
		tag := uint64(caller)<<40 | uint64(n)
		binary.BigEndian.PutUint64(bodies[caller][:], tag)
		reply, err := h.ask(ctx, caller, bodies[caller][:])
		if err == nil && (len(reply) != replySize || binary.BigEndian.Uint64(reply) != tag) {
			err = errors.New("a wrong reply")
		}
		return err
	}), nil
}

func (h *hop) ask(ctx context.Context, caller int, body []byte) (reply []byte, err error) {
	if h.unary {
		err = h.conn.Invoke(ctx, "/reference/unary", &body, &reply)
		return reply, err
	}
	h.out.put(func(frame []byte) []byte {
		return append(binary.BigEndian.AppendUint64(frame, uint64(caller)), body...)
	})
	select {
	case reply = <-h.callers[caller]:
		return reply, nil
	case <-h.broken:
		return nil, errors.New("the stream broke")
	}
}

// A gatherer sends what gathers as frames, on one goroutine.
type gatherer struct {
	wake chan struct{}
	mu   struct {
		sync.Mutex
		frame []byte
	}
}

func newGatherer(send func(frame []byte) error) *gatherer {
	g := &gatherer{wake: make(chan struct{}, 1)}
	go func() {
		for range g.wake {
			runtime.Gosched() // who else was woken gets into this frame
			g.mu.Lock()
			frame := g.mu.frame
			g.mu.frame = nil
			g.mu.Unlock()
			if len(frame) > 0 && send(frame) != nil {
				return
			}
		}
	}()
	return g
}

// put appends to the frame that leaves next.
func (g *gatherer) put(add func(frame []byte) []byte) {
	g.mu.Lock()
	g.mu.frame = add(g.mu.frame)
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
}
