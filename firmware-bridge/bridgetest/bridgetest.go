// Package bridgetest is what every driver must pass: the contract of package bridge as tests.
package bridgetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/protocol"
)

// Config says what the driver under test can do.
type Config struct {
	New   func(t *testing.T) bridge.Driver // a new driver on the same device each time
	State func(t *testing.T) string        // what actions may change, seen from outside of the driver; nil: not comparable
	// Actions are tried in turn: undo, apply, the state differs if Changes, undo, the state is as before.
	Actions      []Action
	BadActions   []BadAction
	Diagnoses    []protocol.DiagnosisRequest
	BadDiagnoses []BadDiagnosis
	Holds        []protocol.Check // conditions that hold on the healthy device
	Fails        []protocol.Check // conditions that do not
}

// Action is an action that the driver can carry out.
type Action struct {
	protocol.Action
	Changes bool // the state differs after it
}

// BadAction is refused with an error that names Says; nothing changes.
type BadAction struct {
	protocol.Action
	Says string
}

// BadDiagnosis is refused with an error that names Says.
type BadDiagnosis struct {
	protocol.DiagnosisRequest
	Says string
}

// Run runs the suite.
func Run(t *testing.T, c Config) {
	t.Run("it says what it is", c.describe)
	t.Run("samples are well formed", c.sample)
	t.Run("a sample keeps to its deadline", c.deadline)
	t.Run("a sample stays as it is until the next", c.keeps)
	t.Run("undo restores exactly", c.undo)
	t.Run("bad actions change nothing", c.badActions)
	t.Run("checks measure", c.checks)
	t.Run("diagnoses stream what they return", c.diagnose)
	t.Run("bad diagnoses are refused", c.badDiagnoses)
	t.Run("a cancelled diagnosis ends at once", c.cancel)
	t.Run("methods may be called together", c.together)
}

func (c Config) open(t *testing.T) bridge.Driver {
	t.Helper()
	d := c.New(t)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return d
}

func (c Config) describe(t *testing.T) {
	d, err := c.open(t).Describe(t.Context())
	if err != nil || d.Model == "" || d.Bridge == "" {
		t.Errorf("Describe: %+v, %v; want a model and a bridge", d, err)
	}
}

var metricForm = regexp.MustCompile(`^[a-z][a-z0-9]*([._][a-z0-9]+)*$`)

func (c Config) sample(t *testing.T) {
	d := c.open(t)
	var last map[string]float64
	var mono int64 = math.MinInt64
	for range 3 {
		s, err := d.Sample(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Values) != len(s.Schema.Metrics) {
			t.Fatalf("%d values for %d metrics", len(s.Values), len(s.Schema.Metrics))
		}
		if again, err := protocol.NewSchema(s.Schema.Metrics); err != nil || again.ID != s.Schema.ID {
			t.Fatalf("the schema is not valid: %v", err)
		}
		if s.Mono < mono {
			t.Errorf("monotonic time went from %d to %d", mono, s.Mono)
		}
		mono = s.Mono
		now := map[string]float64{}
		for i, m := range s.Schema.Metrics {
			key, v := m.String(), s.Values[i]
			if _, twice := now[key]; twice {
				t.Errorf("%s is there twice", key)
			}
			now[key] = v
			if !metricForm.MatchString(m.Name) {
				t.Errorf("%q is no metric name", m.Name)
			}
			if math.IsInf(v, 0) {
				t.Errorf("%s is infinite; a missing value is NaN", key)
			}
			if strings.HasSuffix(m.Name, "_ratio") && (v < 0 || v > 1) {
				t.Errorf("%s is %g, want 0 to 1", key, v)
			}
			if before, ok := last[key]; ok && m.Kind == protocol.Counter && v < before {
				t.Errorf("counter %s went from %g to %g", key, before, v)
			}
		}
		last = now
	}
	if len(last) == 0 {
		t.Error("the sample is empty")
	}
}

func (c Config) deadline(t *testing.T) {
	d := c.open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, _ = d.Sample(ctx)
	// The rest is for a machine that has other things to do.
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("a sample with a deadline of 20ms took %v", took)
	}
}

