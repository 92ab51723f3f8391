// Package wire measures what a telemetry value costs: bytes on the wire and nanoseconds to encode and
// decode, over any recorded trace, beside JSON and Gorilla on the same rows.
package wire

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"github.com/hearthline/hearthline/protocol"
)

// Result is what one run prints. Times are the median over rounds through the whole trace.
type Result struct {
	BytesPerValue  float64 `json:"bytes_per_value"`
	EncodeNSPerVal float64 `json:"encode_ns_per_value"`
	DecodeNSPerVal float64 `json:"decode_ns_per_value"`
	Rows           int     `json:"rows_per_block"`
	Metrics        int     `json:"metrics"`
	Blocks         int     `json:"blocks"`
	Values         int     `json:"values"`
	JSONBytes      float64 `json:"json_bytes_per_value"`
	GorillaBytes   float64 `json:"gorilla_bytes_per_value"`
}

// Run is the tool `hearth-lab wire`.
func Run(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("wire", flag.ContinueOnError)
	path := flags.String("trace", "", "CSV with a header: ts_ms, then one column per metric")
	rows := flags.Int("rows", 60, "rows sealed into one block")
	asJSON := flags.Bool("json", false, "print one JSON object")
	rounds := flags.Int("rounds", 9, "times the trace is encoded and decoded; the median is printed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if *path == "" || *rows < 1 || *rounds < 1 {
		return fmt.Errorf("want --trace FILE, --rows and --rounds of at least 1")
	}
	t, err := ReadTrace(*path)
	if err != nil {
		return err
	}
	r, err := Measure(t, *rows, *rounds)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	fmt.Printf("%d values in %d blocks of %d rows and %d metrics, each block decoded again and compared\n", r.Values, r.Blocks, r.Rows, r.Metrics)
	fmt.Printf("  hearthline  %6.3f bytes a value, %5.1f ns to encode, %5.1f ns to decode\n", r.BytesPerValue, r.EncodeNSPerVal, r.DecodeNSPerVal)
	fmt.Printf("  gorilla     %6.3f bytes a value\n  json        %6.3f bytes a value\n", r.GorillaBytes, r.JSONBytes)
	return nil
}

// Measure seals the trace into blocks of so many rows, decodes every message again and compares every
// value and time to the bit. A difference is an error that names the row and the metric.
func Measure(t *Trace, rows, rounds int) (Result, error) {
	r := Result{Rows: rows, Metrics: len(t.Schema.Metrics), Values: len(t.Samples) * len(t.Schema.Metrics)}
	sealer, err := protocol.NewSealer(t.Schema)
	if err != nil {
		return r, err
	}
	var encode, decode []float64
	var blocks []*protocol.Block
	for range rounds {
		blocks = blocks[:0]
		start := time.Now()
		for chunk := range slices.Chunk(t.Samples, rows) {
			for i := range chunk {
				if err := sealer.Add(&chunk[i]); err != nil {
					return r, err
				}
			}
			blocks = append(blocks, sealer.Seal())
		}
		encode = append(encode, perValue(start, r.Values))
		start = time.Now()
		for _, b := range blocks {
			if _, err := b.Samples(t.Schema); err != nil {
				return r, err
			}
		}
		decode = append(decode, perValue(start, r.Values))
	}
	r.EncodeNSPerVal, r.DecodeNSPerVal = median(encode), median(decode)

	var wire, asJSON int
	for i, b := range blocks {
		msg, err := protocol.Marshal(b)
		if err != nil {
			return r, err
		}
		wire += len(msg)
		chunk := t.Samples[i*rows : min((i+1)*rows, len(t.Samples))]
		if err := compare(msg, t.Schema, chunk, i*rows); err != nil {
			return r, err
		}
		for j := range chunk {
			asJSON += jsonSize(&chunk[j])
		}
	}
	r.Blocks = len(blocks)
	r.BytesPerValue = float64(wire) / float64(r.Values)
	r.JSONBytes = float64(asJSON) / float64(r.Values)
	r.GorillaBytes = float64(gorillaSize(t.Samples, rows)) / float64(r.Values)
	return r, nil
}

func compare(msg []byte, schema *protocol.Schema, want []protocol.Sample, first int) error {
	var b protocol.Block
	if err := protocol.Unmarshal(msg, &b); err != nil {
		return err
	}
	got, err := b.Samples(schema)
	if err != nil {
		return err
	}
	if len(got) != len(want) {
		return fmt.Errorf("block at row %d: %d rows came back, %d went in", first, len(got), len(want))
	}
	for i := range got {
		if got[i].Mono != want[i].Mono || got[i].Wall != want[i].Wall {
			return fmt.Errorf("row %d: time %d ms came back, %d went in", first+i, got[i].Wall, want[i].Wall)
		}
		for m, v := range got[i].Values {
			if w := want[i].Values[m]; v != w && !(math.IsNaN(v) && math.IsNaN(w)) {
				return fmt.Errorf("row %d, %s: %v came back, %v went in", first+i, schema.Metrics[m].Name, v, w)
			}
		}
	}
	return nil
}

func perValue(start time.Time, values int) float64 {
	return float64(time.Since(start).Nanoseconds()) / float64(values)
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
