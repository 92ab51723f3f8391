package assist

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slowHub answers a diagnosis with one step, then waits for release or cancellation.
type slowHub struct{ release chan struct{} }

func (h slowHub) Sample(context.Context) (*protocol.Sample, error) {
	schema := &protocol.Schema{Metrics: []protocol.Metric{{Name: "gateway.rtt_ms"}, {Name: "wifi.rssi_dbm"}}}
	return &protocol.Sample{Wall: 42, Schema: schema, Values: []float64{1.5, math.NaN()}}, nil
}

func (h slowHub) Diagnose(ctx context.Context, req protocol.DiagnosisRequest, step func(protocol.Step)) (protocol.Diagnosis, error) {
	step(protocol.Step{Name: "gateway.ping", Status: protocol.StatusOK})
	select {
	case <-h.release:
	case <-ctx.Done():
		return protocol.Diagnosis{}, ctx.Err()
	}
	return protocol.Diagnosis{Request: req, Verdict: protocol.Verdict{Segment: protocol.SegmentISP, Code: "uplink.loss"}}, nil
}

// call is a session with a browser at the other end of a real WebRTC connection.
type call struct {
	t       *testing.T
	to      *json.Encoder
	hangUp  func() error // closes the pipe from the agent
	from    chan agent.FromAssist
	done    chan error
	pc      *webrtc.PeerConnection
	channel *webrtc.DataChannel
	opened  chan struct{}
	heard   chan map[string]json.RawMessage
}

func begin(t *testing.T, hub slowHub, allow []string, endsIn, connectIn time.Duration) *call {
	t.Helper()
	return start(t, hub, agent.ToAssist{Start: &protocol.Assist{Session: "s1", Allow: allow, EndsAt: time.Now().Add(endsIn).Unix()}}, connectIn)
}

func start(t *testing.T, hub slowHub, first agent.ToAssist, connectIn time.Duration) *call {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	s, err := New(Options{Hub: hub, In: inR, Out: outW, MetricsEvery: 20 * time.Millisecond, ConnectIn: connectIn})
	if err != nil {
		t.Fatal(err)
	}
	c := &call{
		t: t, to: json.NewEncoder(inW), hangUp: inW.Close, from: make(chan agent.FromAssist, 256), done: make(chan error, 1),
		opened: make(chan struct{}), heard: make(chan map[string]json.RawMessage, 256),
	}
	go func() {
		c.done <- s.Run(context.Background())
		outW.Close()
	}()
	go func() {
		defer close(c.from)
		lines := bufio.NewScanner(outR)
		lines.Buffer(nil, agent.MaxPipeLine)
		for lines.Scan() {
			var line agent.FromAssist
			if json.Unmarshal(lines.Bytes(), &line) == nil {
				c.from <- line
			}
		}
	}()
	c.tell(first)
	t.Cleanup(func() {
		inW.Close()
		if c.pc != nil {
			c.pc.GracefulClose()
		}
	})
	return c
}

func (c *call) tell(line agent.ToAssist) {
	c.t.Helper()
	if err := c.to.Encode(line); err != nil {
		c.t.Fatal(err)
	}
}

// connect does what a browser does: offers, then takes the answer and the candidates as they come.
func (c *call) connect() {
	c.t.Helper()
	var err error
	if c.pc, err = webrtc.NewPeerConnection(webrtc.Configuration{}); err != nil {
		c.t.Fatal(err)
	}
	if c.channel, err = c.pc.CreateDataChannel("control", nil); err != nil {
		c.t.Fatal(err)
	}
	c.channel.OnOpen(func() { close(c.opened) })
	c.channel.OnMessage(func(m webrtc.DataChannelMessage) {
		var v map[string]json.RawMessage
		if json.Unmarshal(m.Data, &v) == nil {
			c.heard <- v
		}
	})
	gathered := webrtc.GatheringCompletePromise(c.pc)
	offer, err := c.pc.CreateOffer(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.pc.SetLocalDescription(offer); err != nil {
		c.t.Fatal(err)
	}
	<-gathered
	c.tell(agent.ToAssist{Signal: &protocol.Signal{Session: "s1", Kind: "offer", Body: c.pc.LocalDescription().SDP}})
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line := <-c.from:
			if line.Signal == nil {
				c.t.Fatalf("got %+v while connecting", line)
			}
			switch line.Signal.Kind {
			case "answer":
				err = c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: line.Signal.Body})
			case "candidate":
				var candidate webrtc.ICECandidateInit
				if err = json.Unmarshal([]byte(line.Signal.Body), &candidate); err == nil {
					err = c.pc.AddICECandidate(candidate)
				}
			}
			if err != nil {
				c.t.Fatal(err)
			}
		case <-c.opened:
			return
		case <-deadline:
			c.t.Fatal("no open data channel after 20 s")
		}
	}
}

// hear returns the first message from the device that has the key.
func (c *call) hear(key string) json.RawMessage {
	c.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case m := <-c.heard:
			if v, ok := m[key]; ok {
				return v
			}
		case <-deadline:
			c.t.Fatalf("no %q from the device within 10 s", key)
		}
	}
}

