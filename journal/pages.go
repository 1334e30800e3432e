package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"syscall"
)

// What bbolt 1.5 (file format 2) puts into a page. Read here without trust, because bbolt follows it blindly: an offset beyond the
// end of the file kills the process. The layout is bbolt's internal/common.
const (
	pageSize    = 4096
	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = ^uint64(0)

	flagBranch = 0x01
	flagLeaf   = 0x02
	flagBucket = 0x01 // of a leaf's element: the value is a bucket

	pageHeader   = 16
	elementSize  = 16
	bucketHeader = 16
	maxDepth     = 32
)

var order = binary.NativeEndian

// meta is the root of one committed state of the file.
type meta struct {
	root, freelist, high, txid uint64
}

// checker walks the pages of one committed state.
type checker struct {
	data []byte // the file; nothing here is written to
	high uint64 // pages from here on do not exist
	seen []bool
}

// checkPages reports whether every page that bbolt can reach is inside the file and makes sense. It returns an error
// that wraps ErrWrongFile for a file that is no journal at all.
func checkPages(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	m, err := newestMeta(f, info.Size())
	if err != nil {
		return err
	}
	if need := int64(m.high) * pageSize; info.Size() < need {
		return fmt.Errorf("it has %d bytes and should have at least %d: it was cut off", info.Size(), need)
	}
	if m.freelist != noFreelist {
		return fmt.Errorf("%w: a bbolt file of another program", ErrWrongFile)
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, int(m.high)*pageSize, syscall.PROT_READ, syscall.MAP_SHARED|mapWhole)
	if err != nil {
		return fmt.Errorf("map: %w", err)
	}
	defer syscall.Munmap(data)
	c := &checker{data: data, high: m.high, seen: make([]bool, m.high)}
	_, err = c.page(m.root, span{}, 0)
	return err
}

// newestMeta returns the younger of the two roots. bbolt goes on with the older one when the younger is rotten, or was written over with
// the older, and so forgets a commit that was acknowledged; here both must be whole, and neither the other one: commits write them by turns.
// A root of which the name alone, or the commit alone, is the other's is no copy of it: no checksum covers the name, and a copy that bbolt
// made of a file that is in use has its newest root first.
func newestMeta(f *os.File, size int64) (meta, error) {
	if size == 0 {
		return meta{}, fmt.Errorf("it is empty: it was cut off")
	}
	var page [pageSize]byte
	var newest meta
	var broken []error
	for i := range int64(2) {
		if _, err := f.ReadAt(page[:], i*pageSize); err != nil && err != io.EOF {
			return meta{}, err
		}
		m, err := parseMeta(page[:])
		if own := order.Uint64(page[:]); err == nil && own != uint64(i) && m.txid%2 != uint64(i) {
			err = fmt.Errorf("root %d calls itself %d and is of commit %d", i, own, m.txid)
		}
		if err != nil {
			broken = append(broken, err)
		}
		if err == nil && (newest.high == 0 || m.txid > newest.txid) {
			newest = m
		}
		clear(page[:])
	}
	switch len(broken) {
	case 0:
		return newest, nil
	case 1:
		return meta{}, fmt.Errorf("one of its two roots is rotten (%w), so its newest commit may be missing", broken[0])
	default:
		return meta{}, fmt.Errorf("%w: no bbolt file, or both its roots are rotten (%w)", ErrWrongFile, broken[0])
	}
}

func parseMeta(page []byte) (meta, error) {
	b := page[pageHeader:]
	sum := fnv.New64a()
	sum.Write(b[:56])
	switch {
	case order.Uint32(b) != boltMagic:
		return meta{}, fmt.Errorf("wrong magic number")
	case order.Uint32(b[4:]) != boltVersion || order.Uint32(b[8:]) != pageSize:
		return meta{}, fmt.Errorf("version %d with pages of %d bytes", order.Uint32(b[4:]), order.Uint32(b[8:]))
	case order.Uint64(b[56:]) != sum.Sum64():
		return meta{}, fmt.Errorf("wrong checksum")
	}
	m := meta{root: order.Uint64(b[16:]), freelist: order.Uint64(b[32:]), high: order.Uint64(b[40:]), txid: order.Uint64(b[48:])}
	return m, nil
}

