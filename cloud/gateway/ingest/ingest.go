// Package ingest commits what devices send: each record once, in whichever order it comes, and tells
// the device only afterwards.
//
//	Submit ---> queue by device ---> group commit ---> one Ack per device, lane and epoch
//	 decodes,    bounded; waits       one transaction    telemetry to observers
//	 checks      when full            per home
//
// Submit runs in the goroutine of the connection, so decoding uses every processor and waiting is
// back-pressure on that device alone. One loop takes from every device in turn and commits what has
// gathered while the last commit was being synced, and the devices of that one are told while the next is
// under way; nothing is done per message that can be done per batch.
//
// A record that cannot be understood, or whose consequences fail, becomes an entry "record.set_aside" and
// never blocks the records around it. A store that is full or unreachable is waited for: nothing is
// acknowledged, sockets stall, memory stays bounded, and devices keep what they have.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Devices says where a device belongs.
type Devices interface {
	// Home returns the home of a device, or store.ErrNotFound.
	Home(tx store.Tx, device string) (home string, err error)
}

// Timeline appends an entry and runs what follows from it, in the same transaction.
type Timeline interface {
	Append(tx store.Tx, e cloud.Entry) error
}

// Telemetry keeps schemas and blocks as they came.
type Telemetry interface {
	PutSchema(tx store.Tx, home, device string, s *protocol.Schema) error
	// PutBlocks keeps the blocks that one commit brings of a device.
	PutBlocks(tx store.Tx, blocks []cloud.Block) error
}

// Commands is told when an event of a device answers a command.
type Commands interface {
	Answered(tx store.Tx, home, device, command string, by protocol.EntryID) error
}

// Committed is what an observer gets of one device after each commit that held telemetry of it.
type Committed struct {
	Tenant  string
	Schemas []*protocol.Schema
	Blocks  []cloud.Block
}

// Options configures a Pipeline. DB, Devices, Timeline, Telemetry and Ack are required.
type Options struct {
	DB        store.DB
	Devices   Devices
	Timeline  Timeline
	Telemetry Telemetry
	Commands  Commands // nil: no commands are kept
	// Ack tells a device what is committed. It must not block.
	Ack func(tenant, device string, a protocol.Ack)
	// Unknown is called when a device that is in no registry has sent something, which is not
	// acknowledged. It must not block; it may be nil.
	Unknown func(tenant, device string)
	// Observe is given committed telemetry. It must not block; it may be nil.
	Observe func(Committed)

	MaxDevice int // bytes of one device that wait or are being committed; 0 means 1 MiB
	MaxQueue  int // and of all devices; 0 means 64 MiB
	MaxCommit int // bytes taken into one commit; 0 means 4 MiB
	Shards    int // commits at a time, each device always in the same; 0 means 1, which suits bolt
	Clock     func() time.Time
	// Believed returns the time, and whether it may be believed; while it may not, Submit waits. A message
	// then comes at that time. nil: it comes when its Received says.
	Believed func() (time.Time, bool)
	Logger   *slog.Logger // nil discards
}

// Stats counts what happened since the start.
type Stats struct {
	Batches   atomic.Int64 // taken in
	Records   atomic.Int64 // committed
	Repeated  atomic.Int64 // records that were committed before
	SetAside  atomic.Int64
	Malformed atomic.Int64 // messages
	Unknown   atomic.Int64 // messages of devices that are in no registry
	Scattered atomic.Int64 // records too far out of order, left for the device to send again
	Commits   atomic.Int64
	Retries   atomic.Int64 // commits that the store could not take and that were tried again
}

// Pipeline takes messages in. It is safe for concurrent use.
type Pipeline struct {
	opts   Options
	log    *slog.Logger
	shards []*queue
	spare  spare
	stats  Stats
}

// New returns a Pipeline that commits nothing until Run.
func New(opts Options) (*Pipeline, error) {
	if opts.DB == nil || opts.Devices == nil || opts.Timeline == nil || opts.Telemetry == nil || opts.Ack == nil {
		return nil, errors.New("ingest: DB, Devices, Timeline, Telemetry and Ack are required")
	}
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&opts.MaxDevice, 1<<20)
	def(&opts.MaxQueue, 64<<20)
	def(&opts.MaxCommit, 4<<20)
	def(&opts.Shards, 1)
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Pipeline{opts: opts, log: opts.Logger}
	for range opts.Shards {
		p.shards = append(p.shards, newQueue(opts.MaxDevice, opts.MaxQueue/opts.Shards))
	}
	return p, nil
}

// Stats returns the live counters.
func (p *Pipeline) Stats() *Stats { return &p.stats }

// Submit decodes a message and queues it, waiting while the device or the pipeline has too much on its
// way and while the clock is not to be believed. waits, when not nil, is called before it waits. The error wraps ErrMalformed for a message that no
// working agent sends, or is that of ctx.
func (p *Pipeline) Submit(ctx context.Context, m Message, waits func()) error {
	if err := p.believe(ctx, &m, waits); err != nil {
		return err
	}
	b, err := p.spare.prepare(&m)
	if err != nil {
		p.stats.Malformed.Add(1)
		return err
	}
	p.stats.Batches.Add(1)
	at := place{m.Tenant, m.Device}
	return p.shard(at).put(ctx, at, b, waits)
}

// believe waits until the clock is to be believed; the message then comes at that time.
func (p *Pipeline) believe(ctx context.Context, m *Message, waits func()) error {
	if p.opts.Believed == nil {
		return nil
	}
	now, ok := p.opts.Believed()
	if !ok && waits != nil {
		waits()
	}
	for !ok {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		now, ok = p.opts.Believed()
	}
	m.Received = now
	return nil
}