// ended returns the reason that the session gave the agent, and the event lines before it.
func (c *call) ended() (reason string, events []protocol.Event) {
	c.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case line, ok := <-c.from:
			switch {
			case !ok:
				c.t.Fatal("the session ended without a word")
			case line.Event != nil:
				events = append(events, *line.Event)
			case line.Ended != "":
				<-c.done
				return line.Ended, events
			}
		case <-deadline:
			c.t.Fatal("the session did not end within 10 s")
		}
	}
}

func (c *call) ask(v any) {
	c.t.Helper()
	b, _ := json.Marshal(v)
	if err := c.channel.SendText(string(b)); err != nil {
		c.t.Fatal(err)
	}
}

var connection = &protocol.DiagnosisRequest{Kind: "connection"}

func TestADiagnosisStreamsItsStepsAndLandsOnTheTimeline(t *testing.T) {
	release := make(chan struct{})
	c := begin(t, slowHub{release}, []string{"diagnose", "metrics"}, time.Hour, 0)
	c.connect()
	c.ask(request{ID: "1", Do: "diagnose", Request: connection})
	var step protocol.Step
	if err := json.Unmarshal(c.hear("step"), &step); err != nil || step.Name != "gateway.ping" {
		t.Errorf("step: got %+v, %v", step, err)
	}
	c.ask(request{ID: "2", Do: "diagnose", Request: connection})
	if got := string(c.hear("error")); got != `"another diagnosis is running"` {
		t.Errorf("second diagnosis at once: got %s", got)
	}
	release <- struct{}{}
	var result protocol.Diagnosis
	if err := json.Unmarshal(c.hear("result"), &result); err != nil || result.Verdict.Segment != protocol.SegmentISP {
		t.Errorf("result: got %+v, %v", result, err)
	}
	var live liveMetrics
	if err := json.Unmarshal(c.hear("metrics"), &live); err != nil || len(live.Values) != 1 || live.Values[0].Value != 1.5 {
		t.Errorf("live metrics: got %+v, %v; want the one value that is not missing", live, err)
	}
	c.ask(request{ID: "3", Do: "diagnose", Request: connection})
	c.hear("step")
	c.tell(agent.ToAssist{End: "customer"})
	if got := string(c.hear("bye")); got != `"customer"` {
		t.Errorf("bye: got %s", got)
	}
	reason, events := c.ended()
	if reason != "customer" {
		t.Errorf("reason: got %q", reason)
	}
	if len(events) != 2 || events[0].Args["outcome"] != "done" || events[0].Diagnosis == nil || events[1].Args["outcome"] != "failed" {
		t.Errorf("want the finished diagnosis and the one cut off, got %+v", events)
	}
}

func TestWhatTheCustomerDidNotAgreeToIsRefused(t *testing.T) {
	c := begin(t, slowHub{}, []string{"metrics"}, time.Hour, 0)
	c.connect()
	c.ask(request{ID: "1", Do: "diagnose", Request: connection})
	if got := string(c.hear("error")); got != `"the customer has not agreed to diagnose"` {
		t.Errorf("got %s", got)
	}
	c.ask(request{ID: "2", Do: "format"})
	if got := string(c.hear("error")); got != `"unknown request format"` {
		t.Errorf("got %s", got)
	}
	c.hangUp()
	if reason, events := c.ended(); reason != endedAgent || len(events) != 0 {
		t.Errorf("got %q, %v", reason, events)
	}
}

func TestASessionEndsByItselfWhenItsTimeIsOver(t *testing.T) {
	c := begin(t, slowHub{}, nil, 0, 0)
	if reason, _ := c.ended(); reason != endedTime {
		t.Errorf("got %q, want %q", reason, endedTime)
	}
}

func TestHowLongIsLeftCountsWhateverTheDevicesClockSays(t *testing.T) {
	for name, ends := range map[string]time.Duration{"the clock is ahead by a year": -365 * 24 * time.Hour, "it is behind by one": 365 * 24 * time.Hour} {
		c := start(t, slowHub{}, agent.ToAssist{Start: &protocol.Assist{Session: "s1", EndsAt: time.Now().Add(ends).Unix()}, LeftMS: 300}, 0)
		begun := time.Now()
		if reason, _ := c.ended(); reason != endedTime || time.Since(begun) < 200*time.Millisecond {
			t.Errorf("%s: got %q after %s", name, reason, time.Since(begun))
		}
	}
}

func TestASessionThatNobodyJoinsEnds(t *testing.T) {
	c := begin(t, slowHub{}, nil, time.Hour, time.Millisecond)
	if reason, _ := c.ended(); reason != endedNobody {
		t.Errorf("got %q, want %q", reason, endedNobody)
	}
}

func TestTheBrowserCanHangUp(t *testing.T) {
	c := begin(t, slowHub{}, nil, time.Hour, 0)
	c.connect()
	c.channel.Close()
	if reason, _ := c.ended(); reason != endedBrowser {
		t.Errorf("got %q, want %q", reason, endedBrowser)
	}
}

func TestAStartIsRequired(t *testing.T) {
	c := begin(t, slowHub{}, nil, time.Hour, 0)
	c.tell(agent.ToAssist{End: "x"})
	c.ended()
	r, w := io.Pipe()
	s, err := New(Options{Hub: slowHub{}, In: r, Out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	go func() { json.NewEncoder(w).Encode(agent.ToAssist{End: "x"}); w.Close() }()
	if err := s.Run(context.Background()); err == nil {
		t.Error("a session without a start ran")
	}
}
