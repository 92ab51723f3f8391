// Package replay plays recorded traces as if a device were there: it drives the lab, load tests and
// the demo's other homes. The same trace, script, times and actions give the same samples, always.
//
// A trace is a CSV file of samples. The script beside it says what the device is, which actions it
// offers, and which troubles of the recording an action would have cured: while it is applied, the
// metrics of such a trouble are played from a calm stretch of the same trace.
package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/protocol"
)

// ErrEnded is returned by Sample after the last row of a trace that is not looped.
var ErrEnded = errors.New("the trace has ended")

// Options configures a Driver. Trace and Script.Model are required.
type Options struct {
	Trace  *Trace
	Script Script
	Speed  float64              // trace time per time; 0 means 1
	Offset time.Duration        // where in the trace to begin
	Loop   bool                 // begin anew after the last row; counters go on growing
	Now    func() time.Time     // nil: time.Now
	Start  func() time.Duration // monotonic time since the agent's start; nil: since New
}

// Driver implements bridge.Driver.
type Driver struct {
	opts   Options
	schema *protocol.Schema
	index  map[string]int // column name to position

	mu      sync.Mutex
	sample  protocol.Sample    // what Sample returned last; nobody else may change it
	applied map[string]applied // by kind, or kind and target
}

// applied is an action in force.
type applied struct {
	Action protocol.Action `json:"a"`
	At     int64           `json:"t"` // milliseconds of trace time, loops included
}

var _ bridge.Driver = (*Driver)(nil)

// New checks the options.
func New(opts Options) (*Driver, error) {
	if opts.Trace == nil || len(opts.Trace.Rows) < 2 {
		return nil, errors.New("replay: Trace with at least two rows is required")
	}
	if opts.Speed == 0 {
		opts.Speed = 1
	}
	if !(opts.Speed > 0) || math.IsInf(opts.Speed, 0) {
		return nil, fmt.Errorf("replay: Speed is %g, want more than 0", opts.Speed)
	}
	if opts.Offset < 0 {
		return nil, fmt.Errorf("replay: Offset is %v, want 0 or more", opts.Offset)
	}
	if err := opts.Script.check(opts.Trace); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	schema, err := protocol.NewSchema(opts.Trace.Metrics)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Start == nil {
		start := time.Now()
		opts.Start = func() time.Duration { return time.Since(start) }
	}
	d := &Driver{opts: opts, schema: schema, index: map[string]int{}, applied: map[string]applied{}}
	for i, m := range opts.Trace.Metrics {
		d.index[m.String()] = i
	}
	return d, nil
}

// Close does nothing.
func (d *Driver) Close() error { return nil }

// Describe says what the script says.
func (d *Driver) Describe(context.Context) (bridge.Description, error) {
	s := d.opts.Script
	return bridge.Description{Model: s.Model, Firmware: s.Firmware, Hardware: s.Hardware, Bridge: "replay"}, nil
}

// position is where the trace stands, in milliseconds of trace time, loops included.
func (d *Driver) position() int64 {
	return d.opts.Offset.Milliseconds() + int64(float64(d.opts.Start())/1e6*d.opts.Speed)
}

// Sample returns the row that holds now.
func (d *Driver) Sample(context.Context) (*protocol.Sample, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.take(&d.sample); err != nil {
		return nil, err
	}
	return &d.sample, nil
}

// take reads the row that holds now into a sample, with the lock held.
func (d *Driver) take(into *protocol.Sample) error {
	if into.Values == nil {
		into.Schema, into.Values = d.schema, make([]float64, len(d.schema.Metrics))
	}
	if err := d.fill(d.position(), into.Values); err != nil {
		return err
	}
	into.Mono = d.opts.Start().Milliseconds()
	into.Wall = d.opts.Now().UnixMilli()
	return nil
}

// fill computes the values at a position.
func (d *Driver) fill(pos int64, values []float64) error {
	t := d.opts.Trace
	span := t.span()
	loop, at := pos/span, pos%span
	if loop > 0 && !d.opts.Loop {
		return ErrEnded
	}
	copy(values, t.Rows[t.at(at)])
	if loop > 0 {
		for i, m := range t.Metrics {
			if m.Kind == protocol.Counter {
				values[i] += float64(loop) * (t.Rows[len(t.Rows)-1][i] - t.Rows[0][i])
			}
		}
	}
	for _, tr := range d.opts.Script.Troubles {
		if tr.CuredBy == nil || at < tr.From || at >= tr.To || !d.cured(tr) {
			continue
		}
		calm := d.opts.Script.Calm
		row := t.Rows[t.at(calm.From+(at-tr.From)%(calm.To-calm.From))]
		for _, name := range tr.Metrics {
			if i := d.index[name]; t.Metrics[i].Kind == protocol.Gauge { // a counter must not jump back
				values[i] = row[i]
			}
		}
	}
	d.overlay(pos, values)
	return nil
}

