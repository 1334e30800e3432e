package region

import (
	"context"
	"time"

	"google.golang.org/grpc"
)

// A link is one lane to one peer: a long-lived stream that is opened when there is something to send and opened again,
// with growing pauses, when it breaks. One goroutine sends; while a send runs the next frame gathers, and before taking
// it the sender yields so that whoever is ready adds to it. Never a timer.
type link[T any] struct {
	queue   *funnel[T]
	open    func(context.Context) (grpc.ClientStream, error)
	frame   func(items []T) (frame any, rest []T)
	receive func(grpc.ClientStream) error // reads and handles what comes back until the stream breaks
	broken  func(error)                   // no answer will come for what was framed before
}

// run keeps the lane until ctx ends. What is queued then stays there.
func (l *link[T]) run(ctx context.Context) {
	pause := backoffLeast
	for ctx.Err() == nil && l.queue.wait(ctx) == nil { // wait prefers what is queued to the end of ctx
		began := time.Now()
		err := l.stream(ctx)
		l.broken(err)
		if time.Since(began) > backoffMost {
			pause = backoffLeast
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, backoffMost)
	}
}

// stream opens one stream and sends until it breaks.
func (l *link[T]) stream(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	s, err := l.open(ctx)
	if err != nil {
		return err
	}
	received := make(chan struct{})
	go func() {
		defer close(received)
		cancel(l.receive(s))
	}()
	defer func() { <-received }()
	err = l.send(ctx, s)
	cancel(err)
	return context.Cause(ctx)
}

func (l *link[T]) send(ctx context.Context, s grpc.ClientStream) error {
	var spare []T
	for {
		items, err := l.queue.gather(ctx, spare)
		if err != nil {
			return err
		}
		for rest := items; len(rest) > 0; {
			var frame any
			frame, rest = l.frame(rest)
			if err := s.SendMsg(frame); err != nil {
				l.queue.back(rest)
				return err
			}
		}
		clear(items)
		spare = items[:0]
	}
}
