package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/agenttest"
	"github.com/hearthline/hearthline/agent/app"
	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/protocol"
)

// TestMain also is the assist program of the session test.
func TestMain(m *testing.M) {
	if os.Getenv("HEARTH_TEST_ASSIST") != "" {
		assist()
		return
	}
	goleak.VerifyTestMain(m)
}

// assist answers an offer, reports one event, and ends when told.
func assist() {
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for in.Scan() {
		var m agent.ToAssist
		if json.Unmarshal(in.Bytes(), &m) != nil {
			os.Exit(1)
		}
		switch {
		case m.Signal != nil:
			_ = out.Encode(agent.FromAssist{Signal: &protocol.Signal{Version: 1, Session: m.Signal.Session, Kind: "answer", Body: m.Signal.Body}})
			_ = out.Encode(agent.FromAssist{Event: &protocol.Event{Kind: protocol.EventSessionAction, Args: map[string]string{"what": "diagnose"}}})
		case m.End != "":
			_ = out.Encode(agent.FromAssist{Ended: m.End})
			return
		}
	}
}

// hub is a device with one resolver that can be switched and one metric that tells whether it works.
type hub struct {
	mu       sync.Mutex
	schema   *protocol.Schema
	latency  map[string]float64 // by resolver
	resolver string
	changes  []string
}

func newHub(t *testing.T) *hub {
	s, err := protocol.NewSchema([]protocol.Metric{{Name: "dns.latency_ms", Kind: protocol.Gauge, Scale: 1}, {Name: "wan.loss_ratio", Kind: protocol.Gauge, Scale: 3}})
	if err != nil {
		t.Fatal(err)
	}
	return &hub{schema: s, resolver: "192.0.2.1", latency: map[string]float64{"192.0.2.1": 12, "192.0.2.2": 9}}
}

func (h *hub) set(resolver string, latency float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.latency[resolver] = latency
}

func (h *hub) now() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.resolver
}

func (h *hub) Describe(context.Context) (bridge.Description, error) {
	return bridge.Description{Model: "test hub", Bridge: "test"}, nil
}

func (h *hub) Sample(context.Context) (*protocol.Sample, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &protocol.Sample{Schema: h.schema, Values: []float64{h.latency[h.resolver], math.NaN()}}, nil
}

func (h *hub) Diagnose(_ context.Context, req protocol.DiagnosisRequest, step func(protocol.Step)) (protocol.Diagnosis, error) {
	s := protocol.Step{Name: "dns.query", Target: h.now(), Status: protocol.StatusFail, Code: "timeout"}
	if step != nil {
		step(s)
	}
	if req.Kind == "speed" {
		return protocol.Diagnosis{}, bridge.ErrUnsupported
	}
	return protocol.Diagnosis{Request: req, Steps: []protocol.Step{s}, Verdict: protocol.Verdict{Segment: protocol.SegmentHome, Code: "resolver.slow"}}, nil
}

func (h *hub) Undo(_ context.Context, a protocol.Action) (protocol.Action, error) {
	if a.Kind != "dns.switch" {
		return a, bridge.ErrUnsupported
	}
	return protocol.Action{Kind: "dns.switch", Args: map[string]string{"resolver": h.now()}}, nil
}

func (h *hub) Apply(_ context.Context, a protocol.Action) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.resolver = a.Args["resolver"]
	h.changes = append(h.changes, h.resolver)
	return nil
}

func (h *hub) Check(_ context.Context, c protocol.Check) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.latency[h.resolver] <= *c.Max, nil
}

func (h *hub) Close() error { return nil }

// home is one running agent with its broker and cloud.
type home struct {
	t       *testing.T
	ca      *agenttest.CA
	cloud   *agenttest.Cloud
	hub     *hub
	dir     string
	opts    app.Options
	stop    func()
	counter uint64
}

func newHome(t *testing.T, change ...func(*app.Options)) *home {
	t.Helper()
	h := &home{t: t, ca: agenttest.NewCA(t), hub: newHub(t), dir: filepath.Join(t.TempDir(), "data")}
	b := agenttest.Mochi(t, h.ca)
	h.cloud = agenttest.NewCloud(t, b, "hub-1")
	id := h.ca.Identity(t, "hub-1", b.Devices)
	h.opts = app.Options{
		Dir: h.dir, Driver: h.hub, Identity: func() *agent.Identity { return id },
		Interval: 20 * time.Millisecond, Batch: 40 * time.Millisecond, Spread: 10 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, c := range change {
		c(&h.opts)
	}
	h.start()
	h.cloud.AwaitEvent(protocol.EventBoot, 1)
	return h
}

func (h *home) start() {
	h.t.Helper()
	a, err := app.New(h.opts)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
		h.stop = func() {}
	}
	h.t.Cleanup(func() { h.stop() })
}

