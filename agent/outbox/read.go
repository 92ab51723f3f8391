package outbox

import (
	"fmt"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

// Acknowledged is the highest sequence of an epoch that the cloud is known to have, and whether the outbox
// knows the epoch.
func (o *Outbox) Acknowledged(l protocol.Lane, epoch uint64) (seq uint64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	seq, ok = o.lane(l).acked[epoch]
	return seq, ok
}

// Read returns the first unacknowledged records of the lane at or after from: consecutive, of one epoch, at
// most maxRecords and about maxBytes, but at least one if there is any. A run without records means that
// there is nothing to send.
func (o *Outbox) Read(l protocol.Lane, from agent.Place, maxRecords, maxBytes int) (agent.Run, error) {
	o.mu.Lock()
	ln := o.lane(l)
	epochs := slices.Sorted(maps.Keys(ln.acked))
	acked := maps.Clone(ln.acked)
	o.mu.Unlock()
	for _, epoch := range epochs {
		if epoch < from.Epoch {
			continue
		}
		at := acked[epoch] + 1
		if epoch == from.Epoch {
			at = max(at, from.Sequence)
		}
		r, err := o.readEpoch(l, epoch, at, maxRecords, maxBytes)
		if err != nil || len(r.Records) > 0 {
			return r, err
		}
	}
	return agent.Run{}, nil
}

func (o *Outbox) readEpoch(l protocol.Lane, epoch, at uint64, maxRecords, maxBytes int) (agent.Run, error) {
	r := agent.Run{Epoch: epoch}
	size := 0
	take := func(seq uint64, rec protocol.Record) bool {
		if len(r.Records) > 0 && (len(r.Records) == maxRecords || size+len(rec.Body) > maxBytes || seq != r.Next().Sequence) {
			return false
		}
		if len(r.Records) == 0 {
			r.First = seq
		}
		size += len(rec.Body) + recordOverhead
		r.Records = append(r.Records, rec)
		return true
	}
	// Memory first, and then the disk: what moves to disk in between is found there, and what memory holds
	// is newer than anything on disk.
	o.mu.Lock()
	onDisk := *o.disk.of(l) > 0
	var memory []held
	if l == protocol.LaneTelemetry && epoch == o.telemetry.epoch {
		i, _ := slices.BinarySearchFunc(o.memory, at, func(h held, at uint64) int {
			if h.seq+h.rec.Span <= at {
				return -1
			}
			return 1
		})
		memory = slices.Clone(o.memory[i:min(len(o.memory), i+maxRecords)])
	}
	o.mu.Unlock()
	if onDisk && (len(memory) == 0 || memory[0].seq > at) {
		err := o.db.View(func(tx *bolt.Tx) error {
			name := bucketTelemetry
			if l == protocol.LaneEvent {
				name = bucketEvent
			}
			cur := tx.Bucket(name).Cursor()
			k, v := cur.Seek(key(epoch, at))
			if l == protocol.LaneTelemetry { // the gap before may reach over at
				if pk, pv := cur.Prev(); pk != nil {
					pe, ps, err := parseKey(pk)
					if err != nil {
						return err
					}
					rec, err := decode(pv)
					if err != nil {
						return err
					}
					if pe == epoch && ps+rec.Span > at {
						take(ps, rec)
					}
				}
				k, v = cur.Seek(key(epoch, at))
			}
			for ; k != nil; k, v = cur.Next() {
				e, seq, err := parseKey(k)
				if err != nil {
					return err
				}
				if e != epoch {
					break
				}
				rec, err := decode(v)
				if err != nil {
					return err
				}
				if !take(seq, rec) {
					break
				}
			}
			return nil
		})
		if err != nil {
			return agent.Run{}, fmt.Errorf("read outbox: %w", err)
		}
	}
	for _, h := range memory {
		if len(r.Records) > 0 && h.seq < r.Next().Sequence {
			continue // was on disk already
		}
		if !take(h.seq, h.rec) {
			break
		}
	}
	return r, nil
}