// overlay shows what the applied actions change by themselves.
func (d *Driver) overlay(pos int64, values []float64) {
	for _, a := range d.applied {
		var metric, chosen string
		switch a.Action.Kind {
		case "dns.switch":
			metric, chosen = "dns.active", a.Action.Args["resolver"]
		case "uplink.failover":
			metric, chosen = "route.default", a.Action.Target
		case "dhcp.renew":
			if i, ok := d.index["dhcp.lease_age_s{"+a.Action.Target+"}"]; ok {
				values[i] = min(values[i], math.Floor(float64(pos-a.At)/1000))
			}
		}
		if metric == "" {
			continue
		}
		for i, m := range d.opts.Trace.Metrics {
			if m.Name == metric {
				values[i] = 0
				if m.Instance == chosen {
					values[i] = 1
				}
			}
		}
	}
}

func (d *Driver) cured(tr Trouble) bool {
	for _, a := range d.applied {
		if a.Action.Kind != tr.CuredBy.Kind || tr.CuredBy.Target != "" && tr.CuredBy.Target != a.Action.Target {
			continue
		}
		same := true
		for name, want := range tr.CuredBy.Args {
			same = same && a.Action.Args[name] == want
		}
		if same {
			return true
		}
	}
	return false
}

// Restore is the kind of action that Undo returns: Args state is which actions were in force.
const Restore = "replay.restore"

// Undo returns what restores the actions in force now.
func (d *Driver) Undo(_ context.Context, a protocol.Action) (protocol.Action, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(a); err != nil {
		return protocol.Action{}, err
	}
	state, err := json.Marshal(d.applied)
	if err != nil {
		return protocol.Action{}, fmt.Errorf("replay: %w", err)
	}
	if len(state) > protocol.MaxText {
		return protocol.Action{}, fmt.Errorf("%w: %d actions are in force already", bridge.ErrUnsupported, len(d.applied))
	}
	return protocol.Action{Kind: Restore, Args: map[string]string{"state": string(state)}}, nil
}

// Apply puts an action in force. One of the same kind and target takes the place of the one before.
func (d *Driver) Apply(_ context.Context, a protocol.Action) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(a); err != nil {
		return err
	}
	if a.Kind == Restore {
		d.applied = map[string]applied{}
		return json.Unmarshal([]byte(a.Args["state"]), &d.applied)
	}
	key := a.Kind
	if a.Kind != "dns.switch" && a.Kind != "uplink.failover" { // of these, one choice excludes the others
		key += " " + a.Target
	}
	a.Args = maps.Clone(a.Args)
	d.applied[key] = applied{Action: a, At: d.position()}
	return nil
}

// check refuses what the script does not offer.
func (d *Driver) check(a protocol.Action) error {
	if a.Kind == Restore {
		var state map[string]applied
		if err := json.Unmarshal([]byte(a.Args["state"]), &state); err != nil {
			return argument("args.state", "%v", err)
		}
		return nil
	}
	i := slices.IndexFunc(d.opts.Script.Actions, func(o Offer) bool { return o.Kind == a.Kind })
	if i < 0 {
		var offered []string
		for _, o := range d.opts.Script.Actions {
			offered = append(offered, o.Kind)
		}
		return fmt.Errorf("%w: action %q; want %s", bridge.ErrUnsupported, a.Kind, orNone(offered))
	}
	offer := d.opts.Script.Actions[i]
	if a.Target != "" || len(offer.Targets) > 0 {
		if !slices.Contains(offer.Targets, a.Target) {
			return argument("target", "%q; want %s", a.Target, orNone(offer.Targets))
		}
	}
	for name, value := range a.Args {
		if !slices.Contains(offer.Args[name], value) {
			return argument("args."+name, "%q; want %s", value, orNone(offer.Args[name]))
		}
	}
	for name, allowed := range offer.Args {
		if _, ok := a.Args[name]; !ok {
			return argument("args."+name, "is missing; want %s", orNone(allowed))
		}
	}
	return nil
}

// Check looks at the values of now. For dns metrics an empty instance means the resolvers in use.
func (d *Driver) Check(_ context.Context, c protocol.Check) (bool, error) {
	if c.Min == nil && c.Max == nil {
		return false, argument("check", "neither min nor max is set")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var s protocol.Sample
	if err := d.take(&s); err != nil {
		return false, fmt.Errorf("replay: check: %w", err)
	}
	known, all := false, true
	for i, m := range s.Schema.Metrics {
		if m.Name != c.Metric || c.Instance != "" && c.Instance != m.Instance {
			continue
		}
		if c.Instance == "" && strings.HasPrefix(m.Name, "dns.") && m.Name != "dns.active" && s.Get("dns.active", m.Instance) == 0 {
			continue
		}
		known = true
		v := s.Values[i]
		if math.IsNaN(v) || c.Min != nil && v < *c.Min || c.Max != nil && v > *c.Max {
			all = false
		}
	}
	if !known {
		return false, argument("check.metric", "this device has no %s", protocol.Metric{Name: c.Metric, Instance: c.Instance})
	}
	return all, nil
}

func argument(field, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", bridge.ErrArgument, field, fmt.Sprintf(format, args...))
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
