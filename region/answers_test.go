package region

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"muster/shard"
	"muster/transport/wire"
)

// An answerWire is a Deliver stream whose peer sends an empty frame for each that is put into frames, and takes what it is sent when it may.
type answerWire struct {
	wire.Peer_DeliverServer
	frames chan struct{}
	reads  chan struct{} // the reader waits for a frame
	takes  chan struct{}
}

func (s *answerWire) RecvMsg(m any) error {
	s.reads <- struct{}{}
	<-s.frames
	return m.(*incomingCalls).Read(nil)
}

func (s *answerWire) SendMsg(any) error {
	<-s.takes
	return nil
}

// A peer that has left too many bytes of answers unread is read from again once it has taken them, though nothing else happens.
func TestReadsOnWhenAnswersAreTaken(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := &answers{queue: newFunnel[answer](), read: make(chan struct{}, 1)}
	for i := range 80 {
		a.answer(uint64(i), make([]byte, 1<<20), nil)
	}
	s := &answerWire{frames: make(chan struct{}, 1), reads: make(chan struct{}, 1), takes: make(chan struct{})}
	go (&server{}).receive(ctx, s, a)
	<-s.reads
	s.frames <- struct{}{} // one more comes while they wait
	go a.send(ctx, s)
	for patience := time.After(10 * time.Second); ; {
		select {
		case s.takes <- struct{}{}:
		case <-s.reads:
			return
		case <-patience:
			t.Fatalf("not read from again; %d answers, %d bytes wait", a.queue.len(), a.bytes.Load())
		}
	}
}

// A frame of answers is no larger than a frame, whatever the faults in it say.
func TestFaultsCountForTheirFrame(t *testing.T) {
	fault := shard.Errorf(shard.CodeFailed, "%s", strings.Repeat("x", 40<<10))
	a := &answers{queue: newFunnel[answer](), read: make(chan struct{}, 1)}
	for i := range 200 {
		a.answer(uint64(i), nil, fault)
	}
	var f outgoingAnswers
	frames := 0
	for rest := a.queue.take(nil); len(rest) > 0; frames++ {
		rest = f.pack(rest)
		if n := f.Size(); n > maxFrame+len(fault.Detail) {
			t.Fatalf("a frame of %d bytes, the most is %d", n, maxFrame)
		}
		a.bytes.Add(-f.bytes())
	}
	if left := a.bytes.Load(); frames < 2 || left != 0 {
		t.Errorf("%d frames, and %d bytes left", frames, left)
	}
}

// What costs a peer two bytes must not cost this node hundreds.
func TestEmptyEnvelopesAreRefused(t *testing.T) {
	if err := new(incomingCalls).Read(bytes.Repeat([]byte{1<<3 | 2, 0}, 1<<16)); err == nil {
		t.Error("a frame of empty envelopes was taken")
	}
}
