package protocol

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// A block's Data is one bit stream, most significant bit first: two time columns (milliseconds since
// the first row; drift of the wall clock against the monotonic one), then one column per metric.
//
//	column  = form:2 , [ present: 1 bit per row, when form is sparse ] , [ body, when any value is present ]
//	          form   0 same (one value for all rows), 1 dense, 2 sparse (some rows missing), 3 absent (all missing)
//	same    = number
//	body    = order:2 , number , rice:5 , { code }       one code per present row, or one fewer for order 1 and 2
//	          order  0 distance from number (near the mean), 1 distance from the row before, which for the
//	                 first row is number itself, 2 change of that distance
//	code    = Rice code of the zigzagged distance: quotient in unary (ones ended by a zero), then rice bits;
//	          a quotient of 12 or more is twelve ones and a number instead
//	number  = length:6 , that many bits of the zigzagged integer below its leading one bit; length 0 is zero
//
// Rice codes are the best prefix codes for a geometric distribution, which is what distances between
// readings look like (S. W. Golomb 1966; R. F. Rice 1979); the writer tries the orders and takes the shortest.

const (
	formSame   = 0
	formDense  = 1
	formSparse = 2
	formAbsent = 3

	escape  = 12 // ones that announce a number instead of a Rice code
	maxRice = 31

	riceStep = 2 // of every so many distances, one says which parameter is best
)

var (
	errShort   = errors.New("data ends too early")
	errNumber  = errors.New("number out of range")
	errTrailer = errors.New("bytes after the last column")
)

// columnBuf holds one column while it is written or read, with scratch memory for the distances.
type columnBuf struct {
	values  []int64 // missingCell where a row has none
	present []int64
	zigzag  []uint64
}

func (c *columnBuf) grow(rows int) {
	if cap(c.values) < rows {
		c.values = make([]int64, rows)
		c.present = make([]int64, rows)
		c.zigzag = make([]uint64, rows)
	}
	c.values = c.values[:rows]
}

func (c *columnBuf) write(w *bitWriter) {
	// Most columns of a calm device do not move at all: look for that first.
	w.reserve(len(c.values) / 64) // for which rows are present
	first, moved, missing := c.values[0], int64(0), 0
	for _, v := range c.values {
		moved |= v ^ first
		if v == missingCell {
			missing++
		}
	}
	switch {
	case missing == len(c.values):
		w.put(formAbsent, 2)
		return
	case moved == 0:
		w.put(formSame, 2)
		w.number(first)
		return
	case missing == 0:
		w.put(formDense, 2)
		c.body(w, c.values)
		return
	}
	w.put(formSparse, 2)
	p := c.present[:0]
	for _, v := range c.values {
		if v == missingCell {
			w.put(0, 1)
			continue
		}
		w.put(1, 1)
		p = append(p, v)
	}
	c.body(w, p)
}

// body writes the distances in the order that needs the fewest bits.
func (c *columnBuf) body(w *bitWriter, p []int64) {
	var sum int64
	for _, v := range p {
		sum += v - p[0] // metrics cannot overflow: 3600 rows of 52 bits
	}
	mean := p[0] + sum/int64(len(p))
	if mean <= -maxScaled || mean >= maxScaled {
		mean = p[0] // only times can be as far apart as that
	}

	var size [3]int // of the distances of each order, in bits
	last, slope := p[0], int64(0)
	for _, v := range p[1:] {
		d := v - last
		size[0] += bits.Len64(zigzag(v - mean))
		size[1] += bits.Len64(zigzag(d))
		size[2] += bits.Len64(zigzag(d - slope))
		last, slope = v, d
	}
	size[0] += bits.Len64(zigzag(p[0] - mean))
	order, number := 1, p[0]
	if size[2] < size[1] {
		order = 2
	}
	if size[0] < size[order] {
		order, number = 0, mean
	}
	zs := c.distances(p, order, mean)
	w.reserve(len(zs))
	w.put(uint64(order), 2)
	w.number(number)
	rice := bestRice(zs, size[order])
	w.put(uint64(rice), 5)
	w.codes(zs, rice)
}

