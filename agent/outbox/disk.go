package outbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hearthline/hearthline/protocol"
)

// On disk, bucket "event" and bucket "telemetry" map epoch and sequence (8 bytes each, big endian) to a
// CRC-32C (4 bytes) and the CBOR of a protocol.Record. Bucket "meta" holds counters of 8 bytes, bucket
// "note" the notes by name.
var (
	bucketEvent     = []byte("event")
	bucketTelemetry = []byte("telemetry")
	bucketMeta      = []byte("meta")
	bucketNote      = []byte("note")

	metaEventEpoch     = []byte("event_epoch")
	metaEventNext      = []byte("event_next")
	metaTelemetryEpoch = []byte("telemetry_epoch")
	metaBoot           = []byte("boot")

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

var errCorrupt = errors.New("corrupt")

func key(epoch, seq uint64) []byte {
	k := binary.BigEndian.AppendUint64(make([]byte, 0, 16), epoch)
	return binary.BigEndian.AppendUint64(k, seq)
}

func parseKey(k []byte) (epoch, seq uint64, err error) {
	if len(k) != 16 {
		return 0, 0, fmt.Errorf("%w: key of %d bytes", errCorrupt, len(k))
	}
	return binary.BigEndian.Uint64(k), binary.BigEndian.Uint64(k[8:]), nil
}

func encode(rec *protocol.Record) ([]byte, error) {
	body, err := protocol.Marshal(rec)
	if err != nil {
		return nil, err
	}
	v := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), crc32.Checksum(body, castagnoli))
	return append(v, body...), nil
}

