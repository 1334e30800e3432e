package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"

	"google.golang.org/grpc"

	"muster/internal/load"
)

// runReplica is the process of a replica: it makes what the primary sends durable, several frames with one fsync, and
// acknowledges up to where.
func runReplica(dir string, args []string) error {
	s, err := openStore(dir, args[0])
	if err != nil {
		return err
	}
	r := &replica{store: s, wake: make(chan struct{}, 1)}
	addr, err := listen(&endpoint{stream: r.serve})
	if err != nil {
		return err
	}
	return load.Serve(func(q load.Request) (any, error) {
		switch q.Do {
		case "addr":
			return addr, nil
		case "flushes":
			return s.flushes(), nil
		}
		return nil, fmt.Errorf("nothing is called %q", q.Do)
	})
}

type replica struct {
	store store
	wake  chan struct{}
	mu    struct {
		sync.Mutex
		frames [][]byte
	}
}

func (r *replica) serve(s grpc.ServerStream) error {
	go r.commit(s)
	for {
		var frame []byte
		if err := s.RecvMsg(&frame); err != nil {
			return err
		}
		r.mu.Lock()
		r.mu.frames = append(r.mu.frames, frame)
		r.mu.Unlock()
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// commit makes durable what gathered during the previous commit, and acknowledges it.
func (r *replica) commit(s grpc.ServerStream) {
	var all []byte
	for range r.wake {
		runtime.Gosched()
		r.mu.Lock()
		frames := r.mu.frames
		r.mu.frames = nil
		r.mu.Unlock()
		if len(frames) == 0 {
			continue
		}
		all = all[:0]
		for _, f := range frames {
			all = append(all, f[8:]...)
		}
		if err := r.store.commit(all); err != nil {
			fmt.Fprintln(os.Stderr, "commit:", err)
			os.Exit(1)
		}
		ack := append([]byte(nil), frames[len(frames)-1][:8]...)
		if s.SendMsg(&ack) != nil {
			return
		}
	}
}