var cause = protocol.EntryID("why-1")

func (h *home) command(change func(*protocol.Command, *protocol.Plan)) []byte {
	h.t.Helper()
	h.counter++
	limit := 50.0
	now := time.Now().Unix()
	p := protocol.Plan{
		Version: 1, ID: "switch-resolver", Tenant: "acme", Verb: protocol.VerbFix, Action: protocol.Action{Kind: "dns.switch"},
		Choices: map[string][]string{"resolver": {"192.0.2.2"}}, Checks: []protocol.Check{{Metric: "dns.latency_ms", Max: &limit}}, WithinS: 5, NotAfter: now + 3600,
	}
	c := protocol.Command{
		Version: 1, ID: fmt.Sprintf("cmd-%d", h.counter), Tenant: "acme", Device: "hub-1", Counter: h.counter,
		IssuedAt: now, ExpiresAt: now + 60, Choice: map[string]string{"resolver": "192.0.2.2"}, Because: []protocol.EntryID{cause},
	}
	if change != nil {
		change(&c, &p)
	}
	return h.ca.Command(h.t, c, p)
}

func (h *home) send(b []byte) { h.cloud.Publish(protocol.DownCommand, b) }

func onlyBecause(t *testing.T, e agenttest.Event, want protocol.EntryID) {
	t.Helper()
	if len(e.Because) != 1 || e.Because[0] != want {
		t.Errorf("%s happened because of %v, want %s", e.Kind, e.Because, want)
	}
}

func TestAFixThatWorksIsKeptAndNamesItsCauses(t *testing.T) {
	h := newHome(t)
	signed := h.command(nil)
	h.send(signed)
	applied := h.cloud.AwaitEvent(protocol.EventFixApplied, 1)
	verified := h.cloud.AwaitEvent(protocol.EventFixVerified, 1)
	onlyBecause(t, applied, cause)
	onlyBecause(t, verified, applied.ID)
	want := map[string]string{"command": "cmd-1", "plan": "switch-resolver", "action": "dns.switch", "resolver": "192.0.2.2", "before_resolver": "192.0.2.1"}
	if !maps.Equal(applied.Args, want) {
		t.Errorf("fix.applied says %v, want %v", applied.Args, want)
	}
	if h.hub.now() != "192.0.2.2" {
		t.Errorf("resolver is %s", h.hub.now())
	}
	h.send(signed) // the cloud repeats what it has not heard of
	h.send(h.command(func(c *protocol.Command, p *protocol.Plan) {
		p.Verb, p.Choices, c.Choice = protocol.VerbDiagnose, map[string][]string{"kind": {"dns"}}, map[string]string{"kind": "dns"}
	}))
	h.cloud.AwaitEvent(protocol.EventDiagnosis, 1)
	if n := len(h.hub.changes); n != 1 {
		t.Errorf("a repeated command changed the device: %d changes", n)
	}
}

func TestAFixThatDoesNotHelpIsRolledBack(t *testing.T) {
	h := newHome(t)
	h.hub.set("192.0.2.2", 900)
	h.send(h.command(nil))
	applied := h.cloud.AwaitEvent(protocol.EventFixApplied, 1)
	back := h.cloud.AwaitEvent(protocol.EventFixRolledBack, 1)
	onlyBecause(t, back, applied.ID)
	if back.Args["reason"] != "check" || back.Args["metric"] != "dns.latency_ms" || h.hub.now() != "192.0.2.1" {
		t.Errorf("%v, resolver is %s", back.Args, h.hub.now())
	}
}

func TestAFixThatNobodyConfirmsIsRolledBack(t *testing.T) {
	confirm := func(_ *protocol.Command, p *protocol.Plan) { p.Confirm = true }
	t.Run("confirmed", func(t *testing.T) {
		h := newHome(t)
		h.send(h.command(confirm))
		h.cloud.AwaitEvent(protocol.EventFixVerified, 1)
	})
	t.Run("not confirmed", func(t *testing.T) {
		h := newHome(t)
		h.cloud.Mute(true)
		h.send(h.command(confirm))
		if back := h.cloud.AwaitEvent(protocol.EventFixRolledBack, 1); back.Args["reason"] != "unconfirmed" || h.hub.now() != "192.0.2.1" {
			t.Errorf("%v, resolver is %s", back.Args, h.hub.now())
		}
	})
}