// decode copies: the record outlives the transaction.
func decode(v []byte) (protocol.Record, error) {
	var rec protocol.Record
	if len(v) < 4 || crc32.Checksum(v[4:], castagnoli) != binary.BigEndian.Uint32(v) {
		return rec, fmt.Errorf("%w: checksum", errCorrupt)
	}
	if err := protocol.Unmarshal(bytes.Clone(v[4:]), &rec); err != nil {
		return rec, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return rec, nil
}

func counter(b *bolt.Bucket, name []byte) uint64 {
	v := b.Get(name)
	if len(v) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

func setCounter(b *bolt.Bucket, name []byte, v uint64) error {
	return b.Put(name, binary.BigEndian.AppendUint64(nil, v))
}

// cost is what a stored record counts against the quota.
func cost(v []byte) int64 { return int64(len(v) + 40) }

// limit leaves room for bbolt's copies of changed pages and half-filled ones.
func (o *Outbox) limit() int64 { return o.opts.MaxBytes * 2 / 3 }

// change is one write transaction in the making, with what has to become true in memory once it commits.
type change struct {
	o     *Outbox
	tx    *bolt.Tx
	disk  usage            // as it will be
	acked map[place]uint64 // as known when the transaction began
	gone  []place          // epochs that have nothing left on disk
}

type place struct {
	lane  protocol.Lane
	epoch uint64
}

// update runs fn in a write transaction after removing what is acknowledged. The caller holds write.
func (o *Outbox) update(fn func(c *change) error) error {
	c := &change{o: o, acked: map[place]uint64{}}
	o.mu.Lock()
	c.disk = o.disk
	for _, l := range []protocol.Lane{protocol.LaneEvent, protocol.LaneTelemetry} {
		for epoch, seq := range o.lane(l).acked {
			c.acked[place{l, epoch}] = seq
		}
	}
	stale := o.stale
	o.dirty = false
	o.mu.Unlock()
	err := o.db.Update(func(tx *bolt.Tx) error {
		c.tx = tx
		if err := c.purge(); err != nil {
			return err
		}
		return fn(c)
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.dirty = true
		return err
	}
	o.disk = c.disk
	o.stale -= stale
	for _, p := range c.gone {
		if ln := o.lane(p.lane); p.epoch != ln.epoch {
			delete(ln.acked, p.epoch)
		}
	}
	return nil
}

func (c *change) bucket(l protocol.Lane) *bolt.Bucket {
	name := bucketTelemetry
	if l == protocol.LaneEvent {
		name = bucketEvent
	}
	b := c.tx.Bucket(name)
	b.FillPercent = 0.95 // records are appended and removed from the front
	return b
}

// purge deletes the acknowledged records.
func (c *change) purge() error {
	for p, acked := range c.acked {
		b := c.bucket(p.lane)
		var done [][]byte // bbolt's cursor must not see its bucket change under it
		cur := b.Cursor()
		k, v := cur.Seek(key(p.epoch, 0))
		for ; k != nil; k, v = cur.Next() {
			epoch, seq, err := parseKey(k)
			if err != nil {
				return err
			}
			if epoch != p.epoch || seq > acked {
				break
			}
			if p.lane == protocol.LaneTelemetry { // a gap reaches further than its key says
				rec, err := decode(v)
				if err != nil {
					return err
				}
				if seq+rec.Span-1 > acked {
					break
				}
			}
			*c.disk.of(p.lane) -= cost(v)
			done = append(done, bytes.Clone(k))
		}
		if epoch, _, err := parseKey(k); err != nil || epoch != p.epoch {
			c.gone = append(c.gone, p)
		}
		for _, k := range done {
			if err := b.Delete(k); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *change) put(l protocol.Lane, epoch, seq uint64, rec *protocol.Record) error {
	v, err := encode(rec)
	if err != nil {
		return err
	}
	*c.disk.of(l) += cost(v)
	return c.bucket(l).Put(key(epoch, seq), v)
}

func (c *change) note(name string, value []byte) error {
	b := c.tx.Bucket(bucketNote)
	if value == nil {
		return b.Delete([]byte(name))
	}
	return b.Put([]byte(name), value)
}

// SetNote implements agent.Journal.
func (o *Outbox) SetNote(name string, value []byte) error {
	o.write.Lock()
	defer o.write.Unlock()
	if err := o.update(func(c *change) error { return c.note(name, value) }); err != nil {
		return fmt.Errorf("set note %s: %w", name, err)
	}
	return nil
}

// Note implements agent.Journal.
func (o *Outbox) Note(name string) (value []byte, err error) {
	err = o.db.View(func(tx *bolt.Tx) error {
		value = bytes.Clone(tx.Bucket(bucketNote).Get([]byte(name)))
		return nil
	})
	return value, err
}

// writeEvents commits events with the next sequences. The caller holds write.
func (o *Outbox) writeEvents(puts []*put) error {
	first := o.event.next // only changed under write
	err := o.update(func(c *change) error {
		for i, p := range puts {
			p.seq = first + uint64(i)
			if err := c.put(protocol.LaneEvent, o.event.epoch, p.seq, &p.rec); err != nil {
				return err
			}
			if p.note != "" {
				if err := c.note(p.note, p.text(protocol.DeviceEntryID(o.opts.Device, o.event.epoch, p.seq))); err != nil {
					return err
				}
			}
		}
		if c.disk.sum() > o.limit() {
			if err := c.dropOldest(); err != nil {
				return err
			}
			if c.disk.sum() > o.limit() {
				return ErrFull
			}
		}
		return setCounter(c.tx.Bucket(bucketMeta), metaEventNext, first+uint64(len(puts)))
	})
	if err != nil {
		return fmt.Errorf("record event: %w", err)
	}
	o.mu.Lock()
	o.event.next = first + uint64(len(puts))
	o.mu.Unlock()
	return nil
}

// maintain spills and cleans when that is due, or at once when closing.
func (o *Outbox) maintain(closing bool) error {
	o.write.Lock()
	defer o.write.Unlock()
	o.mu.Lock()
	now := time.Now()
	spill := len(o.memory) > 0 && (closing || o.spillDue(now))
	clean := o.toClean() && (closing || now.Sub(o.lastSpill) > 10*time.Second)
	if !spill && !clean {
		o.mu.Unlock()
		return nil
	}
	o.lastSpill = now
	var records []held
	if spill {
		o.spilling = true
		records = slices.Clone(o.memory)
	}
	epoch := o.telemetry.epoch
	o.mu.Unlock()

	err := o.update(func(c *change) error {
		for i := range records {
			if err := c.put(protocol.LaneTelemetry, epoch, records[i].seq, &records[i].rec); err != nil {
				return err
			}
		}
		if c.disk.sum() > o.limit() {
			return c.dropOldest()
		}
		return nil
	})
	if err != nil || len(records) == 0 {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	last := records[len(records)-1].seq
	for len(o.memory) > 0 && o.memory[0].seq <= last {
		o.memoryBytes -= o.memory[0].size
		o.memory = o.memory[1:]
	}
	o.dirty = true // some of it may have been acknowledged meanwhile
	o.memory = slices.Clip(slices.Clone(o.memory))
	return nil
}

// spillDue decides whether memory must go to disk. The first time, what the cloud did not acknowledge
// within SpillAfter; while that goes on, full batches, since a commit of one record costs forty times as
// much flash as its share of a hundred. The caller holds mu.
func (o *Outbox) spillDue(now time.Time) bool {
	oldest := now.Sub(o.memory[0].added)
	if !o.spilling {
		return oldest >= o.opts.SpillAfter
	}
	return len(o.memory) >= o.opts.SpillBatch || o.memoryBytes > o.opts.MaxMemory/2 || oldest >= o.opts.SpillEvery
}

// dropOldest turns the oldest telemetry on disk into gaps until a sixteenth of the limit is free. Schemas
// stay, since later blocks cannot be read without them; they are small.
func (c *change) dropOldest() error {
	b := c.bucket(protocol.LaneTelemetry)
	want := c.o.limit() * 15 / 16
	var dropped uint64
	var drop [][]byte // keys; bbolt's cursor must not see its bucket change under it
	type gapAt struct {
		epoch uint64
		h     held
	}
	var gaps []gapAt
	left := c.disk.sum()
	cur := b.Cursor()
	for k, v := cur.First(); k != nil && left > want; k, v = cur.Next() {
		epoch, seq, err := parseKey(k)
		if err != nil {
			return err
		}
		rec, err := decode(v)
		if err != nil {
			return err
		}
		if rec.Kind == protocol.KindSchema {
			continue
		}
		left -= cost(v)
		drop = append(drop, bytes.Clone(k))
		if rec.Kind != protocol.KindGap {
			dropped++
		}
		if n := len(gaps); n > 0 && gaps[n-1].epoch == epoch && gaps[n-1].h.seq+gaps[n-1].h.rec.Span == seq {
			gaps[n-1].h = widen(gaps[n-1].h, rec)
			continue
		}
		gaps = append(gaps, gapAt{epoch, widen(held{seq: seq}, rec)})
	}
	for _, k := range drop {
		c.disk.telemetry -= cost(b.Get(k))
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	for _, g := range gaps {
		if err := c.put(protocol.LaneTelemetry, g.epoch, g.h.seq, &g.h.rec); err != nil {
			return err
		}
	}
	if dropped > 0 {
		c.o.opts.Log.Warn("telemetry dropped for want of room", "records", dropped)
	}
	return nil
}

// widen returns the gap with rec, the record after it, dropped too. A gap without a span is begun at rec.
func widen(gap held, rec protocol.Record) held {
	span := protocol.Gap{Records: rec.Span, From: rec.Wall, To: rec.Wall, Reason: "quota"}
	if rec.Kind == protocol.KindGap {
		_ = protocol.Unmarshal(rec.Body, &span) // ours; a bad one keeps the outer times
	}
	g := span
	if gap.rec.Span > 0 {
		_ = protocol.Unmarshal(gap.rec.Body, &g)
		g.Records += span.Records
		g.To = max(g.To, span.To)
	}
	body, err := protocol.Marshal(&g)
	if err != nil {
		panic(err) // four numbers and a constant text
	}
	gap.rec = protocol.Record{Kind: protocol.KindGap, Boot: rec.Boot, Mono: rec.Mono, Wall: rec.Wall, Span: gap.rec.Span + rec.Span, Body: body}
	gap.size = len(body) + recordOverhead
	return gap
}
