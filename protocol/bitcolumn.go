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
	zig     [3][]uint64
}

func (c *columnBuf) grow(rows int) {
	if cap(c.values) < rows {
		c.values = make([]int64, rows)
		c.present = make([]int64, rows)
		for i := range c.zig {
			c.zig[i] = make([]uint64, rows)
		}
	}
	c.values = c.values[:rows]
}

func (c *columnBuf) write(w *bitWriter) {
	// Most columns of a calm device do not move at all: look for that first.
	first, same, missing := c.values[0], true, 0
	for _, v := range c.values {
		if v != first {
			same = false
		}
		if v == missingCell {
			missing++
		}
	}
	switch {
	case missing == len(c.values):
		w.put(formAbsent, 2)
		return
	case same:
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
		sum += v >> 12 // rough is enough, and cannot overflow: 3600 rows of 53 bits
	}
	mean := sum / int64(len(p)) << 12
	var rest int64
	for _, v := range p {
		rest += v - mean
	}
	mean += rest / int64(len(p))
	if mean <= -maxScaled || mean >= maxScaled {
		mean = p[0] // rest overflowed: values as far apart as they may be
	}

	zero, one, two := c.zig[0][:len(p)], c.zig[1][:len(p)-1], c.zig[2][:len(p)-1]
	var size [3]int
	var total [3]uint64
	last, slope := p[0], int64(0)
	z := zigzag(last - mean)
	zero[0] = z
	size[0] = bits.Len64(z)
	total[0] = z
	for i, v := range p[1:] {
		z := zigzag(v - mean)
		zero[i+1] = z
		size[0] += bits.Len64(z)
		total[0] += z
		d := v - last
		z = zigzag(d)
		one[i] = z
		size[1] += bits.Len64(z)
		total[1] += z
		z = zigzag(d - slope)
		two[i] = z
		size[2] += bits.Len64(z)
		total[2] += z
		last, slope = v, d
	}
	order, zs, number := 1, one, p[0]
	if size[2] < size[1] {
		order, zs = 2, two
	}
	if size[0] < size[order] {
		order, zs, number = 0, zero, mean
	}
	w.put(uint64(order), 2)
	w.number(number)
	rice := bestRice(zs, total[order])
	w.put(uint64(rice), 5)
	for _, z := range zs {
		w.rice(z, rice)
	}
}

// bestRice returns the parameter with the shortest codes. The mean distance says where to look; a few
// large jumps pull the mean up, so the search goes down from there while that pays.
func bestRice(zs []uint64, total uint64) uint {
	if len(zs) == 0 {
		return 0
	}
	k := min(uint(bits.Len64(total/uint64(len(zs)))), maxRice)
	cost := riceCost(zs, k)
	for k > 0 {
		next := riceCost(zs, k-1)
		if next > cost {
			break
		}
		k, cost = k-1, next
	}
	return k
}

func riceCost(zs []uint64, k uint) int {
	cost := len(zs) * int(k+1)
	for _, z := range zs {
		if q := z >> k; q < escape {
			cost += int(q)
		} else {
			cost += escape + 5 + bits.Len64(z) - int(k)
		}
	}
	return cost
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

// bitWriter appends bits, most significant first. Up to 7 whole bytes wait in acc.
type bitWriter struct {
	buf []byte
	acc uint64 // the low n bits are not yet in buf
	n   uint
}

// put writes the low width bits of v, which has no others; width is at most 32.
func (w *bitWriter) put(v uint64, width uint) {
	w.acc = w.acc<<width | v
	w.n += width
	if w.n >= 32 {
		w.n -= 32
		w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(w.acc>>w.n))
	}
}

func (w *bitWriter) wide(v uint64, width uint) {
	if width > 32 {
		w.put(v>>32&(1<<(width-32)-1), width-32)
		width = 32
	}
	w.put(v&(1<<width-1), width)
}

func (w *bitWriter) number(v int64) { w.bare(zigzag(v)) }

func (w *bitWriter) bare(z uint64) {
	if z == 0 {
		w.put(0, 6)
		return
	}
	l := uint(bits.Len64(z))
	w.put(uint64(min(l, 63)), 6)
	w.wide(z, min(l, 63)-1)
}

func (w *bitWriter) rice(z uint64, k uint) {
	if q := uint(z >> k); q < escape {
		w.put(1<<(q+1)-2, q+1)
		w.put(z&(1<<k-1), k)
		return
	}
	w.put(1<<escape-1, escape)
	w.bare(z)
}

func (w *bitWriter) bytes() []byte {
	for w.n > 0 {
		pad := (8 - w.n%8) % 8
		w.acc, w.n = w.acc<<pad, w.n+pad
		w.n -= 8
		w.buf = append(w.buf, byte(w.acc>>w.n))
	}
	return w.buf
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
