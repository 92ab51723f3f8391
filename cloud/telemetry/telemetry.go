// Package telemetry keeps what devices measured.
//
// A block is stored as it came from the device, by home, device and corrected time, and decoded when
// somebody looks: writing costs no decoding, and keeps the device's own bytes as evidence. Small blocks that
// are committed together share a row, a run. Once an hour is over, its blocks are rolled up into one row of minima, maxima and means per metric, which charts over
// days read, and which stays when the blocks have aged out.
//
//	block (as it came) --- an hour later ---> hour (min, max, mean, n per metric)
//	 kept 30 days                              kept 400 days
package telemetry

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// schema is one description of columns that a device has sent.
type schema struct {
	Home    string            `json:"home"`
	Device  string            `json:"device"`
	Schema  string            `json:"schema"` // hexadecimal id
	Metrics []protocol.Metric `json:"metrics"`
}

// schemas are kept per device, although their ids are hashes: a device can spoil only its own.
var schemas = store.NewTable("telemetry_schemas", store.Spec[schema]{
	Key:   store.Columns{store.Text("home"), store.Text("device"), store.Text("schema")},
	KeyOf: func(s *schema) store.Key { return store.Key{s.Home, s.Device, s.Schema} },
})

// hour is the summary of one hour of one device.
type hour struct {
	Home   string    `json:"home"`
	Device string    `json:"device"`
	Begins time.Time `json:"begins"`
	Series []summary `json:"series"`
}

type summary struct {
	Metric   string              `json:"metric"`
	Instance string              `json:"instance,omitempty"`
	Kind     protocol.MetricKind `json:"kind"`
	N        int                 `json:"n"`
	Min      float64             `json:"min"`
	Max      float64             `json:"max"`
	Mean     float64             `json:"mean"`
}

var hours = store.NewTable("telemetry_hours", store.Spec[hour]{
	Key:   store.Columns{store.Text("home"), store.Text("device"), store.Time("begins")},
	KeyOf: func(h *hour) store.Key { return store.Key{h.Home, h.Device, h.Begins} },
})

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{runs, schemas, hours} }

// QueueHour is where the roll-up of an hour waits, and QueueForget where a day waits to be forgotten: its
// blocks first, its hours much later. Their handlers are Jobs.RollUp and Jobs.Forget.
const (
	QueueHour   = "telemetry-hour"
	QueueForget = "telemetry-forget"
)

// rollUpAfter is how long after its end an hour is rolled up: most of what was delayed has come by then,
// and what comes later rolls it up again.
const rollUpAfter = 10 * time.Minute

// Keeper writes and reads telemetry. The zero value is ready and it is safe for concurrent use.
type Keeper struct{}

// PutSchema keeps the description of columns that later blocks of the device refer to.
func (Keeper) PutSchema(tx store.Tx, home, device string, s *protocol.Schema) error {
	id := strconv.FormatUint(s.ID, 16)
	if known, err := schemas.Has(tx, home, device, id); err != nil || known {
		return err
	}
	return schemas.Put(tx, &schema{Home: home, Device: device, Schema: id, Metrics: s.Metrics})
}

// span is the payload of a job: an hour to roll up, or a day to forget.
type span struct {
	Home   string    `json:"home"`
	Device string    `json:"device"`
	Begins time.Time `json:"begins"`
}

func enqueue(tx store.Tx, queue string, s span, due time.Time) error {
	payload, err := json.Marshal(s)
	if err != nil {
		return err
	}
	id := s.Device + "/" + strconv.FormatInt(s.Begins.Unix(), 36)
	return store.Enqueue(tx, store.Job{Queue: queue, ID: id, Payload: payload, Due: due})
}

// PutBlocks keeps blocks of one device, and has the hours that they touch rolled up when those are over.
func (Keeper) PutBlocks(tx store.Tx, bs []cloud.Block) error {
	if err := putRuns(tx, bs); err != nil {
		return err
	}
	var last time.Time // the hour that was enqueued last: most blocks of a commit share it
	for i := range bs {
		b := &bs[i]
		for h := b.From.UTC().Truncate(time.Hour); !h.After(b.To) && h.Sub(b.From) < longest; h = h.Add(time.Hour) {
			if h.Equal(last) {
				continue
			}
			last = h
			if err := enqueue(tx, QueueHour, span{b.Home, b.Device, h}, h.Add(time.Hour+rollUpAfter)); err != nil {
				return err
			}
		}
	}
	return nil
}

// longest is how much time a block may cover: an agent seals every five minutes. Rows beyond it are
// not found by a query that begins after the block. A run of several covers less (maxCover).
const longest = 2 * time.Hour

// decoder decodes the blocks of one device, reading each schema once.
type decoder struct {
	tx           store.Tx
	home, device string
	known        map[uint64]*protocol.Schema
}

// rows decodes a block into samples whose Wall is corrected time. ok is false for a block that cannot be
// read: its schema never came, or its data is malformed.
func (d *decoder) rows(b cloud.Block) (rows []protocol.Sample, ok bool, err error) {
	var block protocol.Block
	if protocol.Unmarshal(b.Bytes, &block) != nil {
		return nil, false, nil
	}
	s := d.known[block.Schema]
	if s == nil {
		row, err := schemas.Get(d.tx, d.home, d.device, strconv.FormatUint(block.Schema, 16))
		if errors.Is(err, store.ErrNotFound) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		s = &protocol.Schema{Version: protocol.Version, ID: block.Schema, Metrics: row.Metrics}
		d.known[block.Schema] = s
	}
	rows, err = block.Samples(s)
	if err != nil {
		return nil, false, nil
	}
	from := b.From.UnixMilli()
	for i := range rows {
		rows[i].Wall = from + rows[i].Mono - block.Mono
	}
	return rows, true, nil
}

// scan calls each with the rows of a device between from and to, a block at a time in order of their
// begin, and returns how many blocks could not be read.
func scan(tx store.Tx, home, device string, from, to time.Time, each func([]protocol.Sample)) (unread int, err error) {
	d := &decoder{tx: tx, home: home, device: device, known: map[uint64]*protocol.Schema{}}
	lo, hi := from.UnixMilli(), to.UnixMilli()
	for b, err := range inOrder(tx, home, device, from.Add(-longest), to) {
		if err != nil {
			return unread, err
		}
		if b.To.Before(from) || !b.From.Before(to) {
			continue
		}
		rows, ok, err := d.rows(b)
		if err != nil {
			return unread, err
		}
		if !ok {
			unread++
			continue
		}
		for len(rows) > 0 && rows[0].Wall < lo {
			rows = rows[1:]
		}
		for len(rows) > 0 && rows[len(rows)-1].Wall >= hi {
			rows = rows[:len(rows)-1]
		}
		if len(rows) > 0 {
			each(rows)
		}
	}
	return unread, nil
}

// Places calls each with the place on the telemetry lane of every block that is kept of a device, in the
// order of time: for an audit against what the device was told.
func (Keeper) Places(tx store.Tx, home, device string, each func(epoch, sequence uint64)) error {
	for b, err := range inOrder(tx, home, device, nil, nil) {
		if err != nil {
			return err
		}
		each(b.Epoch, b.Sequence)
	}
	return nil
}
