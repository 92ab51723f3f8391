package home

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hearthline/hearthline/firmware-bridge/linux"
	"github.com/hearthline/hearthline/protocol"
)

// DriverOptions are what the Linux driver is told in a hub of this home.
func DriverOptions() linux.Options {
	return linux.Options{
		Model: "namespaced-hub", Firmware: "lab-1", Hardware: "none",
		Cloud: CloudName + ":8883", Probe: netip.MustParseAddr(ProbeAddr), ProbeName: CloudName,
		Alternatives: []netip.Addr{netip.MustParseAddr(AltResolver)},
		WebURL:       "http://" + WebName + "/generate_204", SpeedURL: "http://" + WebName + "/bytes?n=20000000",
	}
}

// runWatch runs in the hub: it samples with the Linux driver and prints a trace.
func runWatch(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("home watch", flag.ContinueOnError)
	interval := fs.Duration("interval", time.Second, "time between samples")
	count := fs.Int("count", 0, "samples to take; 0 means until Ctrl-C")
	if err := fs.Parse(args); err != nil {
		return err
	}
	d, err := linux.New(DriverOptions())
	if err != nil {
		return err
	}
	defer d.Close()
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	tick := time.NewTicker(*interval)
	defer tick.Stop()
	var trace traceWriter
	for n := 0; *count == 0 || n < *count; n++ {
		s, err := d.Sample(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := errors.Join(trace.write(out, s), out.Flush()); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// traceWriter prints samples as CSV: ts_ms, then one column a metric. The columns are those of the
// first sample; what appears later has none, what disappears stays empty.
type traceWriter struct {
	columns []protocol.Metric
}

func (w *traceWriter) write(out io.Writer, s *protocol.Sample) error {
	var b strings.Builder
	if w.columns == nil {
		w.columns = append(w.columns, s.Schema.Metrics...)
		b.WriteString("ts_ms")
		for _, m := range w.columns {
			b.WriteString("," + m.String())
		}
		b.WriteByte('\n')
	}
	b.WriteString(strconv.FormatInt(s.Wall, 10))
	for i, m := range w.columns {
		b.WriteByte(',')
		v := math.NaN()
		if i < len(s.Schema.Metrics) && s.Schema.Metrics[i] == m {
			v = s.Values[i]
		} else {
			for j := range s.Schema.Metrics {
				if s.Schema.Metrics[j] == m {
					v = s.Values[j]
				}
			}
		}
		if !math.IsNaN(v) {
			b.WriteString(strconv.FormatFloat(v, 'f', max(int(m.Scale), 0), 64))
		}
	}
	b.WriteByte('\n')
	_, err := io.WriteString(out, b.String())
	return err
}

// runDiagnose runs in the hub: it prints the steps of a diagnosis as they come, and its verdict.
func runDiagnose(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("home diagnose", flag.ContinueOnError)
	opts := DriverOptions()
	fs.StringVar(&opts.Cloud, "cloud", opts.Cloud, "host:port of the cloud")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if args = fs.Args(); len(args) == 0 {
		return errors.New("diagnose: want KIND [TARGET] [ARG=VALUE...]")
	}
	req := protocol.DiagnosisRequest{Kind: args[0], Args: map[string]string{}}
	for _, a := range args[1:] {
		if name, value, ok := strings.Cut(a, "="); ok && !strings.Contains(name, "/") {
			req.Args[name] = value
		} else {
			req.Target = a
		}
	}
	d, err := linux.New(opts)
	if err != nil {
		return err
	}
	defer d.Close()
	result, err := d.Diagnose(ctx, req, func(s protocol.Step) {
		fmt.Printf("%-8s %-16s %-18s %-12s %4d ms  %v\n", s.Status, s.Name, s.Target, s.Code, s.TookMS, s.Args)
	})
	if err != nil {
		return err
	}
	fmt.Printf("verdict  %s: %s %v\n", result.Verdict.Segment, result.Verdict.Code, result.Verdict.Args)
	return nil
}
