package region

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// fields reads the fields of a protobuf message one after the other, without a copy and without an object for each. After
// the last, or the first that is broken, next is false and err says which.
type fields struct {
	b      []byte
	long   uint16           // a bit for each field that is a string, bytes or a message
	number protowire.Number // 0 for a field that the schema does not have, or has as another kind
	value  uint64           // of a varint, else 0
	bytes  []byte           // of a string, bytes or message; nil otherwise; aliases b
	err    error
}

func (f *fields) next() bool {
	if len(f.b) == 0 || f.err != nil {
		return false
	}
	if len(f.b) > 1 && f.b[0] < 1<<7 && f.b[1] < 1<<7 && f.short() {
		return true
	}
	number, kind, n := protowire.ConsumeTag(f.b)
	if n < 0 {
		return f.broken(n)
	}
	f.number, f.value, f.bytes = number, 0, nil
	f.b = f.b[n:]
	switch long := number < 16 && f.long>>number&1 == 1; {
	case kind == protowire.BytesType && long:
		f.bytes, n = protowire.ConsumeBytes(f.b)
	case kind == protowire.VarintType && !long:
		f.value, n = protowire.ConsumeVarint(f.b)
	default:
		f.number, n = 0, protowire.ConsumeFieldValue(number, kind, f.b)
	}
	if n < 0 {
		return f.broken(n)
	}
	f.b = f.b[n:]
	return true
}

// short reads a field whose tag, and whose value or length, take a byte each, as most do; false leaves it to next.
func (f *fields) short() bool {
	number, value := f.b[0]>>3, f.b[1]
	kind, long := protowire.Type(f.b[0]&7), f.long>>number&1 == 1
	switch end := 2 + int(value); {
	case number == 0:
		return false
	case kind == protowire.VarintType && !long:
		f.value, f.bytes, f.b = uint64(value), nil, f.b[2:]
	case kind == protowire.BytesType && long && end <= len(f.b):
		f.value, f.bytes, f.b = 0, f.b[2:end:end], f.b[end:]
	default:
		return false
	}
	f.number = protowire.Number(number)
	return true
}

func (f *fields) broken(n int) bool {
	f.err = protowire.ParseError(n)
	return false
}

// The tags of the fields up to 15 are one byte long, and so are all that these messages have.
const tagSize = 1

func sizeOfVarint(v uint64) int {
	if v == 0 {
		return 0 // as in proto3, what is zero is left out
	}
	return tagSize + protowire.SizeVarint(v)
}

func sizeOfBytes(n int) int {
	if n == 0 {
		return 0
	}
	return sizeOfMessage(n)
}

// sizeOfMessage is the size of a field that is there even when it is empty.
func sizeOfMessage(n int) int { return tagSize + protowire.SizeBytes(n) }

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendBytes[T ~string | ~[]byte](b []byte, field protowire.Number, v T) []byte {
	if len(v) == 0 {
		return b
	}
	return append(appendLength(b, field, len(v)), v...)
}

// appendLength begins a field of n bytes.
func appendLength(b []byte, field protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.BytesType), uint64(n))
}

// names keeps the few strings that every message repeats in one field, so that each is made once. Owned by one stream's reader.
type names struct {
	last string
	all  map[string]string
}

const maxNames = 1024

func (n *names) of(b []byte) string {
	if string(b) != n.last {
		n.last = n.find(b)
	}
	return n.last
}

func (n *names) find(b []byte) string {
	if s, ok := n.all[string(b)]; ok {
		return s
	}
	s := string(b)
	if n.all == nil {
		n.all = map[string]string{}
	}
	if len(n.all) < maxNames {
		n.all[s] = s
	}
	return s
}
