// Package outbreak sees a batch of devices going bad before the phones ring.
//
//	fault or complaint on a home's timeline
//	    -> counted in the home's row of the day             (a reaction, in the same transaction)
//	    -> scanned over the fleet every hour                (Scan, see package scan)
//	    -> one problem that names the cohort                (never one per device)
//	    -> an entry problem.linked in each affected home    (its reactions tell the customer)
//	       and the problem's id on the tickets that belong to it
//
// A cohort is what devices have in common: model, firmware, hardware, region, provider, or two of these.
//
// Every scan relives the last days from the store, learning from the oldest part, so it keeps no state
// that could be lost or differ between instances, and a scan that runs twice changes nothing. What it
// leaves out is said here, because each of these would raise or hide an alarm: days on which a device was
// not heard of (not calm, but unknown), the day of its installation and of an update, faults explained by
// an incident such as a site's outage, and, while learning, cohorts that were known to be bad.
package outbreak

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/outbreak/scan"
	"github.com/hearthline/hearthline/cloud/store"
)

// Fleet is what the package needs to know of homes and devices.
type Fleet interface {
	// Homes pages through all homes.
	Homes(tx store.Tx, after store.Cursor, limit int) ([]cloud.Home, store.Cursor, error)
	// Devices lists the devices of a home.
	Devices(tx store.Tx, home string) ([]cloud.Device, error)
	// Heard returns when a device was last heard of: now while it is online, the zero time when never.
	Heard(tx store.Tx, home, device string, now time.Time) (time.Time, error)
}

// Tickets is what the package needs of tickets.
type Tickets interface {
	// Unsolved lists a home's tickets that are not solved.
	Unsolved(tx store.Tx, home string) ([]cloud.Ticket, error)
	// SetProblem says that a ticket belongs to a problem.
	SetProblem(tx store.Tx, home, ticket, problem string) error
}

// Incidents tells which faults are explained by something that is known already.
type Incidents interface {
	// During returns the incidents that overlap from and to.
	During(ctx context.Context, tenant string, from, to time.Time) ([]Incident, error)
}

// Incident is one thing that made many homes fail at once. An empty field matches every home.
type Incident struct {
	From, To    time.Time
	Region, ISP string
}

// Append writes an entry to a home's timeline.
type Append func(tx store.Tx, e cloud.Entry) error

// Options configures an Outbreak. DB, Fleet and Append are required.
type Options struct {
	DB        store.DB
	Fleet     Fleet
	Append    Append
	Tickets   Tickets          // nil: no tickets are linked
	Incidents Incidents        // nil: nothing is explained
	Now       func() time.Time // nil means time.Now
	Log       *slog.Logger     // nil discards

	Step            time.Duration // what is counted together; 0 means 24h
	Learn           int           // quiet steps learned from before the first alarm; 0 means 60, at least 28
	Watch           int           // steps after these that a scan covers; 0 means 60
	FalseAlarmEvery float64       // steps between two false alarms; 0 means 90
	Every           time.Duration // between two scans; 0 means 1h
	Apart           time.Duration // faults of a device closer than this are one; 0 means 10m
}

// Outbreak counts faults, scans the fleet and keeps the problems. It is safe for concurrent use.
type Outbreak struct {
	opts   Options
	kicked chan struct{} // one scan at a time in this process
}

// New checks the options.
func New(opts Options) (*Outbreak, error) {
	if opts.DB == nil || opts.Fleet == nil || opts.Append == nil {
		return nil, errors.New("outbreak: DB, Fleet and Append are required")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		field *time.Duration
		def   time.Duration
		name  string
	}{{&opts.Step, 24 * time.Hour, "Step"}, {&opts.Every, time.Hour, "Every"}, {&opts.Apart, 10 * time.Minute, "Apart"}} {
		if *d.field == 0 {
			*d.field = d.def
		}
		if *d.field < 0 {
			return nil, fmt.Errorf("outbreak: %s is below zero", d.name)
		}
	}
	if opts.Learn == 0 {
		opts.Learn = 60
	}
	if opts.Watch == 0 {
		opts.Watch = 60
	}
	if opts.Watch < 1 {
		return nil, errors.New("outbreak: Watch is below one step")
	}
	o := &Outbreak{opts: opts, kicked: make(chan struct{}, 1)}
	if _, err := o.detector(); err != nil {
		return nil, err
	}
	return o, nil
}

// dimensions of a cohort, in the order of Cohort.labels.
var dimensions = []string{"model", "firmware", "hardware", "region", "isp"}

func (o *Outbreak) detector() (*scan.Detector, error) {
	return scan.New(scan.Options{
		Dimensions:      dimensions,
		Batch:           []int{0, 1, 2},
		Learn:           o.opts.Learn,
		FalseAlarmEvery: o.opts.FalseAlarmEvery,
	})
}

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{days, members, scans, problems, affected} }

// QueueScan is the queue of the timer that scans.
const QueueScan = "outbreak-scan"

// Arm sets a tenant's timer for the next scan. Call it at start; arming twice sets one timer.
func (o *Outbreak) Arm(ctx context.Context, tenant string) error {
	next := o.opts.Now().UTC().Truncate(o.opts.Every).Add(o.opts.Every)
	return o.opts.DB.Update(ctx, tenant, func(tx store.Tx) error {
		return store.Enqueue(tx, store.Job{Queue: QueueScan, ID: strconv.FormatInt(next.UnixNano(), 10), Due: next})
	})
}

// Handle is the timer's work: it arms the next one, then scans.
func (o *Outbreak) Handle(ctx context.Context, j store.Job) error {
	if err := o.Arm(ctx, j.Tenant); err != nil {
		return err
	}
	return o.Scan(ctx, j.Tenant)
}

// stepOf is the step that a time falls into, counted from 1970.
func (o *Outbreak) stepOf(at time.Time) int64 { return floorDiv(at.UnixNano(), int64(o.opts.Step)) }

// timeOf is when a step begins.
func (o *Outbreak) timeOf(step int64) time.Time { return time.Unix(0, step*int64(o.opts.Step)).UTC() }

func floorDiv(a, b int64) int64 {
	if q := a / b; a%b >= 0 {
		return q
	} else {
		return q - 1
	}
}