func (p *Pipeline) shard(at place) *queue {
	if len(p.shards) == 1 {
		return p.shards[0]
	}
	h := uint32(2166136261) // FNV-1a
	for i := range len(at.device) {
		h = (h ^ uint32(at.device[i])) * 16777619
	}
	return p.shards[h%uint32(len(p.shards))]
}

// Run commits until ctx ends. What is queued then is not committed and not acknowledged: devices send it
// again. It returns nil.
func (p *Pipeline) Run(ctx context.Context) error {
	done := make(chan struct{}, len(p.shards))
	for _, q := range p.shards {
		go func() {
			p.loop(ctx, q)
			done <- struct{}{}
		}()
	}
	for range p.shards {
		<-done
	}
	return nil
}

func (p *Pipeline) loop(ctx context.Context, q *queue) {
	var telling sync.WaitGroup // of the commit before
	defer telling.Wait()
	for {
		portions := q.take(ctx, p.opts.MaxCommit)
		if portions == nil {
			return
		}
		done := p.commit(ctx, portions, &telling)
		telling.Wait()
		telling.Go(func() {
			p.tell(done)
			for _, o := range portions {
				q.settle(o, &p.spare)
			}
		})
	}
}

// fault is a change that failed because of one of its records.
type fault struct {
	change *change
	why    error
}

// commit commits portions of many devices together, and each alone where it fails. It returns what is still
// to be told; the rest it tells itself, once those of the commit before have been.
func (p *Pipeline) commit(ctx context.Context, portions []portion, telling *sync.WaitGroup) []*change {
	todo := make([]*change, len(portions))
	for i, o := range portions {
		todo[i] = p.change(o.line.place, o.batches)
	}
	work := make([]store.Work, 0, len(todo))
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		work = work[:0]
		for _, c := range todo {
			work = append(work, store.Work{Tenant: c.tenant, Do: c.do})
		}
		p.stats.Commits.Add(1)
		errs := p.opts.DB.Batch(ctx, work)
		done, again := make([]*change, 0, len(todo)), todo[:0]
		var faulty []fault
		for i, c := range todo {
			switch err := errs[i]; {
			case err == nil:
				done = append(done, c)
			case errors.Is(err, errUnknown):
				telling.Wait()
				p.unknown(c)
			case ctx.Err() != nil:
				return done
			case passing(err):
				again = append(again, c)
				p.log.Warn("commit failed, trying again", "tenant", c.tenant, "device", c.device, "error", err)
			default:
				faulty = append(faulty, fault{c, err})
			}
		}
		if todo = again; len(todo)+len(faulty) == 0 {
			return done
		}
		telling.Wait()
		p.tell(done)
		for _, f := range faulty {
			p.isolate(ctx, f.change, f.why)
		}
		if len(todo) == 0 {
			return nil
		}
		p.stats.Retries.Add(1)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// passing tells an error of the store, which says nothing about the records, from one about them.
func passing(err error) bool {
	for _, e := range []error{store.ErrUnavailable, store.ErrFull, store.ErrConflict, store.ErrClosed, store.ErrCorrupt, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// isolate commits the records of a change one by one, because together they failed with why. The one
// that is at fault is set aside.
func (p *Pipeline) isolate(ctx context.Context, c *change, why error) {
	p.log.Warn("commit failed, going record by record", "tenant", c.tenant, "device", c.device, "error", why)
	for _, b := range c.batches {
		for i := range b.records {
			one := *b
			one.records, one.done = b.records[i:i+1], nil
			single := p.change(c.place, []*batch{&one})
			err := p.update(ctx, single)
			if err != nil && ctx.Err() == nil {
				p.log.Error("record set aside", "tenant", c.tenant, "device", c.device, "error", err)
				if one.records[0].bad == "" {
					one.records[0].bad = "its consequences could not be committed"
				} else {
					one.records[0].mute = true // even saying so fails: keep the lane going
				}
				single = p.change(c.place, []*batch{&one})
				err = p.update(ctx, single)
			}
			if err != nil {
				// Not acknowledged, so the device sends it and all after it again.
				p.log.Error("record not committed", "tenant", c.tenant, "device", c.device, "error", err)
				return
			}
			p.committed(single)
		}
	}
	c.finish()
}

// update commits one change, waiting for the store as long as it takes.
func (p *Pipeline) update(ctx context.Context, c *change) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		p.stats.Commits.Add(1)
		err := p.opts.DB.Update(ctx, c.tenant, c.do)
		if err == nil || !passing(err) {
			return err
		}
		p.stats.Retries.Add(1)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *Pipeline) unknown(c *change) {
	p.stats.Unknown.Add(int64(len(c.batches)))
	p.log.Warn("message of a device in no registry", "tenant", c.tenant, "device", c.device)
	if p.opts.Unknown != nil {
		p.opts.Unknown(c.tenant, c.device)
	}
	c.finish()
}

func (p *Pipeline) tell(done []*change) {
	for _, c := range done {
		p.committed(c)
	}
}

// committed tells the device and the observers what has become durable.
func (p *Pipeline) committed(c *change) {
	p.stats.Records.Add(c.records)
	p.stats.Repeated.Add(c.repeated)
	p.stats.SetAside.Add(c.setAside)
	p.stats.Scattered.Add(c.scattered)
	for _, w := range c.windows {
		p.opts.Ack(c.tenant, c.device, protocol.Ack{
			Version: protocol.Version, Lane: w.Lane, Epoch: w.Epoch, Committed: w.Committed,
		})
	}
	if p.opts.Observe != nil && len(c.seen.Blocks)+len(c.seen.Schemas) > 0 {
		p.opts.Observe(c.seen)
	}
	c.finish()
}

// errUnknown is returned by change.do for a device that is in no registry.
var errUnknown = fmt.Errorf("device in no registry: %w", store.ErrNotFound)
