package protocol

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Block is a run of samples of one schema, sealed: written once, stored by the cloud as it came, and
// decoded on read. Data is laid out as the package comment of bitcolumn.go draws it.
type Block struct {
	Version uint64 `cbor:"0,keyasint"`
	Codec   uint8  `cbor:"1,keyasint"` // CodecColumns
	Schema  uint64 `cbor:"2,keyasint"` // Schema.ID
	Rows    uint64 `cbor:"3,keyasint"`
	Mono    int64  `cbor:"4,keyasint"` // of the first row, milliseconds on the monotonic clock of the record's boot
	Wall    int64  `cbor:"5,keyasint"` // of the first row, milliseconds since 1970 by the device's clock
	Data    []byte `cbor:"6,keyasint"`
}

// CodecColumns is the codec of this build: one entropy-coded column per metric. Another codec gets
// another number; a reader refuses what it does not know.
const CodecColumns = 1

// Limits of a block, so that a few hostile bytes cannot ask for much memory.
const (
	MaxRows   = 3600    // one hour at one second
	MaxValues = 1 << 18 // rows times metrics: 2 MiB once decoded
)

// maxScaled bounds scaled integers. Up to here the product of a float64 and a power of ten always rounds to
// the integer that was meant; as a counter of bytes it is a petabyte.
const maxScaled = 1 << 50

// ErrFull is returned by Sealer.Add when the block holds as many rows as a block may.
var ErrFull = errors.New("block is full")

// ErrSchema is returned when a sample or block belongs to another schema than the one at hand.
var ErrSchema = errors.New("sample of another schema")

// NewSchema returns the schema of these metrics with its id: a hash of their content, so that two
// devices with the same columns, or one device after a restart, name the same schema.
func NewSchema(metrics []Metric) (*Schema, error) {
	s := &Schema{Version: Version, ID: schemaID(metrics), Metrics: metrics}
	return s, s.check()
}

// schemaID is FNV-1a over the fields of each metric, each text ended by a zero byte.
func schemaID(metrics []Metric) uint64 {
	h := uint64(14695981039346656037)
	add := func(c byte) { h = (h ^ uint64(c)) * 1099511628211 }
	for i := range metrics {
		m := &metrics[i]
		for j := range len(m.Name) {
			add(m.Name[j])
		}
		add(0)
		for j := range len(m.Instance) {
			add(m.Instance[j])
		}
		add(0)
		add(byte(m.Kind))
		add(byte(m.Scale))
	}
	return h
}

// Sealer collects samples of one schema and seals them into blocks. It keeps its memory between
// blocks: 8 bytes a value. It is not safe for concurrent use.
type Sealer struct {
	schema *Schema
	scale  []float64
	most   int       // rows that fit
	cells  []int64   // row by row; missing cells hold missingCell
	mono   []int64   // milliseconds
	wall   []int64   // milliseconds
	col    columnBuf // reused by Seal
}

// missingCell stands for NaN among scaled integers; it is far outside the range of a real one.
const missingCell = math.MinInt64

// NewSealer returns an empty Sealer for the schema, which must not change afterwards.
func NewSealer(schema *Schema) (*Sealer, error) {
	if err := schema.check(); err != nil {
		return nil, err
	}
	s := &Sealer{schema: schema, scale: make([]float64, len(schema.Metrics))}
	for i := range schema.Metrics {
		s.scale[i] = pow10(schema.Metrics[i].Scale)
	}
	s.most = min(MaxRows, MaxValues/len(schema.Metrics))
	return s, nil
}

// Rows is how many samples wait to be sealed.
func (s *Sealer) Rows() int { return len(s.mono) }

// Add takes a sample in. A value that is NaN, infinite, or 2^50 or more once scaled becomes missing:
// everything else comes back exactly as rounded to its metric's scale. It returns ErrSchema for a
// sample of another schema and ErrFull when the block must be sealed first.
func (s *Sealer) Add(sample *Sample) error {
	if sample.Schema.ID != s.schema.ID || len(sample.Values) != len(s.scale) {
		return ErrSchema
	}
	if len(s.mono) == s.most {
		return ErrFull
	}
	if abs(sample.Mono) >= maxScaled || abs(sample.Wall) >= maxScaled {
		return fmt.Errorf("%w: sample at %d ms (wall %d ms)", ErrInvalid, sample.Mono, sample.Wall)
	}
	from := len(s.cells)
	s.cells = slices.Grow(s.cells, len(s.scale))[:from+len(s.scale)]
	cells, values := s.cells[from:], sample.Values
	for i, scale := range s.scale {
		v := math.RoundToEven(values[i] * scale)
		cells[i] = missingCell
		if v > -maxScaled && v < maxScaled { // false for NaN
			cells[i] = int64(v)
		}
	}
	s.mono = append(s.mono, sample.Mono)
	s.wall = append(s.wall, sample.Wall)
	return nil
}

