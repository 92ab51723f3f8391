package protocol

// quick is a message that comes too often for reflection: a device sends a Batch of Blocks every few
// minutes, and gets an Ack for each. Its quick reads what a Marshal writes, every field in order, without
// allocating more than the records; for bytes of any other form it returns false, and the general decoder
// has the word. Whatever quick accepts, the general decoder accepts with the same values (FuzzQuick).
//
// Byte strings and bodies share the bytes that were given.
type quick interface {
	Message
	quick(b []byte) bool
	reset() // undoes what a quick that failed has filled in
}

func (b *Batch) reset() { *b = Batch{} }
func (b *Block) reset() { *b = Block{} }
func (a *Ack) reset()   { *a = Ack{} }

func (b *Batch) quick(in []byte) bool {
	r := reader{b: in}
	r.open(mapOf, 7)
	b.Version, b.Epoch, b.First, b.Boot = r.uint(0), r.uint(1), r.uint(2), r.uint(3)
	b.SentMono, b.SentWall = r.int(4), r.int(5)
	r.key(6)
	n := r.length(arrayOf, MaxRecords)
	if r.bad || n == 0 {
		return false
	}
	if cap(b.Records) < n {
		b.Records = make([]Record, n)
	}
	b.Records = b.Records[:n]
	for i := range b.Records {
		rec := &b.Records[i]
		r.open(mapOf, 6)
		kind := r.uint(0)
		rec.Kind, rec.Boot, rec.Mono, rec.Wall, rec.Span = Kind(kind), r.uint(1), r.int(2), r.int(3), r.uint(4)
		r.key(5)
		body := r.b
		if r.skip(MaxDepth - 3); r.bad || kind > uint64(KindGap) {
			return false
		}
		n := len(body) - len(r.b)
		rec.Body = body[:n:n]
	}
	return r.end()
}

func (b *Block) quick(in []byte) bool {
	r := reader{b: in}
	r.open(mapOf, 7)
	b.Version = r.uint(0)
	codec := r.uint(1)
	b.Codec, b.Schema, b.Rows = uint8(codec), r.uint(2), r.uint(3)
	b.Mono, b.Wall = r.int(4), r.int(5)
	r.key(6)
	n := r.length(byteString, MaxMessage)
	b.Data = r.take(uint64(n))
	return r.end() && codec == CodecColumns
}

func (a *Ack) quick(in []byte) bool {
	r := reader{b: in}
	r.open(mapOf, 4)
	a.Version = r.uint(0)
	lane := r.uint(1)
	a.Lane, a.Epoch, a.Committed = Lane(lane), r.uint(2), r.uint(3)
	return r.end() && lane <= uint64(LaneTelemetry)
}

// Major types (RFC 8949, section 3.1).
const (
	unsigned   = 0
	negative   = 1
	byteString = 2
	textString = 3
	arrayOf    = 4
	mapOf      = 5
	simple     = 7
)

// reader takes CBOR apart from the front of b. After the first fault it is bad and returns zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

// end says whether everything was read, and was good.
func (r *reader) end() bool { return !r.bad && len(r.b) == 0 }

// head reads the head of a data item: its major type and its argument.
func (r *reader) head() (major byte, n uint64) {
	if len(r.b) == 0 {
		r.fail()
		return simple, 0
	}
	first := r.b[0]
	n = uint64(first & 31)
	if n < 24 {
		r.b = r.b[1:]
		return first >> 5, n
	}
	more := 1 << (n - 24) // bytes of the argument; 28 and up are reserved or indefinite
	if n > 27 || len(r.b) <= more {
		r.fail()
		return simple, 0
	}
	n = 0
	for _, c := range r.b[1 : 1+more] {
		n = n<<8 | uint64(c)
	}
	r.b = r.b[1+more:]
	return first >> 5, n
}

func (r *reader) key(k byte) {
	if len(r.b) == 0 || r.b[0] != k {
		r.fail()
		return
	}
	r.b = r.b[1:]
}

// uint reads a key and its unsigned value.
func (r *reader) uint(key byte) uint64 {
	r.key(key)
	major, n := r.head()
	if major != unsigned {
		r.fail()
		return 0
	}
	return n
}

// int reads a key and its signed value.
func (r *reader) int(key byte) int64 {
	r.key(key)
	major, n := r.head()
	if major > negative || n >= 1<<63 {
		r.fail()
		return 0
	}
	return int64(n) ^ -int64(major)
}

// open reads the head of a map or array of n items.
func (r *reader) open(major byte, n int) {
	if r.length(major, n) != n {
		r.fail()
	}
}

// length reads the head of an item of this major type, of at most the given length.
func (r *reader) length(want byte, most int) int {
	major, n := r.head()
	if major != want || n > uint64(most) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// skip passes one well-formed data item with at most so many levels of arrays and maps. It is stricter than
// the general decoder about what no body of ours holds.
func (r *reader) skip(levels int) {
	if len(r.b) > 0 && r.b[0]>>5 == simple {
		switch r.b[0] & 31 {
		case 20, 21, 22, 25, 26, 27: // false, true, null, floats of three sizes
			r.head()
		default:
			r.fail()
		}
		return
	}
	major, n := r.head()
	switch major {
	case unsigned, negative:
	case byteString, textString:
		r.take(n)
	case arrayOf, mapOf:
		if levels == 0 || n > MaxRecords {
			r.fail()
			return
		}
		if major == mapOf {
			n *= 2
		}
		for ; n > 0 && !r.bad; n-- {
			r.skip(levels - 1)
		}
	default:
		r.fail()
	}
}
