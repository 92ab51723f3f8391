// Package outbox keeps what the device has to say until the cloud has it.
//
// There are two lanes, each with its own epoch and sequence:
//
//	event      on disk before Event returns; never dropped
//	telemetry  in memory while the cloud acknowledges it promptly, so that a calm day writes nothing to
//	           flash; spilled to disk in batches otherwise. When the quota is reached the oldest goes
//	           first and a gap record with the same sequences takes its place: never a silent hole
//
// A record is removed only by Acked. Removal is lazy, in the next transaction that is due anyway: after a
// restart a record may be sent again that the cloud already has, and the cloud takes each place once.
//
// # Epochs
//
// A sequence is used once within its epoch, also when memory or the whole file is lost. The telemetry
// epoch therefore changes at every Open, and the event epoch whenever a file is begun. A new epoch is the
// greatest of: the one before plus one, from the file; the same from a small file beside it that outlives
// a corrupt outbox; and the seconds since 1970 times 1024, by the device's clock or Options.Floor if that
// is later. Only a device that loses both files and whose clock then lies before the floor can repeat one,
// and the floor (its enrolment) lies after everything it sent under an older identity.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

var (
	// ErrLocked is returned by Open when another process holds the file.
	ErrLocked = errors.New("outbox is in use by another process")
	// ErrFull is returned by Event when events alone fill the quota.
	ErrFull = errors.New("outbox is full of events")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("outbox is closed")
)

// Options configures an Outbox. Path, Device and Clock are required.
type Options struct {
	Path       string        // bbolt file, created with mode 0600
	Device     string        // whose entries these are
	Clock      *agent.Clock  // stamps every record
	MaxBytes   int64         // quota on disk; 0 means 64 MiB, the least is 256 KiB
	MaxMemory  int           // telemetry held in memory, bytes; 0 means 1 MiB
	SpillAfter time.Duration // unacknowledged telemetry is written to disk after this; 0 means 5s
	SpillEvery time.Duration // and from then on at least this often while nothing is acknowledged; 0 means 5m
	SpillBatch int           // or as soon as so many records wait; 0 means 64
	Floor      time.Time     // the device's clock cannot be before this; zero means no floor
	Log        *slog.Logger  // nil means discard
}