// Seal returns the collected samples as a block and empties the sealer. It returns nil when there are none.
func (s *Sealer) Seal() *Block {
	rows := len(s.mono)
	if rows == 0 {
		return nil
	}
	b := &Block{Version: Version, Codec: CodecColumns, Schema: s.schema.ID, Rows: uint64(rows), Mono: s.mono[0], Wall: s.wall[0]}
	w := bitWriter{buf: make([]byte, rows*(len(s.scale)*5/4+11)+64)}
	c := &s.col
	c.grow(rows)
	for i := range rows {
		c.values[i] = s.mono[i] - b.Mono
	}
	c.write(&w)
	skew := b.Wall - b.Mono
	for i := range rows {
		c.values[i] = s.wall[i] - s.mono[i] - skew // zero unless the clock was set or drifts
	}
	c.write(&w)
	n := len(s.scale)
	for m := range n {
		at := m
		for i := range c.values {
			c.values[i] = s.cells[at]
			at += n
		}
		c.write(&w)
	}
	b.Data = w.bytes()
	s.cells, s.mono, s.wall = s.cells[:0], s.mono[:0], s.wall[:0]
	return b
}

// Samples decodes the block. The samples share one array of values and refer to schema, which must be
// the one that the block names (ErrSchema otherwise); malformed data wraps ErrInvalid.
func (b *Block) Samples(schema *Schema) ([]Sample, error) {
	if b.Schema != schema.ID {
		return nil, fmt.Errorf("%w: block names %x, not %x", ErrSchema, b.Schema, schema.ID)
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	rows, n := int(b.Rows), len(schema.Metrics)
	if rows*n > MaxValues {
		return nil, fmt.Errorf("%w: block of %d rows and %d metrics, limit %d values", ErrInvalid, rows, n, MaxValues)
	}
	var c columnBuf
	c.grow(rows)
	r := bitReader{buf: b.Data}
	out := make([]Sample, rows)
	values := make([]float64, rows*n)
	if err := c.read(&r); err != nil {
		return nil, fmt.Errorf("%w: block time: %w", ErrInvalid, err)
	}
	for i, v := range c.values {
		out[i] = Sample{Mono: b.Mono + v, Schema: schema, Values: values[i*n : (i+1)*n : (i+1)*n]}
	}
	if err := c.read(&r); err != nil {
		return nil, fmt.Errorf("%w: block clock: %w", ErrInvalid, err)
	}
	for i, v := range c.values {
		out[i].Wall = out[i].Mono + (b.Wall - b.Mono) + v
	}
	for m := range n {
		if err := c.read(&r); err != nil {
			return nil, fmt.Errorf("%w: block column %s: %w", ErrInvalid, schema.Metrics[m].Name, err)
		}
		// Only powers of ten from 1 up are exact, so divide by one or multiply by one.
		over, by := pow10(max(schema.Metrics[m].Scale, 0)), pow10(max(-schema.Metrics[m].Scale, 0))
		for i, v := range c.values {
			if v == missingCell {
				values[i*n+m] = math.NaN()
			} else {
				values[i*n+m] = float64(v) / over * by
			}
		}
	}
	return out, r.end()
}

func abs(v int64) int64 { return max(v, -v) }

func (b *Block) check() error {
	if err := checkVersion("block", b.Version); err != nil {
		return err
	}
	if b.Codec != CodecColumns {
		return fmt.Errorf("%w: block has codec %d, this build reads %d", ErrVersion, b.Codec, CodecColumns)
	}
	if b.Rows == 0 || b.Rows > MaxRows {
		return fmt.Errorf("%w: block has %d rows, want 1 to %d", ErrInvalid, b.Rows, MaxRows)
	}
	return nil
}

// pow10 returns 10^scale for -6 to 9: exact from 1 up, else the nearest float64.
func pow10(scale int8) float64 {
	return [...]float64{1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}[scale+6]
}