// distances are those of one order, zigzagged.
func (c *columnBuf) distances(p []int64, order int, mean int64) []uint64 {
	if order == 0 {
		zs := c.zigzag[:len(p)]
		for i, v := range p {
			zs[i] = zigzag(v - mean)
		}
		return zs
	}
	zs := c.zigzag[:len(p)-1]
	last, slope := p[0], int64(0)
	for i, v := range p[1:] {
		d := v - last
		zs[i] = zigzag(d - slope)
		last = v
		if order == 2 {
			slope = d
		}
	}
	return zs
}

// bestRice returns the parameter with the shortest codes. The mean length of the distances says where to
// look; from there the search goes downhill, two steps at a time.
func bestRice(zs []uint64, size int) uint {
	if len(zs) == 0 {
		return 0
	}
	k := min(max(uint(size)/uint(len(zs)), 1), maxRice-1)
	for up, down := true, true; ; {
		below, at, above := riceCosts(zs, k)
		switch {
		case above < at && above < below && up && k+2 < maxRice:
			k, down = k+2, false
		case below < at && below < above && down && k > 2:
			k, up = k-2, false
		case above < at && above < below:
			return k + 1
		case below < at:
			return k - 1
		default:
			return k
		}
	}
}

// riceCosts is what every other code takes, in bits: with the parameter below k, which is at least 1, with
// k, and with the one above it. To look at all of them would make encoding a sixth slower and blocks 0.2 % smaller.
func riceCosts(zs []uint64, k uint) (below, at, above int) {
	for i := 0; i < len(zs); i += riceStep {
		z := zs[i]
		below, at, above = below+int(k), at+int(k+1), above+int(k+2)
		q := z >> ((k - 1) & 63)
		if q < escape {
			below += int(q)
			at += int(q >> 1)
			above += int(q >> 2)
			continue
		}
		number := escape + 4 + bits.Len64(z) - int(k) // instead of the code with k
		below += number + 1
		if q>>1 < escape {
			at += int(q >> 1)
		} else {
			at += number
		}
		if q>>2 < escape {
			above += int(q >> 2)
		} else {
			above += number - 1
		}
	}
	return below, at, above
}

func (c *columnBuf) read(r *bitReader) error {
	form := r.get(2)
	switch form {
	case formAbsent:
		for i := range c.values {
			c.values[i] = missingCell
		}
		return r.err
	case formSame:
		v := r.number()
		for i := range c.values {
			c.values[i] = v
		}
		return r.err
	case formDense:
		return c.readBody(r, c.values)
	}
	n := 0
	for i := range c.values {
		c.values[i] = missingCell
		if r.get(1) == 1 {
			c.values[i] = 0
			n++
		}
	}
	if n == 0 || n == len(c.values) {
		return errNumber // the writer has other forms for these
	}
	p := c.present[:n]
	if err := c.readBody(r, p); err != nil {
		return err
	}
	for i, v := range c.values {
		if v != missingCell {
			c.values[i], p = p[0], p[1:]
		}
	}
	return r.err
}