func (c Config) keeps(t *testing.T) {
	d := c.open(t)
	s, err := d.Sample(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(s.Values)
	zero := 0.0
	for _, check := range append([]protocol.Check{{Metric: "uptime_s", Min: &zero}}, c.Holds...) {
		if _, err := d.Check(t.Context(), check); err != nil && !errors.Is(err, bridge.ErrArgument) {
			t.Error(err)
		}
	}
	if len(c.Diagnoses) > 0 {
		if _, err := d.Diagnose(t.Context(), c.Diagnoses[0], nil); err != nil {
			t.Error(err)
		}
	}
	if !slices.EqualFunc(before, s.Values, func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }) {
		t.Errorf("a check or a diagnosis changed the sample from\n%v to\n%v", before, s.Values)
	}
}

func (c Config) state(t *testing.T) string {
	if c.State == nil {
		return ""
	}
	return c.State(t)
}

func (c Config) undo(t *testing.T) {
	for _, a := range c.Actions {
		t.Run(a.Kind+" "+a.Target, func(t *testing.T) {
			d := c.open(t)
			before := c.state(t)
			undo, err := d.Undo(t.Context(), a.Action)
			if err != nil {
				t.Fatal(err)
			}
			checkLimits(t, undo)
			if now := c.state(t); now != before {
				t.Fatalf("asking for the undo changed\n%s\nto\n%s", before, now)
			}
			// Before anything was applied there is nothing to take back.
			if err := d.Apply(t.Context(), undo); err != nil {
				t.Errorf("undo of what was not applied: %v", err)
			}
			if now := c.state(t); now != before {
				t.Errorf("undo of what was not applied changed\n%s\nto\n%s", before, now)
			}
			if err := d.Apply(t.Context(), a.Action); err != nil {
				t.Fatal(err)
			}
			if now := c.state(t); c.State != nil && a.Changes && now == before {
				t.Errorf("applying changed nothing of\n%s", before)
			}
			// After a restart there is another driver, and the undo comes from disk.
			stored, err := json.Marshal(undo)
			if err != nil {
				t.Fatal(err)
			}
			var loaded protocol.Action
			if err := json.Unmarshal(stored, &loaded); err != nil {
				t.Fatal(err)
			}
			again := c.open(t)
			for i := range 2 { // a crash during the undo means that it is done once more
				if err := again.Apply(t.Context(), loaded); err != nil {
					t.Fatalf("undo %d: %v", i+1, err)
				}
				if now := c.state(t); now != before {
					t.Errorf("undo %d made\n%s\nof\n%s", i+1, now, before)
				}
			}
		})
	}
}

func checkLimits(t *testing.T, a protocol.Action) {
	t.Helper()
	if a.Kind == "" || len(a.Args) > protocol.MaxArgs {
		t.Errorf("undo %+v has no kind or too many arguments", a)
	}
	for name, v := range a.Args {
		if len(v) > protocol.MaxText {
			t.Errorf("undo argument %s has %d bytes, limit %d", name, len(v), protocol.MaxText)
		}
	}
}

func (c Config) badActions(t *testing.T) {
	d := c.open(t)
	bad := append([]BadAction{
		{protocol.Action{Kind: "coffee.make"}, "coffee.make"},
		{protocol.Action{}, ""},
	}, c.BadActions...)
	for _, b := range bad {
		before := c.state(t)
		_, undoErr := d.Undo(t.Context(), b.Action)
		for what, err := range map[string]error{"Undo": undoErr, "Apply": d.Apply(t.Context(), b.Action)} {
			refused(t, fmt.Sprintf("%s %+v", what, b.Action), err, b.Says)
		}
		if now := c.state(t); now != before {
			t.Errorf("%+v changed\n%s\nto\n%s", b.Action, before, now)
		}
	}
}

func refused(t *testing.T, what string, err error, says string) {
	t.Helper()
	if !errors.Is(err, bridge.ErrArgument) && !errors.Is(err, bridge.ErrUnsupported) {
		t.Errorf("%s: %v; want ErrArgument or ErrUnsupported", what, err)
		return
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v; want it to name %q", what, err, says)
	}
}

func (c Config) checks(t *testing.T) {
	d := c.open(t)
	if _, err := d.Sample(t.Context()); err != nil { // rates need a first reading
		t.Fatal(err)
	}
	for _, check := range c.Holds {
		if ok, err := d.Check(t.Context(), check); err != nil || !ok {
			t.Errorf("%s does not hold: %t, %v", show(check), ok, err)
		}
	}
	for _, check := range c.Fails {
		if ok, err := d.Check(t.Context(), check); err != nil || ok {
			t.Errorf("%s holds: %t, %v", show(check), ok, err)
		}
	}
	zero := 0.0
	for _, bad := range []protocol.Check{{Metric: "no.such_metric", Max: &zero}, {Metric: "gateway.rtt_ms"}} {
		_, err := d.Check(t.Context(), bad)
		refused(t, "check "+show(bad), err, "check")
	}
}

