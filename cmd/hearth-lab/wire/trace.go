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
	if err != nil {
		return nil, fmt.Errorf("%s: header: %w", path, err)
	}
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
			return nil, fmt.Errorf("%s: line %d, column ts_ms: %w", path, line, err)
		}
		s := protocol.Sample{Wall: ts, Values: make([]float64, len(metrics))}
		for i, cell := range row[1:] {
			if cell == "" {
				s.Values[i] = math.NaN()
				continue
			}
			if s.Values[i], err = strconv.ParseFloat(cell, 64); err != nil {
				return nil, fmt.Errorf("%s: line %d, column %s: %w", path, line, metrics[i].Name, err)
			}
			if _, digits, ok := strings.Cut(cell, "."); ok {
				metrics[i].Scale = max(metrics[i].Scale, int8(min(len(digits), 9)))
			}
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
		t.Samples[i].Schema = t.Schema
		t.Samples[i].Mono = t.Samples[i].Wall - start
	}
	return t, nil
}