func TestAPowerCutInTheMiddleOfAFixEndsInTheFormerState(t *testing.T) {
	h := newHome(t)
	h.hub.set("192.0.2.2", 900)
	h.send(h.command(func(_ *protocol.Command, p *protocol.Plan) { p.WithinS = 600 }))
	applied := h.cloud.AwaitEvent(protocol.EventFixApplied, 1)
	cut := filepath.Join(t.TempDir(), "data") // the disk as it is at this moment
	if err := os.CopyFS(cut, os.DirFS(h.dir)); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.hub.mu.Lock()
	h.hub.resolver = "192.0.2.2" // the change had been made
	h.hub.mu.Unlock()
	h.opts.Dir = cut
	h.start()
	var back agenttest.Event
	h.cloud.Await("rolled back after the restart", func(*agenttest.Cloud) bool { return true })
	for n := 1; back.Args["reason"] != "restart"; n++ { // the first is the orderly stop's
		back = h.cloud.AwaitEvent(protocol.EventFixRolledBack, n)
	}
	onlyBecause(t, back, applied.ID)
	if h.hub.now() != "192.0.2.1" {
		t.Errorf("resolver is %s", h.hub.now())
	}
}

func TestEveryBadCommandIsRefusedByNameAndHasNoEffect(t *testing.T) {
	h := newHome(t)
	other := agenttest.NewCA(t)
	past := time.Now().Unix() - 1000
	replayed := h.command(nil)
	h.send(h.command(func(c *protocol.Command, p *protocol.Plan) { // takes the counter beyond the replayed one
		p.Verb, p.Choices, c.Choice = protocol.VerbDiagnose, map[string][]string{"kind": {"*"}}, map[string]string{"kind": "dns"}
	}))
	h.cloud.AwaitEvent(protocol.EventDiagnosis, 1)
	n := 0
	for _, c := range []struct {
		name, field string
		signed      []byte
	}{
		{"for another device", "device", h.command(func(c *protocol.Command, _ *protocol.Plan) { c.Device = "hub-2" })},
		{"for another tenant", "tenant", h.command(func(c *protocol.Command, _ *protocol.Plan) { c.Tenant = "umbrella" })},
		{"expired", "expires_at", h.command(func(c *protocol.Command, _ *protocol.Plan) { c.IssuedAt, c.ExpiresAt = past-60, past })},
		{"replayed out of order", "counter", replayed},
		{"by a key that is not the cloud's", "signature", (&agenttest.CA{CommandKey: other.CommandKey, PlanKey: h.ca.PlanKey}).Command(t,
			protocol.Command{Version: 1, ID: "x"}, protocol.Plan{Version: 1})},
		{"a plan that only the cloud signed", "plan.signature", (&agenttest.CA{CommandKey: h.ca.CommandKey, PlanKey: h.ca.CommandKey}).Command(t,
			protocol.Command{Version: 1, ID: "y", Tenant: "acme", Device: "hub-1", Counter: 900, IssuedAt: time.Now().Unix(), ExpiresAt: time.Now().Unix() + 60},
			protocol.Plan{Version: 1, ID: "p", Tenant: "acme"})},
		{"a plan of another tenant", "plan.tenant", h.command(func(_ *protocol.Command, p *protocol.Plan) { p.Tenant = "umbrella" })},
		{"a plan that is over", "plan.not_after", h.command(func(_ *protocol.Command, p *protocol.Plan) { p.NotAfter = past })},
		{"a plan without checks", "plan", h.command(func(_ *protocol.Command, p *protocol.Plan) { p.Checks = nil })},
		{"a choice that the plan does not list", "choice", h.command(func(c *protocol.Command, _ *protocol.Plan) { c.Choice["resolver"] = "198.51.100.1" })},
		{"a version of tomorrow", "command", h.command(func(c *protocol.Command, _ *protocol.Plan) { c.Version = 2 })},
		{"a session without its terms", "assist", h.command(func(c *protocol.Command, p *protocol.Plan) { p.Verb = protocol.VerbAssist })},
	} {
		h.send(c.signed)
		n++
		e := h.cloud.AwaitEvent(protocol.EventCommand, n)
		if e.Args["field"] != c.field || e.Args["reason"] == "" {
			t.Errorf("%s: refused with %v, want field %q", c.name, e.Args, c.field)
		}
	}
	if len(h.hub.changes) != 0 {
		t.Errorf("the device was changed: %v", h.hub.changes)
	}
}