// page checks a page and all below it. Its keys must lie in keys; it returns its last one.
func (c *checker) page(id uint64, keys span, depth int) ([]byte, error) {
	b, err := c.load(id, depth)
	if err != nil {
		return nil, err
	}
	last, err := c.elements(b, keys, depth)
	if err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return last, nil
}

// load returns a page with its overflow and claims it, so that no page is met twice.
func (c *checker) load(id uint64, depth int) ([]byte, error) {
	if id < 2 || id >= c.high || depth > maxDepth {
		return nil, fmt.Errorf("a page refers to page %d of %d, %d deep", id, c.high, depth)
	}
	head := c.data[id*pageSize:]
	more := uint64(order.Uint32(head[12:]))
	if order.Uint64(head) != id || more >= c.high-id {
		return nil, fmt.Errorf("page %d calls itself %d with %d more", id, order.Uint64(head), more)
	}
	for i := id; i <= id+more; i++ {
		if c.seen[i] {
			return nil, fmt.Errorf("page %d is referred to twice", i)
		}
		c.seen[i] = true
	}
	return head[:(more+1)*pageSize], nil
}

// span is where keys may lie: from low on, below high. nil is no bound.
type span struct{ low, high []byte }

func (s span) holds(key []byte, first bool) bool {
	low := bytes.Compare(key, s.low)
	return (low > 0 || (low == 0 && first)) && (s.high == nil || bytes.Compare(key, s.high) < 0)
}

func (c *checker) elements(b []byte, keys span, depth int) ([]byte, error) {
	flags, count := order.Uint16(b[8:]), int(order.Uint16(b[10:]))
	if flags != flagBranch && flags != flagLeaf {
		return nil, fmt.Errorf("it is of no known kind (%#x)", flags)
	}
	if pageHeader+count*elementSize > len(b) || (flags == flagBranch && count == 0) {
		return nil, fmt.Errorf("it claims %d elements", count)
	}
	for i := range count {
		at := pageHeader + i*elementSize
		key, value, err := element(b, at, flags)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		if !keys.holds(key, i == 0) {
			return nil, fmt.Errorf("element %d: its key is out of order", i)
		}
		keys.low = key
		switch {
		case flags == flagBranch:
			keys.low, err = c.child(b, i, keys.high, depth+1)
		case order.Uint32(b[at:])&flagBucket != 0:
			err = c.bucket(value, depth+1)
		}
		if err != nil {
			return nil, err
		}
	}
	return keys.low, nil
}

// child checks what element i of a branch refers to: keys from the element's own up to the next one's.
func (c *checker) child(b []byte, i int, high []byte, depth int) ([]byte, error) {
	at := pageHeader + i*elementSize
	low, _, err := element(b, at, flagBranch)
	if err == nil && i+1 < int(order.Uint16(b[10:])) {
		high, _, err = element(b, at+elementSize, flagBranch)
	}
	if err != nil {
		return nil, err
	}
	last, err := c.page(order.Uint64(b[at+8:]), span{low, high}, depth)
	if last == nil {
		last = low
	}
	return last, err
}

// element returns what one element refers to; both parts lie inside b.
func element(b []byte, at int, flags uint16) (key, value []byte, err error) {
	pos, keySize, valueSize := uint64(order.Uint32(b[at:])), uint64(order.Uint32(b[at+4:])), uint64(0)
	if flags == flagLeaf {
		pos, keySize, valueSize = uint64(order.Uint32(b[at+4:])), uint64(order.Uint32(b[at+8:])), uint64(order.Uint32(b[at+12:]))
	}
	start := uint64(at) + pos
	if start+keySize+valueSize > uint64(len(b)) {
		return nil, nil, fmt.Errorf("it lies outside of its page")
	}
	return b[start : start+keySize], b[start+keySize : start+keySize+valueSize], nil
}

// bucket checks the value of a bucket: a reference to its first page, or, for a small one, the page itself.
func (c *checker) bucket(v []byte, depth int) error {
	if len(v) < bucketHeader {
		return fmt.Errorf("a bucket of %d bytes", len(v))
	}
	if root := order.Uint64(v); root != 0 {
		_, err := c.page(root, span{}, depth)
		return err
	}
	if len(v) < bucketHeader+pageHeader || order.Uint16(v[bucketHeader+8:]) != flagLeaf {
		return fmt.Errorf("a small bucket without its page")
	}
	_, err := c.elements(v[bucketHeader:], span{}, depth)
	return err
}