func (c *columnBuf) readBody(r *bitReader, p []int64) error {
	order := r.get(2)
	number := r.number()
	rice := uint(r.get(5))
	last, slope := number, int64(0)
	switch order {
	case 0:
		for i := range p {
			p[i] = number + r.rice(rice)
		}
	case 1:
		p[0] = number
		for i := range p[1:] {
			last += r.rice(rice)
			p[i+1] = last
		}
	case 2:
		p[0] = number
		for i := range p[1:] {
			slope += r.rice(rice)
			last += slope
			p[i+1] = last
		}
	default:
		return errNumber
	}
	if r.err != nil {
		return r.err
	}
	for _, v := range p {
		if v <= -1<<62 || v >= 1<<62 {
			return errNumber
		}
	}
	return nil
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(z uint64) int64 { return int64(z>>1) ^ -int64(z&1) }

// bitWriter appends bits, most significant first. Room must be reserved before.
type bitWriter struct {
	buf []byte // all of it may be written
	at  int    // whole bytes that are written
	acc uint64 // the low n bits, fewer than 8, follow them
	n   uint
}

// reserve makes room for the head of a column and for so many of its codes, each as long as one can be.
func (w *bitWriter) reserve(codes int) {
	const head, code, word = 16, (escape + 6 + 63 + 7) / 8, 8 // bytes
	if need := w.at + head + codes*code + word; need > len(w.buf) {
		w.buf = append(w.buf, make([]byte, need-len(w.buf)+len(w.buf)/4)...)
	}
}

// put writes the low width bits of v, which has no others; width is at most 56.
func (w *bitWriter) put(v uint64, width uint) {
	w.n += width
	w.acc = w.acc<<width | v
	binary.BigEndian.PutUint64(w.buf[w.at:], w.acc<<(64-w.n))
	w.at += int(w.n / 8)
	w.n %= 8
}

func (w *bitWriter) number(v int64) { w.bare(zigzag(v)) }

func (w *bitWriter) bare(z uint64) {
	if z == 0 {
		w.put(0, 6)
		return
	}
	l := min(uint(bits.Len64(z)), 63)
	w.put(uint64(l), 6)
	l--
	if l > 32 {
		w.put(z>>32&(1<<(l-32)-1), l-32)
		l = 32
	}
	w.put(z&(1<<l-1), l)
}

// codes writes the Rice code of every distance.
func (w *bitWriter) codes(zs []uint64, k uint) {
	at, acc, n := w.at, w.acc, w.n // as put, but in registers
	for _, z := range zs {
		q := uint(z >> (k & 63))
		if q >= escape {
			w.at, w.acc, w.n = at, acc, n
			w.put(1<<escape-1, escape)
			w.bare(z)
			at, acc, n = w.at, w.acc, w.n
			continue
		}
		width := q + 1 + k
		n += width
		acc = acc<<(width&63) | (1<<((q+1)&63)-2)<<(k&63) | z&(1<<(k&63)-1)
		binary.BigEndian.PutUint64(w.buf[at:], acc<<((64-n)&63))
		at += int(n / 8)
		n %= 8
	}
	w.at, w.acc, w.n = at, acc, n
}

func (w *bitWriter) bytes() []byte {
	if w.n > 0 {
		return w.buf[:w.at+1] // put has padded it with zeros
	}
	return w.buf[:w.at]
}

// bitReader reads what bitWriter wrote. After the first error it returns zeros and keeps the error.
type bitReader struct {
	buf []byte
	acc uint64 // the low n bits are still to be read
	n   uint
	err error
}

// fill makes at least 32 bits available, with zeros after the end of the data.
func (r *bitReader) fill() {
	if len(r.buf) >= 4 {
		r.acc = r.acc<<32 | uint64(binary.BigEndian.Uint32(r.buf))
		r.buf = r.buf[4:]
		r.n += 32
		return
	}
	for _, b := range r.buf {
		r.acc = r.acc<<8 | uint64(b)
		r.n += 8
	}
	r.buf = nil
}

func (r *bitReader) get(width uint) uint64 {
	if r.n < width {
		if r.fill(); r.n < width {
			r.err, r.n = errShort, 0
			return 0
		}
	}
	r.n -= width
	return r.acc >> r.n & (1<<width - 1)
}

func (r *bitReader) number() int64 { return unzigzag(r.bare()) }

func (r *bitReader) bare() uint64 {
	l := uint(r.get(6))
	if l == 0 {
		return 0
	}
	l--
	z := uint64(1) << l
	if l > 32 {
		z |= r.get(l-32) << 32
		l = 32
	}
	return z | r.get(l)
}

func (r *bitReader) rice(k uint) int64 {
	if r.n <= escape {
		r.fill()
	}
	// Ones ahead in the stream: shift what is left to the top and count.
	q := uint(bits.LeadingZeros64(^(r.acc << (64 - r.n))))
	if r.n == 0 || q >= r.n && q < escape {
		r.err, r.n = errShort, 0
		return 0
	}
	if q < escape {
		r.n -= q + 1
		return unzigzag(uint64(q)<<k | r.get(k))
	}
	if r.n < escape {
		r.err, r.n = errShort, 0
		return 0
	}
	r.n -= escape
	return r.number()
}

// end reports data that was not read, beyond the padding of the last byte, or an earlier error.
func (r *bitReader) end() error {
	if r.err != nil {
		return r.err
	}
	if len(r.buf) > 0 || r.n >= 8 || r.acc&(1<<r.n-1) != 0 {
		return errTrailer
	}
	return nil
}
