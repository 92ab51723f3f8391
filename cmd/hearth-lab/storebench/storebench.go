// Package storebench fills a store with customers and entries and measures what people wait for: a page of
// a timeline, the lookup of a caller by phone, and how fast entries can be appended; beside the engine
// underneath reading the same bytes by itself, in turn, in the same run.
package storebench

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
)

// Report is the result of a run. Times are in microseconds.
type Report struct {
	Backend   string  `json:"backend"`
	Customers int     `json:"customers"`
	Steps     []Step  `json:"steps"` // at a tenth, a third and the whole of the entries
	Append    Append  `json:"append"`
	Busy      *Reads  `json:"reads_at_half_append_rate"`
	BytesEach float64 `json:"bytes_per_entry_on_disk,omitempty"`         // left out with --filled, as is the slope
	Document  float64 `json:"bytes_per_entry_document"`                  // as encoded by the engine's codec
	Slope     float64 `json:"timeline_p50_growth_per_tenfold,omitempty"` // of the median: the tail is the machine's
}

// Step is what was measured at one size.
type Step struct {
	Entries     int     `json:"entries"`
	FillSeconds float64 `json:"fill_seconds"`
	DiskBytes   int64   `json:"disk_bytes"`
	RowsPerPage int     `json:"rows_per_page"`
	Reads       Reads   `json:"reads"`
	OpenSeconds float64 `json:"open_seconds"`
}

// Reads are the times of reads, ours and the engine's own.
type Reads struct {
	Timeline  Latency `json:"timeline_page_us"`
	Caller    Latency `json:"caller_lookup_us"`
	RawPage   Latency `json:"raw_page_us"`         // the same documents by key, as bytes
	RawDecode Latency `json:"raw_page_decoded_us"` // and decoded, which any user of them has to do
	RawCaller Latency `json:"raw_caller_us"`
	// Medians over medians of the same rounds.
	PageRatio    float64 `json:"timeline_over_raw"`
	DecodedRatio float64 `json:"timeline_over_raw_decoded"`
	CallerRatio  float64 `json:"caller_over_raw"`
}

// Latency sums up many times of one thing.
type Latency struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
	N   int     `json:"n"`
}

// Append is how fast entries are appended to random homes, durably.
type Append struct {
	Workers      int     `json:"workers"`
	Batch        int     `json:"homes_per_batch"`
	PerSecond    float64 `json:"entries_per_second"`
	BatchLatency Latency `json:"batch_us"`
	SinglePerS   float64 `json:"single_updates_per_second_64_goroutines"`
	Single       Latency `json:"single_update_us"`
}

type options struct {
	backend, dir  string
	url, ownerURL string
	customers     int
	entries       int
	reads         int
	seconds       float64
	fill, filled  bool
	json          bool
}

// Run is the tool.
func Run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("store", flag.ContinueOnError)
	var o options
	fs.StringVar(&o.backend, "backend", "bolt", "bolt or postgres")
	fs.StringVar(&o.dir, "dir", "", "folder for the store; empty means a temporary one that is removed")
	fs.StringVar(&o.url, "url", "", "postgres: service role of an empty database; empty means a server of our own in a temporary folder")
	fs.StringVar(&o.ownerURL, "owner-url", "", "postgres: role that owns the tables of url; empty means the service role")
	fs.IntVar(&o.customers, "customers", 100_000, "customers, each with a home, a device and a phone")
	fs.IntVar(&o.entries, "entries", 1_000_000, "entries on their timelines; a tenth of the homes has most of them")
	fs.IntVar(&o.reads, "reads", 5_000, "reads of each kind at each step")
	fs.Float64Var(&o.seconds, "seconds", 10, "how long to append, and to read while appending")
	fs.BoolVar(&o.fill, "fill", false, "only fill the store in --dir or --url, for later runs with --filled")
	fs.BoolVar(&o.filled, "filled", false, "the store in --dir or --url was filled by a run with --fill and the same numbers: measure it as it stands")
	fs.BoolVar(&o.json, "json", false, "print the report as JSON")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.customers < 10 || o.entries < o.customers || fs.NArg() > 0 {
		return errors.New("want at least 10 customers and as many entries as customers, and no other arguments")
	}
	if (o.fill || o.filled) && o.dir == "" && o.url == "" {
		return errors.New("--fill and --filled want a --dir or --url that lasts")
	}
	r, err := measure(ctx, o, os.Stderr)
	if err != nil || o.fill {
		return err
	}
	if o.json {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	r.print(os.Stdout)
	return nil
}

const tenant = "bench"

// tables are those of the packages that a timeline page and a caller lookup go through.
func tables() []store.Declared {
	return slices.Concat(timeline.Tables(), identity.Tables(), fleet.Tables())
}

