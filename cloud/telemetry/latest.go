package telemetry

import (
	"slices"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Latest returns the last reading of a device and when it was taken, or nil when there is none that can be
// read. It looks at the newest blocks only, so it costs the same however long the past is.
func (Keeper) Latest(tx store.Tx, home, device string) (latest *protocol.Sample, at time.Time, err error) {
	unreadable := 4 // blocks that are passed over
	d := &decoder{tx: tx, home: home, device: device, known: map[uint64]*protocol.Schema{}}
	var begin time.Time // of the block that latest is from
	var bs []cloud.Block
	for row, err := range runs.Scan(tx, store.Range{Prefix: store.Key{home, device}, Reverse: true}) {
		if err == nil {
			bs, err = appendRun(bs[:0], row)
		}
		if err != nil {
			return nil, time.Time{}, err
		}
		if latest != nil && !bs[0].From.Add(maxCover).After(begin) {
			break // neither this run nor those before it hold a later block
		}
		for _, b := range slices.Backward(bs) {
			if latest != nil && !b.From.After(begin) {
				break
			}
			rows, ok, err := d.rows(b)
			if err != nil {
				return nil, time.Time{}, err
			}
			if ok && len(rows) > 0 {
				latest, begin = &rows[len(rows)-1], b.From
				break
			}
			unreadable--
		}
		if unreadable <= 0 {
			break
		}
	}
	if latest != nil {
		at = time.UnixMilli(latest.Wall).UTC()
	}
	return latest, at, nil
}

// Schema returns the description of a device's columns, or store.ErrNotFound.
func (Keeper) Schema(tx store.Tx, home, device string, id uint64) (*protocol.Schema, error) {
	row, err := schemas.Get(tx, home, device, strconv.FormatUint(id, 16))
	if err != nil {
		return nil, err
	}
	return &protocol.Schema{Version: protocol.Version, ID: id, Metrics: row.Metrics}, nil
}
