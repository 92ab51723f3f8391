package replay

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/hearthline/hearthline/protocol"
)

// Trace is a recording: one row of values at each time. It is not changed by those who play it, so
// that many drivers may share one.
type Trace struct {
	Metrics []protocol.Metric
	Times   []int64     // milliseconds since the first row, ascending
	Rows    [][]float64 // in the order of Metrics; NaN is a missing value
}

// MaxRows bounds a trace: eleven days at one row a second.
const MaxRows = 1_000_000

// ReadTrace reads a CSV file whose header is ts_ms and one metric a column, with the instance in
// braces: "dns.latency_ms{192.168.1.1}". An empty field is a missing value. Errors name the line and
// the column.
func ReadTrace(r io.Reader) (*Trace, error) {
	in := csv.NewReader(bufio.NewReader(r))
	in.ReuseRecord = true
	header, err := in.Read()
	if err != nil {
		return nil, fmt.Errorf("trace: header: %w", err)
	}
	if header[0] != "ts_ms" {
		return nil, fmt.Errorf("trace: line 1: first column is %q, want ts_ms", header[0])
	}
	header = slices.Clone(header) // the reader uses its memory again
	t := &Trace{}
	seen := map[string]bool{}
	for i, column := range header[1:] {
		m, err := metricOf(column)
		if err != nil {
			return nil, fmt.Errorf("trace: line 1, column %d: %w", i+2, err)
		}
		if seen[column] {
			return nil, fmt.Errorf("trace: line 1, column %d: %s is there twice", i+2, column)
		}
		seen[column] = true
		t.Metrics = append(t.Metrics, m)
	}
	if _, err := protocol.NewSchema(t.Metrics); err != nil {
		return nil, fmt.Errorf("trace: line 1: %w", err)
	}
	var start int64
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("trace: %w", err) // names the line
		}
		line, _ := in.FieldPos(0)
		ts, err := strconv.ParseInt(record[0], 10, 64)
		if err != nil || ts < 0 {
			return nil, fmt.Errorf("trace: line %d, column ts_ms: %q is no time", line, record[0])
		}
		if len(t.Rows) == 0 {
			start = ts
		}
		if n := len(t.Times); n > 0 && ts-start <= t.Times[n-1] {
			return nil, fmt.Errorf("trace: line %d, column ts_ms: %d is not after the row before", line, ts)
		}
		if len(t.Rows) == MaxRows {
			return nil, fmt.Errorf("trace: line %d: more than %d rows", line, MaxRows)
		}
		row := make([]float64, len(t.Metrics))
		for i := range row {
			field := record[i+1]
			if field == "" {
				row[i] = math.NaN()
				continue
			}
			if row[i], err = strconv.ParseFloat(field, 64); err != nil || math.IsInf(row[i], 0) {
				return nil, fmt.Errorf("trace: line %d, column %s: %q is no number", line, header[i+1], field)
			}
		}
		t.Times, t.Rows = append(t.Times, ts-start), append(t.Rows, row)
	}
	if len(t.Rows) < 2 {
		return nil, fmt.Errorf("trace: %d rows, want at least 2", len(t.Rows))
	}
	return t, nil
}

// Write writes the trace as ReadTrace reads it, with times from zero.
func (t *Trace) Write(w io.Writer) error {
	out := bufio.NewWriter(w)
	out.WriteString("ts_ms")
	for _, m := range t.Metrics {
		out.WriteString("," + m.String())
	}
	for i, row := range t.Rows {
		fmt.Fprintf(out, "\n%d", t.Times[i])
		for j, v := range row {
			out.WriteByte(',')
			if !math.IsNaN(v) {
				out.WriteString(strconv.FormatFloat(v, 'f', max(int(t.Metrics[j].Scale), 0), 64))
			}
		}
	}
	out.WriteByte('\n')
	return out.Flush()
}

// metricOf reads a column's name. Kind and scale follow from the name, as in the other drivers.
func metricOf(column string) (protocol.Metric, error) {
	name, rest, has := strings.Cut(column, "{")
	m := protocol.Metric{Name: name, Kind: protocol.Gauge}
	if has {
		if !strings.HasSuffix(rest, "}") || rest == "}" {
			return m, fmt.Errorf("%q is no metric: want name or name{instance}", column)
		}
		m.Instance = strings.TrimSuffix(rest, "}")
	}
	if name == "" || strings.ContainsAny(column, " \"\n") {
		return m, fmt.Errorf("%q is no metric: want name or name{instance}", column)
	}
	if counters[name] {
		m.Kind = protocol.Counter
		return m, nil
	}
	for _, s := range scales {
		if strings.HasSuffix(name, s.suffix) {
			m.Scale = s.scale
			break
		}
	}
	return m, nil
}

var counters = map[string]bool{
	"tcp.segments_out": true, "tcp.retransmits": true, "wifi.retries": true, "wifi.beacon_loss": true,
	"iface.rx_bytes": true, "iface.tx_bytes": true, "iface.rx_packets": true, "iface.tx_packets": true,
	"iface.rx_errors": true, "iface.tx_errors": true, "iface.rx_drops": true, "iface.tx_drops": true,
}

// scales are the decimal digits that are kept, by the unit at the end of the name.
var scales = []struct {
	suffix string
	scale  int8
}{{"_ms", 2}, {"_ratio", 3}, {"bitrate_mbps", 1}, {"temp_celsius", 1}, {"mem.available_bytes", -3}, {"disk.free_bytes", -6}}

// step is the usual time between rows.
func (t *Trace) step() int64 {
	n := len(t.Times)
	return max((t.Times[n-1]-t.Times[0])/int64(n-1), 1)
}

// span is how long the trace lasts, the last row included.
func (t *Trace) span() int64 { return t.Times[len(t.Times)-1] + t.step() }

// at is the index of the row that holds at a time: the last one that is not later.
func (t *Trace) at(ms int64) int {
	return max(sort.Search(len(t.Times), func(i int) bool { return t.Times[i] > ms })-1, 0)
}