func measure(ctx context.Context, o options, progress io.Writer) (*Report, error) {
	b, err := newBackend(o)
	if err != nil {
		return nil, err
	}
	defer b.remove()
	if err := b.open(ctx); err != nil {
		return nil, err
	}
	f := &fleetOf{customers: o.customers, entries: o.entries}
	f.extra.Store(time.Now().UnixMicro())
	r := &Report{Backend: o.backend, Customers: o.customers}
	if err := f.grow(ctx, b, o, r, progress); err != nil || o.fill {
		return r, err
	}
	if r.Document, err = f.documentBytes(b); err != nil {
		return nil, err
	}
	if first, last := r.Steps[0], r.Steps[len(r.Steps)-1]; first.Entries < last.Entries {
		r.Slope = math.Pow(last.Reads.Timeline.P50/first.Reads.Timeline.P50, 1/math.Log10(float64(last.Entries)/float64(first.Entries)))
	}
	window := time.Duration(o.seconds * float64(time.Second))
	if r.Append, err = f.append(ctx, b, window); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	fmt.Fprintf(progress, "appended %.0f entries/s\n", r.Append.PerSecond)
	if r.Busy, err = f.readWhileAppending(ctx, b, o.reads, r.Append.PerSecond/2, window); err != nil {
		return nil, fmt.Errorf("read while appending: %w", err)
	}
	return r, nil
}

// grow fills the store and measures reads at each step on the way; at the last one only when the filling is
// a run of its own.
func (f *fleetOf) grow(ctx context.Context, b backend, o options, r *Report, progress io.Writer) error {
	var base int64
	begun := time.Now()
	parts := []float64{0.1, 1. / 3, 1}
	if o.fill || o.filled {
		parts = []float64{1}
	}
	if !o.filled {
		if err := f.people(ctx, b); err != nil {
			return fmt.Errorf("fill customers: %w", err)
		}
		fmt.Fprintf(progress, "%d customers in %.0f s\n", o.customers, time.Since(begun).Seconds())
		var err error
		if base, err = b.size(ctx); err != nil {
			return err
		}
	}
	had := 0
	for _, part := range parts {
		begun := time.Now()
		n, err := f.fill(ctx, b, int(math.Round(part*float64(o.entries))), o.filled)
		if err != nil {
			return fmt.Errorf("fill entries: %w", err)
		}
		if n == had {
			continue
		}
		had = n
		s := Step{Entries: n, FillSeconds: time.Since(begun).Seconds()}
		if o.fill {
			fmt.Fprintf(progress, "%d entries in %.0f s\n", n, s.FillSeconds)
			return nil
		}
		begun = time.Now()
		if err := b.reopen(ctx); err != nil {
			return err
		}
		s.OpenSeconds = time.Since(begun).Seconds()
		if s.DiskBytes, err = b.size(ctx); err != nil {
			return err
		}
		if s.Reads, s.RowsPerPage, err = f.read(ctx, b, o.reads, 0); err != nil {
			return err
		}
		r.Steps = append(r.Steps, s)
		fmt.Fprintf(progress, "%d entries: page p99 %.2f ms, caller p99 %.2f ms\n", n, s.Reads.Timeline.P99/1000, s.Reads.Caller.P99/1000)
		if !o.filled {
			r.BytesEach = float64(s.DiskBytes-base) / float64(n)
		}
	}
	return nil
}

func (r *Report) print(w io.Writer) {
	fmt.Fprintf(w, "%s, %d customers\n\n", r.Backend, r.Customers)
	fmt.Fprintf(w, "%-12s %10s %10s %10s %10s %8s %8s %8s\n", "entries", "page p50", "page p99", "call p50", "call p99", "/raw", "/decoded", "call/raw")
	row := func(name string, x Reads) {
		fmt.Fprintf(w, "%-12s %8.0fµs %8.0fµs %8.0fµs %8.0fµs %8.2f %8.2f %8.2f\n", name,
			x.Timeline.P50, x.Timeline.P99, x.Caller.P50, x.Caller.P99, x.PageRatio, x.DecodedRatio, x.CallerRatio)
	}
	for _, s := range r.Steps {
		row(fmt.Sprint(s.Entries), s.Reads)
	}
	row("busy", *r.Busy)
	fmt.Fprintf(w, "\nappend: %.0f entries/s in batches, %.0f/s one by one from 64 goroutines (p99 %.1f ms)\n", r.Append.PerSecond, r.Append.SinglePerS, r.Append.Single.P99/1000)
	if r.Slope > 0 { // not with --filled
		fmt.Fprintf(w, "%.0f bytes per entry on disk, %.0f of them its document\n", r.BytesEach, r.Document)
		fmt.Fprintf(w, "the median page grows by a factor of %.2f for ten times the entries\n", r.Slope)
	}
}

// samples collects times.
type samples []float64

func (s *samples) add(d time.Duration) { *s = append(*s, float64(d.Nanoseconds())/1000) }

func (s samples) latency() Latency {
	if len(s) == 0 {
		return Latency{}
	}
	slices.Sort(s)
	at := func(q float64) float64 { return s[min(len(s)-1, int(q*float64(len(s))))] }
	return Latency{P50: at(0.5), P99: at(0.99), Max: s[len(s)-1], N: len(s)}
}

// entryOf is an entry as a hub's symptom leaves it.
func entryOf(home, n int, at time.Time) cloud.Entry {
	e := cloud.Entry{
		ID:       entryID(home, n),
		Home:     homeID(home),
		At:       at,
		Recorded: at.Add(350 * time.Millisecond),
		Kind:     "symptom.seen",
		Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: deviceID(home)}},
		Actor:    cloud.Ref{Type: cloud.RefDevice, ID: deviceID(home)},
		Args:     map[string]string{"code": "resolver.slow", "segment": "home", "latency_ms": fmt.Sprint(200 + n%800)},
	}
	if n > 0 {
		e.Because = append(e.Because, entryID(home, n-1))
	}
	return e
}
