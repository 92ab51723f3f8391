package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/firmware-bridge/bridgetest"
	"github.com/hearthline/hearthline/protocol"
)

// clock is a time that the test moves.
type clock struct{ at time.Duration }

func (c *clock) start() time.Duration { return c.at }
func (c *clock) now() time.Time       { return time.UnixMilli(1_700_000_000_000).Add(c.at) }

func synthetic(t *testing.T, p Profile) (*Trace, Script) {
	t.Helper()
	trace, script, err := Synthetic(p, 1)
	if err != nil {
		t.Fatal(err)
	}
	return trace, script
}

func open(t *testing.T, opts Options) *Driver {
	t.Helper()
	d, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformance(t *testing.T) {
	trace, script := synthetic(t, Profile{Model: "Hub One", Firmware: "3.9.0"})
	small, large := 0.0, 1e6
	var c clock
	c.at = time.Minute
	var mu sync.Mutex
	var last *Driver
	bridgetest.Run(t, bridgetest.Config{
		New: func(t *testing.T) bridge.Driver {
			d := open(t, Options{Trace: trace, Script: script, Loop: true, Start: c.start, Now: c.now})
			mu.Lock()
			defer mu.Unlock()
			if last != nil { // the device goes on when its driver is opened again
				last.mu.Lock()
				for k, v := range last.applied {
					d.applied[k] = v
				}
				last.mu.Unlock()
			}
			last = d
			return d
		},
		State: func(t *testing.T) string { return fmt.Sprint(last.applied) },
		Actions: []bridgetest.Action{
			{Action: protocol.Action{Kind: "dns.switch", Args: map[string]string{"resolver": syntheticAlternative}}, Changes: true},
			{Action: protocol.Action{Kind: "dhcp.renew", Target: "eth0"}, Changes: true},
			{Action: protocol.Action{Kind: "uplink.failover", Target: "wwan0"}, Changes: true},
		},
		BadActions: []bridgetest.BadAction{
			{Action: protocol.Action{Kind: "dns.switch", Args: map[string]string{"resolver": "6.6.6.6"}}, Says: "args.resolver"},
			{Action: protocol.Action{Kind: "dns.switch"}, Says: "args.resolver"},
			{Action: protocol.Action{Kind: "dhcp.renew", Target: "eth7"}, Says: "target"},
			{Action: protocol.Action{Kind: "service.restart", Target: "x"}, Says: "service.restart"},
			{Action: protocol.Action{Kind: Restore, Args: map[string]string{"state": "{"}}, Says: "args.state"},
		},
		Diagnoses:    []protocol.DiagnosisRequest{{Kind: "connection"}, {Kind: "ping"}, {Kind: "dns"}, {Kind: "dhcp"}, {Kind: "interface"}},
		BadDiagnoses: []bridgetest.BadDiagnosis{{DiagnosisRequest: protocol.DiagnosisRequest{Kind: "ping", Target: "1.2.3.4"}, Says: "target"}, {DiagnosisRequest: protocol.DiagnosisRequest{Kind: "speed"}, Says: "speed"}},
		Holds:        []protocol.Check{{Metric: "gateway.loss_ratio", Max: &large}, {Metric: "dns.latency_ms", Max: &large}},
		Fails:        []protocol.Check{{Metric: "wan.rtt_ms", Max: &small}},
	})
}

// values plays a driver from one time to another and returns the values of some columns.
func values(t *testing.T, d *Driver, c *clock, from, to, step time.Duration, columns ...string) [][]float64 {
	t.Helper()
	var out [][]float64
	for c.at = from; c.at < to; c.at += step {
		s, err := d.Sample(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var row []float64
		for _, name := range columns {
			i, ok := d.index[name]
			if !ok {
				t.Fatalf("no column %s", name)
			}
			row = append(row, s.Values[i])
		}
		out = append(out, row)
	}
	return out
}

func TestTheRightActionCuresATroubleAndItsUndoBringsItBack(t *testing.T) {
	trace, script := synthetic(t, Profile{Model: "Hub One", Trouble: LossyUplink, From: 600_000, To: 1_200_000})
	var c clock
	d := open(t, Options{Trace: trace, Script: script, Start: c.start, Now: c.now})
	loss := func() float64 {
		sum := 0.0
		rows := values(t, d, &c, 800*time.Second, 1200*time.Second, 10*time.Second, "wan.loss_ratio")
		for _, r := range rows {
			sum += r[0] / float64(len(rows))
		}
		return sum
	}
	sick := loss()
	if sick < 0.15 {
		t.Fatalf("the trouble shows a loss of %g only", sick)
	}
	wrong := protocol.Action{Kind: "interface.bounce", Target: "eth0"}
	if err := d.Apply(t.Context(), wrong); err != nil {
		t.Fatal(err)
	}
	if got := loss(); got != sick {
		t.Errorf("an action that is no cure made a loss of %g of %g", got, sick)
	}
	right := protocol.Action{Kind: "uplink.failover", Target: "wwan0"}
	undo, err := d.Undo(t.Context(), right)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Apply(t.Context(), right); err != nil {
		t.Fatal(err)
	}
	if got := loss(); got > 0.02 {
		t.Errorf("after the cure the loss is %g", got)
	}
	if got := values(t, d, &c, 900*time.Second, 901*time.Second, time.Second, "route.default{wwan0}", "route.default{eth0}"); got[0][0] != 1 || got[0][1] != 0 {
		t.Errorf("after the fail-over the default routes are %v", got)
	}
	if err := d.Apply(t.Context(), undo); err != nil {
		t.Fatal(err)
	}
	if got := loss(); got != sick {
		t.Errorf("after the undo the loss is %g, want %g", got, sick)
	}
}

func TestSwitchingTheResolverMakesTheOtherOneCount(t *testing.T) {
	trace, script := synthetic(t, Profile{Model: "Hub Mini", Trouble: SlowResolver, From: 600_000, To: 1_200_000})
	var c clock
	c.at = 1000 * time.Second
	d := open(t, Options{Trace: trace, Script: script, Start: c.start, Now: c.now})
	limit := 200.0
	check := protocol.Check{Metric: "dns.latency_ms", Max: &limit}
	if ok, err := d.Check(t.Context(), check); err != nil || ok {
		t.Fatalf("with the slow resolver the check gives %t, %v", ok, err)
	}
	got, err := d.Diagnose(t.Context(), protocol.DiagnosisRequest{Kind: "connection"}, nil)
	if err != nil || got.Verdict.Segment != protocol.SegmentHome || !strings.HasPrefix(got.Verdict.Code, "resolver.") {
		t.Errorf("the verdict is %+v, %v", got.Verdict, err)
	}
	if err := d.Apply(t.Context(), protocol.Action{Kind: "dns.switch", Args: map[string]string{"resolver": syntheticAlternative}}); err != nil {
		t.Fatal(err)
	}
	if ok, err := d.Check(t.Context(), check); err != nil || !ok {
		t.Errorf("with the other resolver the check gives %t, %v", ok, err)
	}
}

func TestTheSameInputsGiveTheSameSamplesAtAnySpeed(t *testing.T) {
	for i, p := range Profiles(30, 5) {
		trace, script, err := Synthetic(p, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		again, scriptAgain, err := Synthetic(p, uint64(i))
		if err != nil || !reflect.DeepEqual(script, scriptAgain) || fmt.Sprint(trace) != fmt.Sprint(again) {
			t.Fatalf("home %d was made up differently the second time: %v", i, err)
		}
		var slow, fast clock
		a := open(t, Options{Trace: trace, Script: script, Loop: true, Start: slow.start, Now: slow.now})
		b := open(t, Options{Trace: again, Script: script, Loop: true, Start: fast.start, Now: fast.now, Speed: 60})
		for m := range 90 { // half an hour beyond the end of the trace
			slow.at, fast.at = time.Duration(m)*time.Minute, time.Duration(m)*time.Second
			x, errX := a.Sample(t.Context())
			y, errY := b.Sample(t.Context())
			if errX != nil || errY != nil || fmt.Sprint(x.Values) != fmt.Sprint(y.Values) {
				t.Fatalf("home %d, minute %d:\n%v, %v\n%v, %v", i, m, x.Values, errX, y.Values, errY)
			}
		}
	}
}

func TestCountersGoOnGrowingWhenTheTraceBeginsAnew(t *testing.T) {
	trace, script := synthetic(t, Profile{Model: "Gateway G3", Rows: 10})
	var c clock
	d := open(t, Options{Trace: trace, Script: script, Loop: true, Start: c.start, Now: c.now})
	last := -1.0
	for _, row := range values(t, d, &c, 0, 500*time.Second, 10*time.Second, "iface.rx_bytes{eth0}") {
		if row[0] < last {
			t.Fatalf("the counter went from %g to %g", last, row[0])
		}
		last = row[0]
	}
}

func TestATraceThatIsNotLoopedEnds(t *testing.T) {
	trace, script := synthetic(t, Profile{Model: "Gateway G3", Rows: 10})
	c := clock{at: 100 * time.Second}
	d := open(t, Options{Trace: trace, Script: script, Start: c.start, Now: c.now})
	if _, err := d.Sample(t.Context()); !errors.Is(err, ErrEnded) {
		t.Errorf("after the last row: %v, want ErrEnded", err)
	}
}

func TestATraceComesBackFromItsFile(t *testing.T) {
	trace, _ := synthetic(t, Profile{Model: "Panel 7", Trouble: WeakWifi, From: 60_000, To: 120_000, Rows: 40})
	var file bytes.Buffer
	if err := trace.Write(&file); err != nil {
		t.Fatal(err)
	}
	got, err := ReadTrace(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Metrics, trace.Metrics) || !reflect.DeepEqual(got.Times, trace.Times) {
		t.Error("metrics or times came back differently")
	}
	for i, row := range trace.Rows {
		for j, v := range row {
			w, unit := got.Rows[i][j], math.Pow10(-max(int(trace.Metrics[j].Scale), 0))
			if math.IsNaN(v) != math.IsNaN(w) || math.Abs(v-w) > unit*0.51 {
				t.Fatalf("row %d, %s: %g came back as %g", i, trace.Metrics[j], v, w)
			}
		}
	}
}

func TestMalformedTracesAreNamed(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "header"},
		{"no times", "a,b\n1,2\n", "want ts_ms"},
		{"no metric", "ts_ms\n1\n2\n", "line 1"},
		{"a column twice", "ts_ms,a,a\n1,2,3\n", "column 3: a is there twice"},
		{"an open brace", "ts_ms,a{b\n1,2\n", `column 2: "a{b" is no metric`},
		{"a word", "ts_ms,a\n1,2\n2,x\n", `line 3, column a: "x"`},
		{"infinity", "ts_ms,a\n1,2\n2,Inf\n", `line 3, column a: "Inf"`},
		{"a missing field", "ts_ms,a,b\n1,2,3\n2,3\n", "line 3"},
		{"times backwards", "ts_ms,a\n5,2\n4,3\n", "line 3, column ts_ms: 4 is not after"},
		{"a time twice", "ts_ms,a\n5,2\n5,3\n", "is not after"},
		{"no time", "ts_ms,a\nx,2\n", `"x" is no time`},
		{"one row", "ts_ms,a\n1,2\n", "1 rows, want at least 2"},
	} {
		if _, err := ReadTrace(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestMalformedScriptsAreNamed(t *testing.T) {
	trace, _ := synthetic(t, Profile{Model: "Hub One", Rows: 10})
	for _, c := range []struct{ name, text, want string }{
		{"an unknown key", `{"model":"m","colour":1}`, "colour"},
		{"no model", `{}`, "model"},
		{"an unknown action", `{"model":"m","actions":[{"kind":"x"}]}`, "actions[0].kind"},
		{"calm outside of the trace", `{"model":"m","calm":{"from_ms":0,"to_ms":999999}}`, "calm"},
		{"an unknown column", `{"model":"m","troubles":[{"from_ms":0,"to_ms":100,"metrics":["x"]}]}`, "troubles[0].metrics"},
		{"a cure that is not offered", `{"model":"m","calm":{"from_ms":0,"to_ms":50},"troubles":[{"from_ms":50,"to_ms":100,"metrics":["wan.rtt_ms"],"cured_by":{"kind":"dns.switch"}}]}`, "cured_by"},
		{"a cure without calm", `{"model":"m","actions":[{"kind":"dns.switch"}],"troubles":[{"from_ms":50,"to_ms":100,"metrics":["wan.rtt_ms"],"cured_by":{"kind":"dns.switch"}}]}`, "calm"},
	} {
		if _, err := ReadScript(strings.NewReader(c.text), trace); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := New(Options{Trace: trace, Script: Script{Model: "m"}, Speed: -1}); err == nil {
		t.Error("a negative speed is no error")
	}
	if _, _, err := Synthetic(Profile{Trouble: "ghosts"}, 1); err == nil || !strings.Contains(err.Error(), SlowResolver) {
		t.Errorf("an unknown trouble: %v", err)
	}
}

func TestDiagnosesBlameWhatIsBroken(t *testing.T) {
	for _, c := range []struct {
		profile Profile
		want    protocol.Segment
		code    string
	}{
		{Profile{Model: "Hub One"}, protocol.SegmentNone, "all.well"},
		{Profile{Model: "Hub One", Trouble: LossyUplink, From: 100_000, To: 900_000}, protocol.SegmentISP, "uplink.loss"},
		{Profile{Model: "Hub Mini", Trouble: WeakWifi, From: 100_000, To: 900_000}, protocol.SegmentHome, "wifi.weak"},
		{Profile{Model: "Gateway G3", Trouble: FlappingPort, From: 100_000, To: 900_000}, protocol.SegmentHome, "interface.no.carrier"},
	} {
		trace, script := synthetic(t, c.profile)
		counts := map[string]int{}
		for at := 500 * time.Second; at < 900*time.Second; at += 10 * time.Second {
			k := clock{at: at}
			got, err := open(t, Options{Trace: trace, Script: script, Start: k.start}).Diagnose(context.Background(), protocol.DiagnosisRequest{Kind: "connection"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			counts[fmt.Sprint(got.Verdict.Segment, got.Verdict.Code)]++
		}
		// One moment's ratio is of 20 probes: a verdict of most moments is what can be asked for.
		if n := counts[fmt.Sprint(c.want, c.code)]; n < 15 {
			t.Errorf("%s: verdicts %v, want %s %s in most", c.profile.Trouble, counts, c.want, c.code)
		}
	}
}

func FuzzReadTrace(f *testing.F) {
	f.Add([]byte("ts_ms,a,b{c}\n1,2,\n2,3,4\n"))
	f.Add([]byte("ts_ms,a\n9223372036854775807,2\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		trace, err := ReadTrace(bytes.NewReader(b))
		if err != nil {
			return
		}
		if trace.span() <= 0 {
			t.Fatalf("a span of %d", trace.span())
		}
		d, err := New(Options{Trace: trace, Script: Script{Model: "m"}, Loop: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Sample(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