func show(c protocol.Check) string {
	b, _ := json.Marshal(c)
	return string(b)
}

var (
	statuses = []protocol.Status{protocol.StatusOK, protocol.StatusWarn, protocol.StatusFail, protocol.StatusSkipped}
	segments = []protocol.Segment{protocol.SegmentNone, protocol.SegmentDevice, protocol.SegmentHome, protocol.SegmentISP, protocol.SegmentCloud, protocol.SegmentUnknown}
)

func (c Config) diagnose(t *testing.T) {
	for _, req := range c.Diagnoses {
		t.Run(req.Kind+" "+req.Target, func(t *testing.T) {
			t.Parallel() // they wait for answers most of the time
			d := c.open(t)
			var told []protocol.Step
			got, err := d.Diagnose(t.Context(), req, func(s protocol.Step) { told = append(told, s) })
			if err != nil {
				t.Fatal(err)
			}
			if got.Request.Kind != req.Kind {
				t.Errorf("the result is of a %q", got.Request.Kind)
			}
			if len(got.Steps) == 0 || len(got.Steps) > protocol.MaxSteps {
				t.Errorf("%d steps, want 1 to %d", len(got.Steps), protocol.MaxSteps)
			}
			if !slices.EqualFunc(told, got.Steps, func(a, b protocol.Step) bool { return a.Name == b.Name && a.Target == b.Target && a.Status == b.Status }) {
				t.Errorf("told %v, returned %v", told, got.Steps)
			}
			for _, s := range got.Steps {
				if s.Name == "" || !slices.Contains(statuses, s.Status) || s.Status == protocol.StatusFail && s.Code == "" {
					t.Errorf("step %+v has no name, no status, or fails without a code", s)
				}
			}
			if !slices.Contains(segments, got.Verdict.Segment) || got.Verdict.Code == "" {
				t.Errorf("verdict %+v", got.Verdict)
			}
			if _, err := d.Diagnose(t.Context(), req, nil); err != nil {
				t.Errorf("without a listener: %v", err)
			}
		})
	}
}

func (c Config) badDiagnoses(t *testing.T) {
	d := c.open(t)
	bad := append([]BadDiagnosis{
		{protocol.DiagnosisRequest{Kind: "horoscope"}, "horoscope"},
		{protocol.DiagnosisRequest{}, "kind"},
		{protocol.DiagnosisRequest{Kind: "connection", Args: map[string]string{"colour": "red"}}, "colour"},
		{protocol.DiagnosisRequest{Kind: "connection", Target: "--help"}, "target"},
	}, c.BadDiagnoses...)
	for _, b := range bad {
		got, err := d.Diagnose(t.Context(), b.DiagnosisRequest, func(s protocol.Step) { t.Errorf("%+v was begun: %+v", b, s) })
		refused(t, fmt.Sprintf("diagnosis %+v", b.DiagnosisRequest), err, b.Says)
		if len(got.Steps) > 0 {
			t.Errorf("%+v has steps %v", b, got.Steps)
		}
	}
}

func (c Config) cancel(t *testing.T) {
	for _, req := range c.Diagnoses {
		d := c.open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		if _, err := d.Diagnose(ctx, req, nil); err == nil {
			t.Errorf("%s: no error after it was cancelled", req.Kind)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s: took %v after it was cancelled", req.Kind, took)
		}
	}
}

func (c Config) together(t *testing.T) {
	d := c.open(t)
	if len(c.Diagnoses) == 0 || len(c.Holds) == 0 {
		t.Fatal("the configuration has no diagnosis or no check to try")
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if _, err := d.Describe(t.Context()); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := d.Diagnose(t.Context(), c.Diagnoses[0], nil); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := d.Check(t.Context(), c.Holds[0]); err != nil {
				t.Error(err)
			}
		})
		if len(c.Actions) > 0 {
			wg.Go(func() {
				if _, err := d.Undo(t.Context(), c.Actions[0].Action); err != nil {
					t.Error(err)
				}
			})
		}
	}
	for range 5 { // samples are taken by one caller: the next call reuses the last one's memory
		if _, err := d.Sample(t.Context()); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}