func TestADiagnosisIsRecordedAlsoWhenItBreaksOff(t *testing.T) {
	h := newHome(t)
	for n, kind := range []string{"dns", "speed"} {
		h.send(h.command(func(c *protocol.Command, p *protocol.Plan) {
			p.Verb, p.Choices, c.Choice = protocol.VerbDiagnose, map[string][]string{"kind": {"*"}, "target": {"*"}}, map[string]string{"kind": kind}
		}))
		e := h.cloud.AwaitEvent(protocol.EventDiagnosis, n+1)
		onlyBecause(t, e, cause)
		want := map[string]protocol.Segment{"dns": protocol.SegmentHome, "speed": protocol.SegmentUnknown}[kind]
		if e.Diagnosis == nil || e.Diagnosis.Verdict.Segment != want || len(e.Diagnosis.Steps) != 1 {
			t.Errorf("%s: %+v", kind, e.Diagnosis)
		}
	}
}

func TestASymptomCitesTheSamplesThatShowedIt(t *testing.T) {
	h := newHome(t)
	h.cloud.Await("some telemetry", func(c *agenttest.Cloud) bool { n, _ := c.Records(protocol.LaneTelemetry); return n > 5 })
	before := time.Now().UnixMilli()
	h.hub.set("192.0.2.1", 800)
	seen := h.cloud.AwaitEvent(protocol.EventSymptom, 1)
	if v := seen.Evidence; len(v) != 1 || v[0].Metric != "dns.latency_ms" || v[0].From < before || v[0].To < v[0].From {
		t.Errorf("evidence %+v", v)
	}
	if seen.Args["value"] != "800.0" || seen.Args["normal"] != "12.0" {
		t.Errorf("args %v", seen.Args)
	}
}

func TestASessionRunsInItsOwnProcessAndItsActsAreRecorded(t *testing.T) {
	t.Setenv("HEARTH_TEST_ASSIST", "1")
	h := newHome(t, func(o *app.Options) { o.Assist = []string{os.Args[0]} })
	h.send(h.command(func(c *protocol.Command, p *protocol.Plan) {
		p.Verb, c.Choice = protocol.VerbAssist, nil
		c.Assist = &protocol.Assist{Session: "s1", Allow: []string{"diagnose"}, EndsAt: time.Now().Unix() + 60}
	}))
	started := h.cloud.AwaitEvent(protocol.EventSessionStarted, 1)
	onlyBecause(t, started, cause)
	for _, s := range []protocol.Signal{{Version: 1, Session: "s1", Kind: "offer", Body: "sdp"}, {Version: 1, Session: "other", Kind: "end"}, {Version: 1, Session: "s1", Kind: "end", Body: "withdrawn"}} {
		b, err := protocol.Marshal(&s)
		if err != nil {
			t.Fatal(err)
		}
		h.cloud.Publish(protocol.DownAssist, b)
	}
	onlyBecause(t, h.cloud.AwaitEvent(protocol.EventSessionAction, 1), started.ID)
	ended := h.cloud.AwaitEvent(protocol.EventSessionEnded, 1)
	onlyBecause(t, ended, started.ID)
	if ended.Args["reason"] != "withdrawn" {
		t.Errorf("ended with %v", ended.Args)
	}
	h.cloud.Await("answer and end", func(c *agenttest.Cloud) bool { return len(c.Signals()) == 2 })
}

func TestADamagedOutboxIsReportedAndTheAgentGoesOn(t *testing.T) {
	h := newHome(t)
	h.stop()
	path := filepath.Join(h.dir, "outbox.db")
	if err := os.WriteFile(path, make([]byte, 40_000), 0o600); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.cloud.AwaitEvent(protocol.EventOutboxReset, 1)
	if _, err := os.Stat(path + ".corrupt"); err != nil {
		t.Error(err)
	}
}

func TestNothingInTheDataFolderIsReadableByOthers(t *testing.T) {
	h := newHome(t)
	h.send(h.command(nil))
	h.cloud.AwaitEvent(protocol.EventFixVerified, 1)
	h.stop()
	n := 0
	err := filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if n++; info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		return nil
	})
	if err != nil || n < 4 {
		t.Errorf("%d files, %v", n, err)
	}
}
