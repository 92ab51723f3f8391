package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

// Open opens or creates the outbox and begins a new telemetry epoch. A file that cannot be read in full is
// renamed to Path.corrupt (one is kept) and a new one is begun; SetAside tells. It returns ErrLocked when
// another process holds the file.
func Open(opts Options) (*Outbox, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	o := &Outbox{opts: opts, changed: make(chan struct{}, 1), stirred: make(chan struct{}, 1), acks: make(chan struct{})}
	aside, err := setAsideIfDamaged(opts.Path)
	if err == nil {
		err = o.open()
	}
	if errors.Is(err, errCorrupt) { // pages in order, but not the records in them
		aside = err.Error()
		if err = os.Rename(opts.Path, opts.Path+".corrupt"); err == nil {
			err = o.open()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open outbox %s: %w", opts.Path, err)
	}
	if aside != "" {
		o.aside = aside
		opts.Log.Error("outbox was corrupt and is set aside", "reason", aside)
	}
	o.wake()
	return o, nil
}

func (o *Outbox) open() error {
	db, err := bolt.Open(o.opts.Path, 0o600, &bolt.Options{
		Timeout:        200 * time.Millisecond,
		NoFreelistSync: true, // rebuilt at Open, since the whole file is read there anyway
		FreelistType:   bolt.FreelistArrayType,
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return ErrLocked
	}
	if err != nil {
		return err
	}
	db.AllocSize = 64 << 10 // bbolt would grow the file by 16 MiB at a time
	o.db = db
	if err := o.begin(); err != nil {
		return errors.Join(err, db.Close())
	}
	return nil
}

// begin reads every record once, so that damage is found now and not when it is too late, and starts the epochs.
func (o *Outbox) begin() error {
	beside := o.readEpochs()
	err := o.db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketEvent, bucketTelemetry, bucketMeta, bucketNote} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		o.event = lane{epoch: counter(meta, metaEventEpoch), next: counter(meta, metaEventNext), acked: map[uint64]uint64{}}
		o.telemetry = lane{next: 1, acked: map[uint64]uint64{}}
		o.boot = counter(meta, metaBoot) + 1
		var err error
		if o.disk.event, err = survey(tx.Bucket(bucketEvent), &o.event); err != nil {
			return fmt.Errorf("event lane: %w", err)
		}
		if o.disk.telemetry, err = survey(tx.Bucket(bucketTelemetry), &o.telemetry); err != nil {
			return fmt.Errorf("telemetry lane: %w", err)
		}
		if o.event.epoch == 0 {
			o.event.epoch, o.event.next = o.newEpoch(beside.event), 1
			o.boot = max(o.boot, beside.boot+1)
		}
		o.telemetry.epoch = max(counter(meta, metaTelemetryEpoch)+1, beside.telemetry+1)
		if counter(meta, metaTelemetryEpoch) == 0 {
			o.telemetry.epoch = o.newEpoch(beside.telemetry)
		}
		for _, l := range []*lane{&o.event, &o.telemetry} {
			if _, ok := l.acked[l.epoch]; !ok {
				l.acked[l.epoch] = l.next - 1
			}
		}
		return errors.Join(setCounter(meta, metaEventEpoch, o.event.epoch), setCounter(meta, metaEventNext, o.event.next),
			setCounter(meta, metaTelemetryEpoch, o.telemetry.epoch), setCounter(meta, metaBoot, o.boot))
	})
	if err != nil {
		return err
	}
	return o.writeEpochs()
}

// survey checks every record of a lane and notes, per epoch, the sequence before the first one held.
func survey(b *bolt.Bucket, l *lane) (size int64, err error) {
	return size, b.ForEach(func(k, v []byte) error {
		epoch, seq, err := parseKey(k)
		if err != nil {
			return err
		}
		if _, err := decode(v); err != nil {
			return fmt.Errorf("record %d.%d: %w", epoch, seq, err)
		}
		if _, ok := l.acked[epoch]; !ok {
			l.acked[epoch] = seq - 1
		}
		size += cost(v)
		return nil
	})
}

func (o *Outbox) newEpoch(before uint64) uint64 {
	now := time.Now()
	if now.Before(o.opts.Floor) {
		now = o.opts.Floor
	}
	byTime := uint64(max(now.Unix(), 1))*1024 + rand.Uint64N(1024)
	return max(byTime, before+1)
}

// marks are the numbers that must outlive a corrupt file.
type marks struct{ event, telemetry, boot uint64 }

func (o *Outbox) readEpochs() (m marks) {
	b, err := os.ReadFile(o.opts.Path + ".epochs")
	if err != nil {
		return m
	}
	for i, f := range bytes.Fields(b) {
		v, err := strconv.ParseUint(string(f), 10, 64)
		if err != nil || v > protocol.MaxSequence || i > 2 {
			return marks{}
		}
		*[]*uint64{&m.event, &m.telemetry, &m.boot}[i] = v
	}
	return m
}

func (o *Outbox) writeEpochs() error {
	text := fmt.Appendf(nil, "%d %d %d\n", o.event.epoch, o.telemetry.epoch, o.boot)
	return agent.WriteFile(o.opts.Path+".epochs", text)
}
