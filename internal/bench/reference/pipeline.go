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

// A pipeline is durable replication and nothing else: a primary with two replicas, each a process with a store of its own. A
// record is confirmed when the primary and one replica hold it durably. There is no epoch, no check, no entity: it is the
// limit of any system built this way, with the callers in the primary's process.
//
// The loop goroutine owns the store; mu guards what callers, loop and receivers of acknowledgements share.
type pipeline struct {
	store    store
	replicas []*replicaLink
	wake     chan struct{}
	broken   chan struct{} // closed when a stream or the store failed
	mu       struct {
		sync.Mutex
		queue   []*record // not yet written
		waiting []*record // written, not yet confirmed, in order
		first   uint64    // the number of waiting[0]
		last    uint64    // the number of the newest record written
		own     uint64    // durable here
		err     error
	}
}

// record is one event on its way; a caller uses its own again and again.
type record struct {
	body [eventSize]byte
	done chan struct{}
}

// replicaLink is the primary's side of one replica.
type replicaLink struct {
	process *load.Process
	stream  grpc.ClientStream
	frames  chan []byte
	acked   uint64 // guarded by the pipeline's mu
}

func newPipeline(dir, form string) (reference, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	own, err := openStore(dir, form)
	if err != nil {
		return nil, err
	}
	p := &pipeline{store: own, wake: make(chan struct{}, 1), broken: make(chan struct{})}
	p.mu.first = 1
	for i := range 2 {
		link := &replicaLink{frames: make(chan []byte, 1024)}
		if link.process, err = start(dir, "replica", fmt.Sprintf("replica%d", i+1), form); err != nil {
			return nil, err
		}
		var addr string
		if err := link.process.Do(load.Request{Do: "addr"}, &addr); err != nil {
			return nil, err
		}
		if link.stream, err = stream(addr); err != nil {
			return nil, err
		}
		p.replicas = append(p.replicas, link)
		go p.send(link)
		go p.receive(link)
	}
	go p.loop()
	return p, nil
}

func (p *pipeline) close() {
	for _, r := range p.replicas {
		r.process.Kill()
	}
}

// fail ends the pipeline: no run after it is sound.
func (p *pipeline) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.err == nil {
		p.mu.err = err
		close(p.broken)
	}
}

func (p *pipeline) run(r load.Request) (*load.Sample, error) {
	records := make([]*record, r.Loop.Callers)
	for i := range records {
		records[i] = &record{done: make(chan struct{}, 1)}
	}
	before, err := p.flushes()
	if err != nil {
		return nil, err
	}
	s := r.Loop.Run(context.Background(), func(_ context.Context, caller, n int) error { return p.append(records[caller]) })
	after, err := p.flushes()
	s.Counts["flushes"] = after - before
	return s, err
}

// flushes counts those of all three processes.
func (p *pipeline) flushes() (int64, error) {
	all := p.store.flushes()
	for _, r := range p.replicas {
		var n int64
		if err := r.process.Do(load.Request{Do: "flushes"}, &n); err != nil {
			return 0, err
		}
		all += n
	}
	return all, nil
}

// append makes the record durable on two of three and returns then.
func (p *pipeline) append(r *record) error {
	p.mu.Lock()
	p.mu.queue = append(p.mu.queue, r)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	select {
	case <-r.done:
		return nil
	case <-p.broken:
		return errors.New("the pipeline broke")
	}
}

const maxBatch = 4096 // records of one commit and one frame

// loop writes what gathered during the previous commit. Frames leave before the own fsync.
func (p *pipeline) loop() {
	for {
		runtime.Gosched() // whoever the last answers have woken gets into this batch
		batch, first := p.take()
		if batch == nil {
			<-p.wake
			continue
		}
		frame := make([]byte, 8, 8+len(batch)*eventSize)
		binary.BigEndian.PutUint64(frame, first+uint64(len(batch))-1)
		for _, r := range batch {
			frame = append(frame, r.body[:]...)
		}
		for _, r := range p.replicas {
			r.frames <- frame
		}
		if err := p.store.commit(frame[8:]); err != nil {
			p.fail(err)
			return
		}
		p.confirm(func() { p.mu.own = first + uint64(len(batch)) - 1 })
	}
}

func (p *pipeline) take() (batch []*record, first uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.mu.queue), maxBatch)
	if n == 0 {
		return nil, 0
	}
	batch = p.mu.queue[:n:n]
	p.mu.queue = append([]*record(nil), p.mu.queue[n:]...)
	p.mu.waiting = append(p.mu.waiting, batch...)
	first = p.mu.last + 1
	p.mu.last += uint64(n)
	return batch, first
}

func (p *pipeline) send(r *replicaLink) {
	for frame := range r.frames {
		if err := r.stream.SendMsg(&frame); err != nil {
			p.fail(fmt.Errorf("send to a replica: %w", err))
			return
		}
	}
}

func (p *pipeline) receive(r *replicaLink) {
	var ack []byte
	for {
		if err := r.stream.RecvMsg(&ack); err != nil {
			p.fail(fmt.Errorf("receive from a replica: %w", err))
			return
		}
		p.confirm(func() { r.acked = binary.BigEndian.Uint64(ack) })
	}
}

// confirm notes that somebody holds more, and answers every record that two hold, the primary among them.
func (p *pipeline) confirm(note func()) {
	p.mu.Lock()
	note()
	held := min(p.mu.own, max(p.replicas[0].acked, p.replicas[1].acked))
	n := 0
	if held >= p.mu.first {
		n = int(held - p.mu.first + 1)
	}
	done := p.mu.waiting[:n:n]
	p.mu.waiting = p.mu.waiting[n:]
	p.mu.first += uint64(n)
	p.mu.Unlock()
	for _, r := range done {
		r.done <- struct{}{}
	}
}
