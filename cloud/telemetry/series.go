package telemetry

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Query asks for charts of one device.
type Query struct {
	Home, Device string
	Metrics      []string  // names, each with all its instances; empty means every metric
	From, To     time.Time // From included, To not
	Step         time.Duration
}

// Series is one line of a chart.
type Series struct {
	Metric   string
	Instance string
	Kind     protocol.MetricKind
	Points   []Point // ascending; a step without a reading has none
}

// Point sums up one step. For a counter the values are its rate per second, so that a reset is no cliff.
type Point struct {
	At             time.Time // begin of the step
	N              int       // readings
	Min, Max, Mean float64
}

// Limits of a query.
const (
	MaxPoints = 5000               // per series
	rawUpTo   = 7 * 24 * time.Hour // longer spans are read from the hours
	maxSpan   = 366 * 24 * time.Hour
)

// Read answers a query inside a transaction: from the blocks, or from the hours where the steps are that
// long or the span is. The error is a cloud.Error of CodeInvalid for a query that asks for too much.
func (Keeper) Read(tx store.Tx, q Query) ([]Series, error) {
	span := q.To.Sub(q.From)
	switch {
	case span <= 0:
		return nil, cloud.Invalid("to", "must be after from")
	case span > maxSpan:
		return nil, cloud.Invalid("from", "a chart spans at most %d days", int(maxSpan.Hours()/24))
	case q.Step <= 0 || span/q.Step > MaxPoints:
		return nil, cloud.Invalid("step", "want 1 to %d points", MaxPoints)
	}
	c := &chart{q: q, lines: map[column]*line{}}
	var err error
	if q.Step >= time.Hour || span > rawUpTo {
		c.q.Step = max(q.Step, time.Hour)
		err = c.fromHours(tx)
	} else {
		_, err = scan(tx, q.Home, q.Device, q.From, q.To, c.add)
	}
	if err != nil {
		return nil, fmt.Errorf("read telemetry of %s: %w", q.Device, err)
	}
	return c.series(), nil
}

// column names one line.
type column struct{ metric, instance string }

type line struct {
	kind   protocol.MetricKind
	points map[int64]*Point // by step
	rate   rate
}

type chart struct {
	q     Query
	lines map[column]*line
}

func (c *chart) line(metric, instance string, kind protocol.MetricKind) *line {
	if len(c.q.Metrics) > 0 && !slices.Contains(c.q.Metrics, metric) {
		return nil
	}
	l := c.lines[column{metric, instance}]
	if l == nil {
		l = &line{kind: kind, points: map[int64]*Point{}}
		c.lines[column{metric, instance}] = l
	}
	return l
}

// add takes the rows of one block.
func (c *chart) add(rows []protocol.Sample) {
	for m, metric := range rows[0].Schema.Metrics {
		l := c.line(metric.Name, metric.Instance, metric.Kind)
		if l == nil {
			continue
		}
		for i := range rows {
			v := rows[i].Values[m]
			if metric.Kind == protocol.Counter {
				v = l.rate.next(rows[i].Wall, v)
			}
			if !math.IsNaN(v) {
				l.add(c.step(rows[i].Wall), 1, v, v, v)
			}
		}
	}
}

func (c *chart) step(ms int64) int64 { return (ms - c.q.From.UnixMilli()) / c.q.Step.Milliseconds() }

func (c *chart) fromHours(tx store.Tx) error {
	for h, err := range hours.Scan(tx, store.Range{
		Prefix: store.Key{c.q.Home, c.q.Device}, From: c.q.From.Truncate(time.Hour), To: c.q.To,
	}) {
		if err != nil {
			return err
		}
		step := max(c.step(h.Begins.UnixMilli()), 0)
		for _, s := range h.Series {
			if l := c.line(s.Metric, s.Instance, s.Kind); l != nil {
				l.add(step, s.N, s.Min, s.Max, s.Mean)
			}
		}
	}
	// What is not rolled up yet comes from the blocks.
	last, err := lastHour(tx, c.q)
	if err != nil {
		return err
	}
	from := c.q.From
	for _, t := range []time.Time{last, c.q.To.Add(-rawUpTo)} {
		if t.After(from) {
			from = t
		}
	}
	if !from.Before(c.q.To) {
		return nil
	}
	_, err = scan(tx, c.q.Home, c.q.Device, from, c.q.To, c.add)
	return err
}

// lastHour is the end of the newest hour before the query's end that is rolled up; the zero time when there
// is none.
func lastHour(tx store.Tx, q Query) (time.Time, error) {
	for h, err := range hours.Scan(tx, store.Range{
		Prefix: store.Key{q.Home, q.Device}, To: q.To, Reverse: true, Limit: 1,
	}) {
		return h.Begins.Add(time.Hour), err
	}
	return time.Time{}, nil
}

func (l *line) add(step int64, n int, lo, hi, mean float64) {
	p := l.points[step]
	if p == nil {
		l.points[step] = &Point{N: n, Min: lo, Max: hi, Mean: mean}
		return
	}
	p.Mean += (mean - p.Mean) * float64(n) / float64(p.N+n)
	p.N += n
	p.Min, p.Max = min(p.Min, lo), max(p.Max, hi)
}

func (c *chart) series() []Series {
	out := make([]Series, 0, len(c.lines))
	for col, l := range c.lines {
		if len(l.points) == 0 {
			continue
		}
		s := Series{Metric: col.metric, Instance: col.instance, Kind: l.kind, Points: make([]Point, 0, len(l.points))}
		for step, p := range l.points {
			p.At = c.q.From.Add(time.Duration(step) * c.q.Step).UTC()
			s.Points = append(s.Points, *p)
		}
		sort.Slice(s.Points, func(i, j int) bool { return s.Points[i].At.Before(s.Points[j].At) })
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Series) int {
		if n := strings.Compare(a.Metric, b.Metric); n != 0 {
			return n
		}
		return strings.Compare(a.Instance, b.Instance)
	})
	return out
}

// rate turns readings of a counter into its growth per second.
type rate struct {
	at    int64 // milliseconds
	value float64
	known bool
}

// next returns the rate since the last reading, or NaN when there is none to compare with: the first
// reading, a missing one, and the one after the counter was reset.
func (r *rate) next(at int64, v float64) float64 {
	if math.IsNaN(v) {
		return v
	}
	was := *r
	*r = rate{at, v, true}
	if !was.known || at <= was.at || v < was.value {
		return math.NaN()
	}
	return (v - was.value) / (float64(at-was.at) / 1000)
}

// Samples calls each with the samples of a device between from and to, a block at a time in order of their begin, for
// those who learn from them. It returns how many blocks could not be read. The rows are the caller's to keep.
func (Keeper) Samples(tx store.Tx, home, device string, from, to time.Time, each func([]protocol.Sample)) (unread int, err error) {
	return scan(tx, home, device, from, to, each)
}
