package main

import (
	"slices"
	"sync"
	"time"
)

// A service watches one shard from outside: the longest time in which somebody waited for an answer and none came.
// Safe for concurrent use.
type service struct {
	mu struct {
		sync.Mutex
		waiting int
		since   time.Time // of the last answer, or of the first question after it
		longest time.Duration
	}
}

func (s *service) asked(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.waiting == 0 {
		s.mu.since = now
	}
	s.mu.waiting++
}

func (s *service) answered(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.waiting--
	s.mu.longest = max(s.mu.longest, now.Sub(s.mu.since))
	s.mu.since = now
}

func (s *service) gap() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.longest
}

// quantile of durations, 0 of none; sorts them.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))]
}
