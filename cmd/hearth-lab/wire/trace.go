package wire

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/hearthline/hearthline/protocol"
)

// Trace is a recorded table of samples. Each metric's scale is the most decimal digits seen in its column.
type Trace struct {
	Schema  *protocol.Schema
	Samples []protocol.Sample
}

// ReadTrace reads a CSV whose first column is ts_ms (milliseconds since 1970) and whose other columns are
// metrics. An empty cell or "nan" is a missing value. Errors name file, line and column.
func ReadTrace(path string) (*Trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := csv.NewReader(f)
	in.ReuseRecord = true
	head, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: empty, it has no header line", path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: header: %w", path, err)
	}
	head[0] = strings.TrimPrefix(head[0], "\ufeff")
	if len(head) < 2 || head[0] != "ts_ms" {
		return nil, fmt.Errorf("%s: line 1: first column is %q, want ts_ms and at least one metric", path, head[0])
	}
	metrics := make([]protocol.Metric, len(head)-1)
	for i, name := range head[1:] {
		metrics[i] = protocol.Metric{Name: strings.Clone(name), Kind: protocol.Gauge}
	}
	t := &Trace{}
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		line, _ := in.FieldPos(0)
		ts, err := strconv.ParseInt(row[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d, column ts_ms: %q is not a whole number of milliseconds", path, line, row[0])
		}
		s := protocol.Sample{Wall: ts, Values: make([]float64, len(metrics))}
		for i, cell := range row[1:] {
			if cell == "" {
				s.Values[i] = math.NaN()
				continue
			}
			v, digits, err := number(cell)
			if err != nil {
				return nil, fmt.Errorf("%s: line %d, column %s: %w", path, line, metrics[i].Name, err)
			}
			s.Values[i] = v
			metrics[i].Scale = max(metrics[i].Scale, int8(digits))
		}
		t.Samples = append(t.Samples, s)
	}
	if len(t.Samples) == 0 {
		return nil, fmt.Errorf("%s: no rows", path)
	}
	if t.Schema, err = protocol.NewSchema(metrics); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	start := t.Samples[0].Wall
	for i := range t.Samples {
		for m, v := range t.Samples[i].Values {
			if scale := metrics[m].Scale; math.Abs(v)*math.Pow10(int(scale)) >= 1<<50 {
				return nil, fmt.Errorf("%s: row %d, column %s: %g with %d digits behind the point is too large for a block: without the point it must be less than 2^50", path, i, metrics[m].Name, v, scale)
			}
		}
		t.Samples[i].Schema = t.Schema
		t.Samples[i].Mono = t.Samples[i].Wall - start
	}
	return t, nil
}

// maxDigits is how many decimal digits behind the point a metric can keep.
const maxDigits = 9

// number reads a cell, and how many digits it has behind the decimal point.
func number(cell string) (v float64, digits int, err error) {
	v, err = strconv.ParseFloat(cell, 64)
	switch {
	case err != nil || math.IsInf(v, 0):
		return 0, 0, fmt.Errorf("%q is not a finite number", cell)
	case math.IsNaN(v):
		return v, 0, nil
	case strings.ContainsAny(cell, "eE"):
		cell = strconv.FormatFloat(v, 'f', -1, 64)
	}
	_, behind, _ := strings.Cut(cell, ".")
	if len(behind) > maxDigits {
		return 0, 0, fmt.Errorf("%q has %d digits behind the point, at most %d are kept", cell, len(behind), maxDigits)
	}
	return v, len(behind), nil
}
