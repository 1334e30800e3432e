package transport_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// Every error survives the trip as a fault in a message, and as a status of a call, encoded both times.
func TestFaultsLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		e := &shard.Error{
			Code:    shard.Code(rapid.StringN(1, 20, 64).Draw(t, "code")),
			Outcome: rapid.SampledFrom([]shard.Outcome{shard.NotApplied, shard.Unknown}).Draw(t, "outcome"),
			Shard:   shard.ID{Type: shard.TypeName(text.Draw(t, "type")), Number: shard.Number(rapid.Uint32().Draw(t, "number"))},
			Epoch:   shard.Epoch(rapid.Uint64().Draw(t, "epoch")),
			Node:    shard.NodeID(text.Draw(t, "node")), Addr: text.Draw(t, "addr"), Detail: text.Draw(t, "detail"),
		}
		b, err := proto.Marshal(transport.FaultOf(fmt.Errorf("on the way: %w", e)))
		if err != nil {
			t.Fatal(err)
		}
		var f wire.Fault
		if err := proto.Unmarshal(b, &f); err != nil {
			t.Fatal(err)
		}
		if got := transport.ErrorOf(&f); *got != *e {
			t.Fatalf("as a message: %+v became %+v", *e, *got)
		}
		if got := transport.Typed(transport.StatusOf(e)); *got != *e {
			t.Fatalf("as a status: %+v became %+v", *e, *got)
		}
	})
}

// Nothing is nothing, and what is not typed never claims that it was not applied unless that is certain.
func TestUntypedErrorsAreUnknown(t *testing.T) {
	if transport.FaultOf(nil) != nil || transport.ErrorOf(nil) != nil || transport.StatusOf(nil) != nil || transport.Typed(nil) != nil {
		t.Error("nil became an error")
	}
	for _, c := range []struct {
		err     error
		code    shard.Code
		outcome shard.Outcome
	}{
		{errors.New("odd"), shard.CodeInternal, shard.Unknown},
		{context.DeadlineExceeded, shard.CodeTimeout, shard.Unknown},
		{fmt.Errorf("ask: %w", context.Canceled), shard.CodeTimeout, shard.Unknown},
		{status.Error(codes.Unavailable, "connection refused"), shard.CodeUnavailable, shard.Unknown},
		{status.Error(codes.DeadlineExceeded, "late"), shard.CodeTimeout, shard.Unknown},
		{status.Error(codes.ResourceExhausted, "too large"), shard.CodeOverloaded, shard.Unknown},
		{status.Error(codes.Unimplemented, "unknown method"), shard.CodeInvalid, shard.NotApplied},
		{status.Error(codes.Aborted, "odd"), shard.CodeInternal, shard.Unknown},
	} {
		got := transport.Typed(c.err)
		if got.Code != c.code || got.Outcome != c.outcome {
			t.Errorf("%v became %s, %s; want %s, %s", c.err, got.Code, got.Outcome, c.code, c.outcome)
		}
	}
	if got := transport.ErrorOf(&wire.Fault{}); got.Code != shard.CodeInternal || got.Outcome != shard.Unknown {
		t.Errorf("a fault without a code became %v", got)
	}
}

// A detail with bytes that are no UTF-8 must not make the whole answer unsendable.
func TestFaultsAreAlwaysSendable(t *testing.T) {
	f := transport.FaultOf(shard.Invalid("entity \xff\xfe"))
	if _, err := proto.Marshal(f); err != nil {
		t.Fatal(err)
	}
	if got := transport.Typed(transport.StatusOf(shard.Invalid("\xff"))); got.Code != shard.CodeInvalid {
		t.Errorf("got %v", got)
	}
}

// A detail that would fill a frame is cut, and says so.
func TestLongDetailsAreCut(t *testing.T) {
	f := transport.FaultOf(shard.Invalid("%s", strings.Repeat("é", 10<<20)))
	if n := len(f.Detail); n > transport.MaxDetail+64 || !strings.Contains(f.Detail, "bytes in all") {
		t.Errorf("a detail of %d bytes", n)
	}
	if _, err := proto.Marshal(f); err != nil { // cut within a letter
		t.Error(err)
	}
}

// A time that is not 0 does not become 0 on the wire, where 0 may mean that there is no end.
func TestMillisKeepsWhatIsShort(t *testing.T) {
	for d, want := range map[time.Duration]int64{0: 0, 1: 1, -1: -1, time.Millisecond: 1, time.Millisecond + 1: 2, -time.Second: -1000} {
		if got := transport.Millis(d); got != want {
			t.Errorf("%s: %d, want %d", d, got, want)
		}
	}
}
