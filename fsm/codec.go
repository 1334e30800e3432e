package fsm

import "github.com/fxamacker/cbor/v2"

// The stored and sent formats are CBOR with integer keys in deterministic order (RFC 8949, core deterministic encoding).
// Reading is strict: unknown and doubled fields, tags, indefinite lengths, invalid UTF-8 and bytes left over are errors,
// because a node that overlooked one would hold another state than its peers. The library checks that every claimed length
// is backed by bytes before it allocates.
var (
	encoding = modeOf(cbor.CoreDetEncOptions().EncMode())
	strict   = modeOf(strictOptions(MaxItems).DecMode())
	// strictWhole reads whole states, which hold more items than any entry.
	strictWhole = modeOf(strictOptions(16 << 20).DecMode())
	null        = []byte{0xf6}
)

func strictOptions(items int) cbor.DecOptions {
	return cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   16,
		MaxArrayElements:  items,
		MaxMapPairs:       64,
	}
}

// modeOf turns options that are wrong, which is a defect any test meets, into a panic at start.
func modeOf[M any](mode M, err error) M {
	if err != nil {
		panic(err)
	}
	return mode
}
