package home

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"syscall"
	"time"
)

// episode is one fault of a recording. It starts at once, or comes on over Ramp in steps, as a failing
// line or an overloaded resolver does.
type episode struct {
	Fault Fault
	After time.Duration // from the end of the one before
	Ramp  time.Duration // from the first sign to full strength; 0 for a sudden one
	Hold  time.Duration // at full strength
}

// shape says how a kind of fault looks in a recording.
type shape struct {
	kind     string
	low      float64 // full strength is drawn between these, evenly on a logarithmic scale
	high     float64
	first    float64 // strength of the first sign of a gradual one; 0 for kinds that have no grades
	weight   int
	gradual  float64 // share of those that come on gradually
	shortest time.Duration
}

var shapes = []shape{
	{kind: "loss", low: 8, high: 60, first: 1, weight: 4, gradual: 0.7},
	{kind: "lan-loss", low: 8, high: 60, first: 1, weight: 3, gradual: 0.7},
	{kind: "bandwidth", low: 24, high: 128, first: 1024, weight: 2, gradual: 0.5},
	{kind: "dns-slow", low: 200, high: 1500, first: 30, weight: 4, gradual: 0.7},
	{kind: "dns-dead", weight: 2},
	{kind: "uplink-down", weight: 2},
	{kind: "isp-down", weight: 1},
	{kind: "lan-down", weight: 1},
	{kind: "dhcp-gone", weight: 1, shortest: 140 * time.Second}, // felt only when the lease ends
	{kind: "cloud-down", weight: 1},
}

// schedule draws the faults of a recording. The same seed gives the same faults at the same times.
func schedule(seed uint64, length time.Duration) (list []episode) {
	r := rand.New(rand.NewPCG(seed, 0x68656172746c)) // the second word only has to be the same always
	total := 0
	for _, s := range shapes {
		total += s.weight
	}
	seconds := func(from, to float64) time.Duration {
		return time.Duration((from + r.Float64()*(to-from)) * float64(time.Second)).Round(100 * time.Millisecond)
	}
	for at := time.Duration(0); ; {
		n, i := r.IntN(total), 0
		for n >= shapes[i].weight {
			n -= shapes[i].weight
			i++
		}
		s := shapes[i]
		e := episode{Fault: Fault{Kind: s.kind}, After: seconds(20, 75), Hold: seconds(12, 40)}
		if s.high > 0 {
			v := s.low * math.Pow(s.high/s.low, r.Float64())
			e.Fault.Value = math.Round(v)
		}
		if r.Float64() < s.gradual {
			e.Ramp = seconds(10, 45)
		}
		e.Hold = max(e.Hold, s.shortest)
		at += e.After + e.Ramp + e.Hold
		if at > length {
			return list
		}
		list = append(list, e)
	}
}

// rampSteps is how many steps a gradual fault takes to full strength.
const rampSteps = 6

// step is the fault at step n of a ramp; the strength grows by the same factor each time.
func (e episode) step(n int) Fault {
	for _, s := range shapes {
		if s.kind == e.Fault.Kind && s.first > 0 {
			return Fault{Kind: s.kind, Value: s.first * math.Pow(e.Fault.Value/s.first, float64(n)/rampSteps)}
		}
	}
	return e.Fault
}

// runRecord records what the Linux driver sees in a home while faults come and go.
func runRecord(ctx context.Context, args []string) (err error) {
	fs := flag.NewFlagSet("home record", flag.ContinueOnError)
	dir := fs.String("dir", os.TempDir()+"/hearth-record", "folder of the home")
	minutes := fs.Float64("minutes", 10, "length of the recording")
	seed := fs.Uint64("seed", 1, "which faults, and when")
	out := fs.String("out", "trace.csv", "samples: ts_ms and one column a metric")
	faults := fs.String("faults", "faults.csv", "faults: start_ms, end_ms, kind, value, onset_ms (first sign; start is full strength)")
	userNS := fs.Bool("userns", false, "use a user namespace also when root")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("record: unexpected %q", fs.Arg(0))
	}
	if !(*minutes > 0 && *minutes <= 24*60) {
		return fmt.Errorf("record: --minutes %g: want more than 0, at most 1440", *minutes)
	}
	trace, err := os.Create(*out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, trace.Close()) }()
	list, err := os.Create(*faults)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, list.Close()) }()

	length := time.Duration(*minutes * float64(time.Minute))
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	h, err := Up(context.WithoutCancel(ctx), Options{Dir: *dir, UserNS: *userNS})
	if err != nil {
		return err
	}
	defer h.Close()
	stop, err := h.startBusy(*seed)
	if err != nil {
		return err
	}
	defer stop()
	watch, err := h.Start(Command{Host: "hub", Argv: []string{"/proc/self/exe", "home", "watch", "--interval", "1s"}, Stdout: trace, Stderr: os.Stderr})
	if err != nil {
		return err
	}
	schedErr := h.play(ctx, schedule(*seed, length), list)
	select { // the calm after the last fault is part of the recording
	case <-ctx.Done():
	case <-watch.Done():
	}
	if err := watch.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return errors.Join(schedErr, watch.Wait())
}

// play makes the faults happen and writes down when they did.
func (h *Home) play(ctx context.Context, list []episode, out *os.File) error {
	w := bufio.NewWriter(out)
	fmt.Fprintln(w, "start_ms,end_ms,kind,value,onset_ms")
	sleep := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-ctx.Done():
			return false
		}
	}
	for _, e := range list {
		if !sleep(e.After) {
			break
		}
		onset := time.Now()
		for n := 0; n < rampSteps && e.Ramp > 0; n++ {
			if err := h.Fault(e.step(n), true); err != nil {
				return err
			}
			if !sleep(e.Ramp / rampSteps) {
				break
			}
		}
		start := time.Now()
		if err := h.Fault(e.Fault, true); err != nil {
			return err
		}
		whole := sleep(e.Hold)
		if err := h.Fault(e.Fault, false); err != nil {
			return err
		}
		fmt.Fprintf(w, "%d,%d,%s,%g,%d\n", start.UnixMilli(), time.Now().UnixMilli(), e.Fault.Kind, e.Fault.Value, onset.UnixMilli())
		if err := w.Flush(); err != nil {
			return err
		}
		if !whole {
			break
		}
	}
	return w.Flush()
}
