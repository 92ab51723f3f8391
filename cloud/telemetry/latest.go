package telemetry

import (
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Latest returns the last reading of a device and when it was taken, or nil when there is none that can be
// read. It looks at the newest blocks only, so it costs the same however long the past is.
func (Keeper) Latest(tx store.Tx, home, device string) (*protocol.Sample, time.Time, error) {
	const unreadable = 4 // blocks that are passed over
	d := &decoder{tx: tx, home: home, device: device, known: map[uint64]*protocol.Schema{}}
	for b, err := range blocks.Scan(tx, store.Range{Prefix: store.Key{home, device}, Reverse: true, Limit: unreadable}) {
		if err != nil {
			return nil, time.Time{}, err
		}
		rows, ok, err := d.rows(b)
		if err != nil {
			return nil, time.Time{}, err
		}
		if ok && len(rows) > 0 {
			last := rows[len(rows)-1]
			return &last, time.UnixMilli(last.Wall).UTC(), nil
		}
	}
	return nil, time.Time{}, nil
}

// Schema returns the description of a device's columns, or store.ErrNotFound.
func (Keeper) Schema(tx store.Tx, home, device string, id uint64) (*protocol.Schema, error) {
	row, err := schemas.Get(tx, home, device, strconv.FormatUint(id, 16))
	if err != nil {
		return nil, err
	}
	return &protocol.Schema{Version: protocol.Version, ID: id, Metrics: row.Metrics}, nil
}
