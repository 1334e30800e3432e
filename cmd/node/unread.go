package main

import (
	"context"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errUnread ends a verb whose output nobody reads any more. It is said to nobody.
var errUnread = errors.New("nobody reads the output any more")

// output is the process's standard output.
type output struct{ *os.File }

// Write fails with errUnread where SIGPIPE, which ends a process that does not ignore it, would have ended this one.
func (o output) Write(p []byte) (int, error) {
	n, err := o.File.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		err = errUnread
	}
	return n, err
}

// whileRead is ctx until nobody reads the output any more: a verb that prints now and then would find out at its next line alone.
// The cause is errUnread then. What it returns ends that.
func (t *terminal) whileRead(ctx context.Context) (context.Context, func()) {
	out, isFile := t.out.(output)
	if !isFile {
		return ctx, func() {}
	}
	ended, end, err := os.Pipe()
	if err != nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	looking := make(chan struct{})
	go func() {
		defer close(looking)
		if hungUp(out.File, ended) {
			cancel(errUnread)
		}
	}()
	return ctx, func() {
		end.Close()
		<-looking
		ended.Close()
		cancel(nil)
	}
}

// hungUp waits until the other side of the file is gone, and is false when the other side of ended is before.
func hungUp(file, ended *os.File) bool {
	const gone = unix.POLLERR | unix.POLLHUP // poll tells of these unasked
	both := []unix.PollFd{{Fd: int32(file.Fd())}, {Fd: int32(ended.Fd())}}
	for {
		_, err := unix.Poll(both, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil, both[1].Revents != 0:
			return false
		}
		return both[0].Revents&gone != 0
	}
}
