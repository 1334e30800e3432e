package entity

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
)

// A Codec turns commands, replies, events and states into bytes and back. Both methods are given a pointer: *T for a
// value of type T, or the value itself when T is a pointer type, as with protobuf messages. Safe for concurrent use.
//
// What Unmarshal makes must not alias data, whose memory is used again; nor may Unmarshal write to data, which others read: so a type's
// UnmarshalBinary copies what it keeps. Only a fold of Lent's is spared that. What Marshal returns must not alias v, nor be used again: it is
// kept and read after the handler has returned, replies for as long as a retry may come, while the entity's state goes on to change.
//
// Every byte a codec wrote has to stay readable: events are read back for as long as the journal keeps them. And what is read back has to be what was
// written, for a fold first runs on the handler's own value and later, wherever the entity is brought back, on the one that is read. With JSON
// that is not so for text that is not UTF-8, for numbers in an any, which come back as float64, and for two fields of one name.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// The codecs that come with the package. JSON is the default.
var (
	// JSON is encoding/json. Fields that are not exported would be lost in the journal, so types that have some and do
	// not marshal themselves are rejected when they are defined.
	JSON Codec = jsonCodec{}
	// Raw passes []byte and string through unchanged.
	Raw Codec = rawCodec{}
	// Lent is Raw for types whose folds keep nothing of an event: when an entity is read back, the fold of a []byte is lent the
	// bytes of the journal's record and no copy of them. They are valid until it returns, and not to be written to.
	Lent Codec = lentCodec{}
	// Binary uses the types' own MarshalBinary and UnmarshalBinary.
	Binary Codec = binaryCodec{}
)

// checker is a Codec that can tell from a type alone that it would fail, or lose something.
type checker interface{ check(t reflect.Type) error }

func checkType(c Codec, t reflect.Type) error {
	if c, ok := c.(checker); ok {
		return c.check(t)
	}
	return nil
}

type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

func (jsonCodec) check(t reflect.Type) error { return checkJSON(t, map[reflect.Type]bool{}) }

func checkJSON(t reflect.Type, seen map[reflect.Type]bool) error {
	if seen[t] || marshalsItself(t) {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Map:
		if k := t.Key(); !marshalsItself(k) && (k.Kind() < reflect.Int || k.Kind() > reflect.Uintptr) && k.Kind() != reflect.String {
			return fmt.Errorf("%s cannot be written as JSON: its keys are neither strings nor integers", t)
		}
		return checkJSON(t.Elem(), seen)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return checkJSON(t.Elem(), seen)
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s cannot be written as JSON", t)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("interface %s cannot be read back from JSON", t)
		}
	case reflect.Struct:
		return checkJSONFields(t, seen)
	}
	return nil
}

func checkJSONFields(t reflect.Type, seen map[reflect.Type]bool) error {
	for f := range t.Fields() {
		switch {
		case f.Tag.Get("json") == "-" || f.Name == "_":
		case !f.IsExported() && !(f.Anonymous && f.Type.Kind() == reflect.Struct): // whose own fields count as this one's
			return fmt.Errorf("field %s of %s is not exported, so JSON would lose it: export it, tag it `json:\"-\"`, or implement json.Marshaler", f.Name, t)
		default:
			if err := checkJSON(f.Type, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

func marshalsItself(t reflect.Type) bool {
	for _, m := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()} {
		if t.Implements(m) || reflect.PointerTo(t).Implements(m) {
			return true
		}
	}
	return false
}

type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) {
	switch v := v.(type) {
	case *[]byte:
		return append([]byte{}, *v...), nil
	case *string:
		return []byte(*v), nil
	}
	return nil, fmt.Errorf("%T is neither []byte nor string", v)
}

func (rawCodec) Unmarshal(data []byte, v any) error {
	switch v := v.(type) {
	case *[]byte:
		*v = append([]byte{}, data...)
	case *string:
		*v = string(data)
	default:
		return fmt.Errorf("%T is neither []byte nor string", v)
	}
	return nil
}

func (rawCodec) check(t reflect.Type) error {
	if t != reflect.TypeFor[[]byte]() && t != reflect.TypeFor[string]() {
		return fmt.Errorf("%s is neither []byte nor string, which is all that Raw and Lent carry", t)
	}
	return nil
}

// lentCodec is what form knows it by.
type lentCodec struct{ rawCodec }

type binaryCodec struct{}

func (binaryCodec) Marshal(v any) ([]byte, error) {
	m, ok := v.(encoding.BinaryMarshaler)
	if !ok {
		return nil, fmt.Errorf("%T has no MarshalBinary", v)
	}
	return m.MarshalBinary()
}

func (binaryCodec) Unmarshal(data []byte, v any) error {
	m, ok := v.(encoding.BinaryUnmarshaler)
	if !ok {
		return fmt.Errorf("%T has no UnmarshalBinary", v)
	}
	return m.UnmarshalBinary(data)
}

func (binaryCodec) check(t reflect.Type) error {
	if t.Kind() != reflect.Pointer {
		t = reflect.PointerTo(t)
	}
	if !t.Implements(reflect.TypeFor[encoding.BinaryMarshaler]()) || !t.Implements(reflect.TypeFor[encoding.BinaryUnmarshaler]()) {
		return fmt.Errorf("%s lacks MarshalBinary or UnmarshalBinary", t)
	}
	return nil
}

// A form encodes and decodes one Go type with one codec.
type form[T any] struct {
	codec Codec
	elem  reflect.Type            // what T points to, nil when T is no pointer
	plain func(T) ([]byte, error) // set where bytes travel as they are: a codec is given a pointer, which costs an allocation
	back  func([]byte) (T, error) // its inverse
	lent  func([]byte) (T, error) // the same without a copy, for whoever may look at data and no more; nil where there is none
}

func formOf[T any](c Codec) (form[T], error) {
	t := reflect.TypeFor[T]()
	f := form[T]{codec: c}
	if c == Raw || c == Lent {
		f.plain, _ = any(plainBytes).(func(T) ([]byte, error))
		f.back, _ = any(plainBytes).(func([]byte) (T, error))
	}
	if c == Lent {
		f.lent, _ = any(sameBytes).(func([]byte) (T, error))
	}
	if t.Kind() == reflect.Pointer {
		f.elem = t.Elem()
	}
	return f, checkType(c, t)
}

func plainBytes(b []byte) ([]byte, error) { return append([]byte{}, b...), nil }

func sameBytes(b []byte) ([]byte, error) { return b, nil }

func (f *form[T]) encode(v T) ([]byte, error) {
	if f.plain != nil {
		return f.plain(v)
	}
	return f.marshal(v)
}

// marshal is apart from encode because its v is on the heap.
func (f *form[T]) marshal(v T) ([]byte, error) {
	if f.elem != nil {
		return f.codec.Marshal(v)
	}
	return f.codec.Marshal(&v)
}

func (f *form[T]) decode(data []byte) (T, error) {
	if f.back != nil {
		return f.back(data)
	}
	return f.unmarshal(data)
}

// lend is decode for who keeps nothing of data.
func (f *form[T]) lend(data []byte) (T, error) {
	if f.lent != nil {
		return f.lent(data)
	}
	return f.decode(data)
}

func (f *form[T]) unmarshal(data []byte) (v T, err error) {
	if f.elem != nil {
		v = reflect.New(f.elem).Interface().(T)
		return v, f.codec.Unmarshal(data, v)
	}
	err = f.codec.Unmarshal(data, &v)
	return v, err
}
