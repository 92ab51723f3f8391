package telemetry

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
)

// runs is read by device and time. It has no index by age: what is to be forgotten is found by the jobs of
// QueueForget, so that each run is written once.
//
// A row is a run: blocks of one epoch of a device that one commit brought, in the order of their begin.
// They stand one after the other, each as it came from the device behind a head of four numbers (binary
// varints, https://protobuf.dev/programming-guides/encoding/#varints):
//
//	run   = { begin length sequence size bytes }
//	begin       microseconds since starts_at, unsigned; 0 for the first block
//	length      microseconds from its begin to its end, unsigned
//	sequence    distance from the key's sequence, signed; 0 for the first block
//	size        of bytes, unsigned
var runs = store.NewBlocks("telemetry_runs", store.BlockSpec{
	Key: store.Columns{
		store.Text("home"), store.Text("device"), store.Time("starts_at"), store.Time("ends_at"),
		store.Int("epoch"), store.Int("sequence"),
	},
	Series: 2, // a device's
})

// Limits of a run of more than one block.
const (
	// maxRun is in bytes. What a commit brings of a device that sends as fast as it can, some 6 kB, is one
	// row, on bolt as on PostgreSQL. Who looks for one block reads its whole run: a few pages, no more.
	maxRun = 16 << 10
	// maxCover is from the begin of the first block to the last end: who looks for a moment begins
	// so much earlier.
	maxCover = 15 * time.Minute
)

const (
	maxHead   = 4 * binary.MaxVarintLen64
	maxLength = 1 << 52 // microseconds of one block, 142 years: sums with a time cannot overflow
)

func byBegin(a, b cloud.Block) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), a.From.Compare(b.From), cmp.Compare(a.Sequence, b.Sequence))
}

// putRuns writes blocks of one device in as few rows as the limits allow.
func putRuns(tx store.Tx, bs []cloud.Block) error {
	if !slices.IsSortedFunc(bs, byBegin) {
		bs = slices.SortedFunc(slices.Values(bs), byBegin)
	}
	size := 0
	for i := range bs {
		size += maxHead + len(bs[i].Bytes)
	}
	buf := runs.Room(tx, size)
	var home, device any // parts of the keys, boxed once
	if len(bs) > 0 {
		home, device = bs[0].Home, bs[0].Device
	}
	for len(bs) > 0 {
		first := &bs[0]
		begin := len(buf)
		last, n := first.To, 0
		for i := range bs {
			b := &bs[i]
			if i > 0 && (b.Epoch != first.Epoch || len(buf)-begin+len(b.Bytes) > maxRun || b.To.Sub(first.From) > maxCover || last.Sub(first.From) > maxCover) {
				break
			}
			if b.To.After(last) {
				last = b.To
			}
			buf = appendBlock(buf, first, b)
			n++
		}
		run := buf[begin:len(buf):len(buf)]
		if err := runs.Put(tx, run, home, device, first.From, last, first.Epoch, first.Sequence); err != nil {
			return fmt.Errorf("keep telemetry of %s: %w", first.Device, err)
		}
		bs = bs[n:]
	}
	return nil
}

func appendBlock(dst []byte, first, b *cloud.Block) []byte {
	dst = binary.AppendUvarint(dst, uint64(max(b.From.UnixMicro()-first.From.UnixMicro(), 0)))
	dst = binary.AppendUvarint(dst, uint64(min(max(b.To.UnixMicro()-b.From.UnixMicro(), 0), maxLength)))
	dst = binary.AppendVarint(dst, int64(b.Sequence-first.Sequence))
	dst = binary.AppendUvarint(dst, uint64(len(b.Bytes)))
	return append(dst, b.Bytes...)
}

// appendRun appends the blocks of a row. The Bytes of the first are the row's, those of the others a copy.
func appendRun(dst []cloud.Block, row store.Block) ([]cloud.Block, error) {
	key := row.Key
	first := cloud.Block{
		Home: key[0].(string), Device: key[1].(string), From: key[2].(time.Time),
		Epoch: uint64(key[4].(int64)), Sequence: uint64(key[5].(int64)),
	}
	corrupt := func() ([]cloud.Block, error) {
		return nil, fmt.Errorf("%w: run of %s at %s", store.ErrCorrupt, first.Device, first.From)
	}
	was := len(dst)
	for rest := row.Bytes; ; {
		b := first
		var head [4]uint64
		for i := range head {
			n := 0
			if head[i], n = binary.Uvarint(rest); n <= 0 {
				return corrupt()
			}
			rest = rest[n:]
		}
		if head[0] > uint64(maxCover.Microseconds()) || head[1] > maxLength || head[3] > uint64(len(rest)) {
			return corrupt()
		}
		b.From = first.From.Add(time.Duration(head[0]) * time.Microsecond)
		b.To = b.From.Add(time.Duration(head[1]) * time.Microsecond)
		b.Sequence += head[2]>>1 ^ -(head[2] & 1) // zigzag, as AppendVarint writes it
		b.Bytes, rest = rest[:head[3]:head[3]], rest[head[3]:]
		dst = append(dst, b)
		if len(rest) == 0 {
			return dst, nil
		}
		if len(dst) == was+1 {
			rest = bytes.Clone(rest)
		}
	}
}

// inOrder goes through the blocks of the device's runs that begin in the given bounds, either of which may
// be nil, in the order of the blocks' begin: runs may overlap where something came late. A block's Bytes are
// valid until the next turn of the loop.
func inOrder(tx store.Tx, home, device string, from, to any) iter.Seq2[cloud.Block, error] {
	return func(yield func(cloud.Block, error) bool) {
		var waiting []cloud.Block // of runs that began before them
		for row, err := range runs.Scan(tx, store.Range{Prefix: store.Key{home, device}, From: from, To: to}) {
			late := len(waiting) > 0
			if err == nil {
				waiting, err = appendRun(waiting, row)
			}
			if err != nil {
				yield(cloud.Block{}, err)
				return
			}
			if late {
				slices.SortStableFunc(waiting, func(a, b cloud.Block) int { return a.From.Compare(b.From) })
			}
			// No run that follows has a block that begins earlier than this one does.
			n := 0
			for begin := row.Key[2].(time.Time); n < len(waiting) && !waiting[n].From.After(begin); n++ {
				if !yield(waiting[n], nil) {
					return
				}
			}
			waiting = slices.Delete(waiting, 0, n)
		}
		for _, b := range waiting {
			if !yield(b, nil) {
				return
			}
		}
	}
}