func (o *Options) fill() error {
	if o.Path == "" || o.Clock == nil {
		return errors.New("outbox: Path and Clock are required")
	}
	if err := protocol.CheckID("device", o.Device); err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 20
	}
	if o.MaxBytes < 256<<10 {
		return fmt.Errorf("outbox: MaxBytes is %d, want at least %d", o.MaxBytes, 256<<10)
	}
	if o.MaxMemory == 0 {
		o.MaxMemory = 1 << 20
	}
	if o.SpillAfter == 0 {
		o.SpillAfter = 5 * time.Second
	}
	if o.SpillEvery == 0 {
		o.SpillEvery = 5 * time.Minute
	}
	if o.SpillBatch == 0 {
		o.SpillBatch = 64
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Outbox is safe for concurrent use.
type Outbox struct {
	opts  Options
	db    *bolt.DB
	boot  uint64 // number of this Open, from 1
	aside string // why the former file was set aside, or empty

	changed chan struct{} // holds one token when there may be something to send
	stirred chan struct{} // and one when there may be something to write

	write sync.Mutex // held around every bbolt write transaction; taken before mu

	mu        sync.Mutex
	event     lane
	telemetry lane
	acks      chan struct{} // closed and replaced when an ack frees something
	puts      []*put        // events waiting for the next commit
	leading   bool          // some caller is committing puts
	closed    bool

	memory      []held // telemetry of the current epoch that is not on disk, in order
	memoryBytes int
	spilling    bool      // the cloud has not kept up; memory is a write buffer
	lastSpill   time.Time // of the last attempt
	disk        usage     // records on disk
	stale       int       // events acknowledged and still on disk
	dirty       bool      // telemetry acknowledged and perhaps still on disk
}

// usage is bytes on disk, with what bbolt adds to a record.
type usage struct{ event, telemetry int64 }

func (u *usage) of(l protocol.Lane) *int64 {
	if l == protocol.LaneEvent {
		return &u.event
	}
	return &u.telemetry
}

func (u *usage) sum() int64 { return u.event + u.telemetry }

// lane is what is known of one lane without looking at the disk.
type lane struct {
	epoch uint64            // current
	next  uint64            // sequence of the next record in it
	acked map[uint64]uint64 // highest acknowledged sequence of every epoch that has anything on disk or in memory
}

// held is a record in memory with its place.
type held struct {
	seq   uint64
	rec   protocol.Record
	added time.Time
	size  int
}

type put struct {
	rec  protocol.Record
	note string // to be set in the same commit; empty for none
	text func(protocol.EntryID) []byte
	seq  uint64
	err  error
	done chan struct{}
}

// Boot is the number of this start of the agent, from 1.
func (o *Outbox) Boot() uint64 { return o.boot }

// SetAside says why the former file was set aside at Open; it is empty when it was not.
func (o *Outbox) SetAside() string { return o.aside }

// Changed holds a token whenever there may be something new to send.
func (o *Outbox) Changed() <-chan struct{} { return o.changed }

func (o *Outbox) wake() {
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// Event implements agent.Log. Concurrent calls share one commit. It does not wait for the network. Errors
// wrap ErrFull, ErrClosed, or what the disk said; then the event is not recorded.
func (o *Outbox) Event(ctx context.Context, e *protocol.Event) (protocol.EntryID, error) {
	return o.EventNote(ctx, e, "", nil)
}

// EventNote implements agent.Journal.
func (o *Outbox) EventNote(_ context.Context, e *protocol.Event, name string, value func(protocol.EntryID) []byte) (protocol.EntryID, error) {
	e.Version = protocol.Version
	body, err := protocol.Marshal(e)
	if err != nil {
		return "", err
	}
	if err := protocol.Unmarshal(body, new(protocol.Event)); err != nil {
		return "", fmt.Errorf("event %s would be refused: %w", e.Kind, err)
	}
	if err := checkSize(body); err != nil {
		return "", err
	}
	p := &put{rec: o.record(protocol.KindEvent, body), note: name, text: value, done: make(chan struct{})}
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return "", ErrClosed
	}
	o.puts = append(o.puts, p)
	lead := !o.leading
	o.leading = true
	o.mu.Unlock()
	if lead {
		o.commitPuts()
	}
	<-p.done
	if p.err != nil {
		return "", p.err
	}
	return protocol.DeviceEntryID(o.opts.Device, o.event.epoch, p.seq), nil
}

// commitPuts commits waiting events, also those that arrive meanwhile, until none is left.
func (o *Outbox) commitPuts() {
	for {
		o.write.Lock()
		o.mu.Lock()
		puts := o.puts
		o.puts = nil
		if len(puts) == 0 {
			o.leading = false
			o.mu.Unlock()
			o.write.Unlock()
			return
		}
		o.mu.Unlock()
		err := o.writeEvents(puts)
		o.write.Unlock()
		for _, p := range puts {
			p.err = err
			close(p.done)
		}
		o.wake()
	}
}

// Telemetry implements agent.Log. It never waits for disk or network; what does not fit in memory goes
// oldest first, with a gap in its place.
func (o *Outbox) Telemetry(kind protocol.Kind, body []byte) error {
	if kind != protocol.KindSchema && kind != protocol.KindBlock {
		return fmt.Errorf("telemetry lane: %w: kind %d", protocol.ErrInvalid, kind)
	}
	if err := checkSize(body); err != nil {
		return err
	}
	rec := o.record(kind, body)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrClosed
	}
	h := held{seq: o.telemetry.next, rec: rec, added: time.Now(), size: len(body) + recordOverhead}
	o.telemetry.next++
	o.memory = append(o.memory, h)
	o.memoryBytes += h.size
	if o.memoryBytes > o.opts.MaxMemory {
		o.dropMemory()
	}
	o.wake()
	o.stir()
	return nil
}

// MaxRecord is the largest body that a record may have in bytes: it must fit a message with its envelope.
const MaxRecord = 200 << 10

// recordOverhead is what a record costs beyond its body: envelope, key, checksum and page slot.
const recordOverhead = 80

func checkSize(body []byte) error {
	if len(body) > MaxRecord {
		return fmt.Errorf("%w: record of %d bytes, limit %d", protocol.ErrInvalid, len(body), MaxRecord)
	}
	return nil
}

func (o *Outbox) record(kind protocol.Kind, body []byte) protocol.Record {
	return protocol.Record{Kind: kind, Boot: o.boot, Mono: o.opts.Clock.Mono(), Wall: o.opts.Clock.Wall(), Span: 1, Body: body}
}

