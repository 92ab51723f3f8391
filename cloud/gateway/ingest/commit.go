package ingest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// change is what one device adds in one transaction, and what came of it.
type change struct {
	place
	p       *Pipeline
	batches []*batch

	// Results of the last run of do; only that of the run that was committed counts.
	home                                   string
	windows                                []window
	seen                                   Committed
	records, repeated, setAside, scattered int64
}

func (p *Pipeline) change(at place, batches []*batch) *change {
	return &change{place: at, p: p, batches: batches}
}

// finish tells the senders of the messages that they are done with. It is called once for a change
// whose batches are whole messages.
func (c *change) finish() {
	for _, b := range c.batches {
		if b.done != nil {
			b.done()
			b.done = nil
		}
	}
}

// size is how many records the change has.
func (c *change) size() (n int) {
	for _, b := range c.batches {
		n += len(b.records)
	}
	return n
}

// do is the transaction. It may run more than once.
func (c *change) do(tx store.Tx) (err error) {
	c.windows, c.seen = c.windows[:0], Committed{Tenant: c.tenant}
	c.records, c.repeated, c.setAside, c.scattered = 0, 0, 0, 0
	defer func() { // a reaction that panics costs its record, not the process
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if c.home, err = c.p.opts.Devices.Home(tx, c.device); errors.Is(err, store.ErrNotFound) {
		return errUnknown
	} else if err != nil {
		return err
	}
	for _, b := range c.batches {
		w, err := c.window(tx, b)
		if err != nil {
			return err
		}
		w.Clock.observe(b.boot, b.sentMono, b.sentWall, b.received)
		for i := range b.records {
			r := &b.records[i]
			missing := w.missing(r.at)
			if missing == 0 {
				c.repeated++
				continue
			}
			if !w.add(r.at) {
				c.scattered++
				continue
			}
			if err := c.apply(tx, b, r, &w.Clock, missing); err != nil {
				return err
			}
			c.records++
		}
	}
	if len(c.seen.Blocks) > 0 {
		if err := c.p.opts.Telemetry.PutBlocks(tx, c.seen.Blocks); err != nil {
			return err
		}
	}
	for i := range c.windows {
		if err := windows.Put(tx, &c.windows[i]); err != nil {
			return err
		}
	}
	return nil
}

// window returns the window of a batch, read once in a transaction.
func (c *change) window(tx store.Tx, b *batch) (*window, error) {
	for i := range c.windows {
		if w := &c.windows[i]; w.Lane == b.lane && w.Epoch == b.epoch {
			return w, nil
		}
	}
	w, err := windows.Get(tx, c.home, c.device, b.lane, b.epoch)
	if errors.Is(err, store.ErrNotFound) {
		w = window{Home: c.home, Device: c.device, Lane: b.lane, Epoch: b.epoch}
		w.Clock, err = c.heard(tx)
	}
	if err != nil {
		return nil, err
	}
	c.windows = append(c.windows, w)
	return &c.windows[len(c.windows)-1], nil
}

// heard returns what is known of the device's boots from its event lane, whose epoch outlives them: what a
// boot measured that was never heard of lies between those before and after, whatever its clock showed.
func (c *change) heard(tx store.Tx) (clock, error) {
	for i := range c.windows {
		if w := &c.windows[i]; w.Lane == protocol.LaneEvent {
			return clock{slices.Clone(w.Clock.Boots)}, nil
		}
	}
	for w, err := range windows.Scan(tx, store.Range{Prefix: store.Key{c.home, c.device, protocol.LaneEvent}, Reverse: true, Limit: 1}) {
		return w.Clock, err
	}
	return clock{}, nil
}

func (c *change) apply(tx store.Tx, b *batch, r *record, clk *clock, missing uint64) error {
	at := clk.correct(r.boot, r.mono, r.wall, b.received)
	switch {
	case r.bad != "":
		return c.aside(tx, b, r, at)
	case r.event != nil:
		return c.event(tx, b, r, at)
	case r.schema != nil:
		c.seen.Schemas = append(c.seen.Schemas, r.schema)
		return c.p.opts.Telemetry.PutSchema(tx, c.home, c.device, r.schema)
	case r.kind == protocol.KindBlock:
		block := cloud.Block{
			Home: c.home, Device: c.device,
			From: clk.correct(r.boot, r.block.mono, r.block.wall, b.received), To: at,
			Epoch: b.epoch, Sequence: r.at.From, Bytes: r.block.body,
		}
		if block.To.Before(block.From) {
			block.To = block.From
		}
		if c.seen.Blocks == nil {
			c.seen.Blocks = make([]cloud.Block, 0, c.size())
		}
		c.seen.Blocks = append(c.seen.Blocks, block)
		return nil // they are written together, by do
	default:
		return c.gap(tx, b, r, clk, missing, at)
	}
}

func (c *change) event(tx store.Tx, b *batch, r *record, at time.Time) error {
	e := r.event
	entry := cloud.Entry{
		ID:        protocol.DeviceEntryID(c.device, b.epoch, r.at.From),
		Home:      c.home,
		At:        at,
		Kind:      cloud.Kind(e.Kind),
		Subjects:  []cloud.Ref{{Type: cloud.RefDevice, ID: c.device}},
		Actor:     cloud.Ref{Type: cloud.RefDevice, ID: c.device},
		Args:      e.Args,
		Because:   e.Because,
		Diagnosis: e.Diagnosis,
		Risk:      e.Risk,
	}
	for _, ref := range []string{cloud.RefCommand, cloud.RefSession} {
		if id := e.Args[ref]; id != "" {
			entry.Subjects = append(entry.Subjects, cloud.Ref{Type: ref, ID: id})
		}
	}
	// Evidence is in the device's clock too: it moves by as much as the event did.
	shift := at.UnixMilli() - r.wall
	for _, v := range e.Evidence {
		v.From, v.To = v.From+shift, v.To+shift
		entry.Evidence = append(entry.Evidence, v)
	}
	if err := c.p.opts.Timeline.Append(tx, entry); err != nil {
		return err
	}
	if id := e.Args[cloud.RefCommand]; id != "" && c.p.opts.Commands != nil {
		return c.p.opts.Commands.Answered(tx, c.home, c.device, id, entry.ID)
	}
	return nil
}

func (c *change) gap(tx store.Tx, b *batch, r *record, clk *clock, missing uint64, at time.Time) error {
	from := clk.correct(r.boot, r.mono-(r.wall-r.gap.From), r.gap.From, b.received)
	to := clk.correct(r.boot, r.mono-(r.wall-r.gap.To), r.gap.To, b.received)
	return c.p.opts.Timeline.Append(tx, cloud.Entry{
		ID:       c.entryID(b, r),
		Home:     c.home,
		At:       at,
		Kind:     cloud.KindTelemetryGap,
		Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: c.device}},
		Actor:    cloud.Ref{Type: cloud.RefDevice, ID: c.device},
		Args: map[string]string{
			"reason":  r.gap.Reason,
			"records": strconv.FormatUint(missing, 10), // those of them that did get here are no loss
			"lane":    b.lane.String(),
			"from":    from.Format(time.RFC3339),
			"to":      to.Format(time.RFC3339),
		},
	})
}

func (c *change) aside(tx store.Tx, b *batch, r *record, at time.Time) error {
	c.setAside++
	if r.mute {
		return nil
	}
	return c.p.opts.Timeline.Append(tx, cloud.Entry{
		ID:       c.entryID(b, r),
		Home:     c.home,
		At:       at,
		Kind:     cloud.KindRecordSetAside,
		Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: c.device}},
		Actor:    cloud.Ref{Type: cloud.RefService, ID: "ingest"},
		Args:     map[string]string{"reason": r.bad, "lane": b.lane.String()},
	})
}

// entryID is the id of what stands for a record. Only the event lane's places make ids; the telemetry
// lane counts for itself, so what stands for one of its records gets an id of the cloud's.
func (c *change) entryID(b *batch, r *record) protocol.EntryID {
	if b.lane == protocol.LaneEvent {
		return protocol.DeviceEntryID(c.device, b.epoch, r.at.From)
	}
	return protocol.EntryID(cloud.NewID())
}
