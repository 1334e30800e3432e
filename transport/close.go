package transport

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// stops is what ends a port, step by step.
type stops struct {
	drain     chan struct{} // closed first: streams should end
	drainer   sync.Once
	drained   chan struct{} // closed when no call runs any more, or the bound was reached
	closing   chan struct{} // closed when the listener goes away
	closer    sync.Once
	closed    chan struct{} // closed when nothing of the port is left
	served    chan struct{} // closed when the accept loop has ended, if there was one
	abandoned chan struct{} // closed when a handler is left behind that does not return
	greeters  sync.WaitGroup
	mu        struct {
		sync.Mutex
		serving bool
		closed  bool // Serve comes too late
	}
}

func (s *stops) init() {
	s.drain, s.drained, s.served = make(chan struct{}), make(chan struct{}), make(chan struct{})
	s.closing, s.closed, s.abandoned = make(chan struct{}), make(chan struct{}), make(chan struct{})
}

// serve reports whether the accept loop may start; close whether it did.
func (s *stops) serve() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.serving = !s.mu.closed
	return s.mu.serving
}

func (s *stops) close() (serving bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
	return s.mu.serving
}

func (p *Port) isClosing() bool {
	select {
	case <-p.stops.closing:
		return true
	default:
		return false
	}
}

// Draining is closed when the port begins to drain. A handler of a long stream ends when it sees it.
func (p *Port) Draining() <-chan struct{} { return p.stops.drain }

// Drain ends the serving of calls: it closes Draining, refuses new calls, waits for those that run until ctx ends or
// Limits.Drain has passed, and cuts the rest. Raft's streams and calls to other nodes go on. Later calls wait for the first.
func (p *Port) Drain(ctx context.Context) error {
	p.stops.drainer.Do(func() {
		close(p.stops.drain)
		graceful := make(chan struct{})
		go func() {
			p.server.GracefulStop()
			close(graceful)
		}()
		timer := time.NewTimer(p.limits.Drain)
		defer timer.Stop()
		select {
		case <-graceful:
		case <-ctx.Done():
			p.stopCalls(graceful)
		case <-timer.C:
			p.stopCalls(graceful)
		}
		close(p.stops.drained)
	})
	select {
	case <-p.stops.drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain %s: %w", p.node, ctx.Err())
	}
}

// stopCalls cuts what did not end by itself. A handler that ignores its context would hold Stop for ever, as it waits for
// handlers: it gets a second and is then left behind.
func (p *Port) stopCalls(graceful <-chan struct{}) {
	stopped := make(chan struct{})
	go func() {
		p.server.Stop()
		<-graceful
		close(stopped)
	}()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-stopped:
	case <-timer.C:
		p.log.Error("a call handler did not return after its context ended")
		close(p.stops.abandoned)
	}
}

// Close drains the port, then closes the listener, Raft's streams and every connection, and waits for the port's goroutines.
// It is safe to call more than once and before Serve.
func (p *Port) Close(ctx context.Context) error {
	err := p.Drain(ctx)
	p.stops.closer.Do(func() {
		close(p.stops.closing)
		serving := p.stops.close()
		p.listener.Close()
		p.raft.Close()
		p.calls.Close()
		p.census.closeAll()
		p.peers.close()
		if serving {
			<-p.stops.served
		}
		p.stops.greeters.Wait()
		close(p.stops.closed)
	})
	select {
	case <-p.stops.closed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("close port of %s: %w", p.node, ctx.Err())
	}
}