// dropMemory makes room in memory for a sixteenth of its limit. The caller holds mu.
func (o *Outbox) dropMemory() {
	var drop []held
	keep := make([]held, 0, len(o.memory))
	for i, h := range o.memory {
		if o.memoryBytes <= o.opts.MaxMemory*15/16 || i == len(o.memory)-1 || h.rec.Kind == protocol.KindSchema {
			keep = append(keep, h)
			continue
		}
		o.memoryBytes -= h.size
		if n := len(keep); n > 0 && keep[n-1].rec.Kind == protocol.KindGap && keep[n-1].seq+keep[n-1].rec.Span == h.seq {
			o.memoryBytes -= keep[n-1].size
			keep[n-1] = widen(keep[n-1], h.rec)
			o.memoryBytes += keep[n-1].size
		} else {
			g := widen(held{seq: h.seq, added: h.added}, h.rec)
			keep = append(keep, g)
			o.memoryBytes += g.size
		}
		drop = append(drop, h)
	}
	o.memory = keep
	o.opts.Log.Warn("telemetry dropped from memory", "records", len(drop))
}

// Acked takes a cumulative acknowledgement: everything of the lane's epoch up to committed is durable in
// the cloud. It returns the sequences that were not acknowledged before, from..to, or 0, 0. An
// acknowledgement of what was never sent, or of an unknown epoch, is ignored.
func (o *Outbox) Acked(l protocol.Lane, epoch, committed uint64) (from, to uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ln := o.lane(l)
	before, known := ln.acked[epoch]
	if !known || committed <= before || (epoch == ln.epoch && committed >= ln.next) {
		return 0, 0
	}
	ln.acked[epoch] = committed
	if l == protocol.LaneEvent {
		o.stale += int(committed - before)
	} else {
		o.dirty = true
	}
	if l == protocol.LaneTelemetry && epoch == ln.epoch {
		for len(o.memory) > 0 && o.memory[0].seq+o.memory[0].rec.Span-1 <= committed {
			o.memoryBytes -= o.memory[0].size
			o.memory = o.memory[1:]
		}
		if len(o.memory) == 0 {
			o.memory = nil // let the array go
			o.spilling = false
		}
	}
	close(o.acks)
	o.acks = make(chan struct{})
	o.stir()
	return before + 1, committed
}

// WaitAcked returns when the cloud has acknowledged the event with this id, or the context's error.
func (o *Outbox) WaitAcked(ctx context.Context, id protocol.EntryID) error {
	_, epoch, seq, ok := id.Device()
	if !ok {
		return fmt.Errorf("%w: %q is no id of a device", protocol.ErrInvalid, id)
	}
	for {
		o.mu.Lock()
		done, acks := o.event.acked[epoch] >= seq, o.acks
		o.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-acks:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (o *Outbox) lane(l protocol.Lane) *lane {
	if l == protocol.LaneEvent {
		return &o.event
	}
	return &o.telemetry
}

// Run writes to disk what has to be there and removes what need not, until ctx ends. It sleeps while there is
// nothing of either kind. It always returns nil.
func (o *Outbox) Run(ctx context.Context) error {
	every := min(o.opts.SpillAfter/2, 2*time.Second)
	tick := time.NewTimer(every)
	defer tick.Stop()
	for waiting := true; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := o.maintain(false); err != nil {
				o.opts.Log.Error("outbox cannot write; telemetry stays in memory", "error", err)
			}
			waiting = false
		case <-o.stirred:
		}
		switch idle := o.idle(); {
		case idle:
			tick.Stop()
			waiting = false
		case !waiting:
			tick.Reset(every)
			waiting = true
		}
	}
}

// idle reports whether nothing waits for maintain. Whoever changes that stirs.
func (o *Outbox) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.memory) == 0 && !o.toClean()
}

// toClean reports whether enough on disk is acknowledged to be removed. The caller holds mu.
func (o *Outbox) toClean() bool {
	return o.dirty && o.disk.telemetry > 0 || o.stale >= o.opts.SpillBatch
}

func (o *Outbox) stir() {
	select {
	case o.stirred <- struct{}{}:
	default:
	}
}

// Close spills what is in memory and closes the file. Nothing may be called after it but Acked and Close.
func (o *Outbox) Close() error {
	o.mu.Lock()
	closed := o.closed
	o.closed = true
	o.mu.Unlock()
	if closed {
		return nil
	}
	return errors.Join(o.maintain(true), o.db.Close())
}
