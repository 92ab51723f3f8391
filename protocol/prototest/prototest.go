// Package prototest holds one example of every message with its bytes on the wire: golden vectors for who
// speaks the protocol in another language, and seeds for the fuzz targets of who reads it.
package prototest

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"math"

	"github.com/hearthline/hearthline/protocol"
)

// Keys of the examples, made from fixed seeds. They sign nothing else.
var (
	CommandKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	PlanKey    = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
)

// Message is one example: its bytes and how to read them.
type Message struct {
	Name   string
	Bytes  []byte
	Decode func(b []byte) (again []byte, err error) // decodes and encodes what was read
}

// wall is when the examples happen, milliseconds since 1970.
const wall = 1_700_000_000_000

// Messages returns the examples, always the same. It panics if one cannot be encoded.
func Messages() []Message {
	schema, samples := Samples()
	sealer, err := protocol.NewSealer(schema)
	check(err)
	for i := range samples {
		check(sealer.Add(&samples[i]))
	}
	block := sealer.Seal()
	gap := &protocol.Gap{Records: 12, From: wall - 60_000, To: wall, Reason: "quota"}
	diagnosis := &protocol.Diagnosis{
		Request: protocol.DiagnosisRequest{Kind: "connection"},
		Steps: []protocol.Step{
			{Name: "gateway.ping", Target: "192.0.2.1", Status: protocol.StatusOK, Args: map[string]string{"rtt_ms": "1.2"}, TookMS: 12},
			{Name: "dns.query", Target: "192.0.2.53", Status: protocol.StatusFail, Code: "timeout", TookMS: 2000},
		},
		Verdict: protocol.Verdict{Segment: protocol.SegmentISP, Code: "resolver.dead", Args: map[string]string{"resolver": "192.0.2.53"}},
	}
	event := &protocol.Event{
		Version: protocol.Version, Kind: protocol.EventSymptom, Because: []protocol.EntryID{protocol.DeviceEntryID("hub-1", 7, 41), "entry-1"},
		Evidence: []protocol.Evidence{{Metric: "dns.latency_ms", Instance: "192.0.2.53", From: wall - 10_000, To: wall}},
		Args:     map[string]string{"metric": "dns.latency_ms", "value": "812.5"},
	}
	risk := &protocol.Event{Version: protocol.Version, Kind: protocol.EventRisk, Risk: &protocol.Risk{
		Model: "home-1", Probability: 0.75, HorizonS: 600,
		Reasons: []protocol.Reason{{Feature: "dns_latency", Instance: "192.0.2.53", Value: 812.5, Normal: 14, Share: 0.9}}, Window: encode(block),
	}}
	diagnosed := &protocol.Event{Version: protocol.Version, Kind: protocol.EventDiagnosis, Because: []protocol.EntryID{"entry-1"}, Diagnosis: diagnosis}
	limit := 100.0
	plan := &protocol.Plan{
		Version: protocol.Version, ID: "switch-resolver", Tenant: "acme", Verb: protocol.VerbFix, Action: protocol.Action{Kind: "dns.switch"},
		Choices: map[string][]string{"resolver": {"203.0.113.9"}}, Checks: []protocol.Check{{Metric: "dns.latency_ms", Max: &limit}},
		WithinS: 30, Confirm: true, Armed: true, NotAfter: wall/1000 + 86_400,
	}
	signedPlan, err := protocol.Sign(protocol.PurposePlan, encode(plan), PlanKey)
	check(err)
	command := &protocol.Command{
		Version: protocol.Version, ID: "cmd-1", Tenant: "acme", Device: "hub-1", Counter: 3, IssuedAt: wall / 1000, ExpiresAt: wall/1000 + 300,
		Plan: signedPlan, Choice: map[string]string{"resolver": "203.0.113.9"}, Because: []protocol.EntryID{"entry-1"},
	}
	session := &protocol.Command{
		Version: protocol.Version, ID: "cmd-2", Tenant: "acme", Device: "hub-1", Counter: 4, IssuedAt: wall / 1000, ExpiresAt: wall/1000 + 300,
		Plan: signedPlan, Assist: &protocol.Assist{
			Session: "session-1", Allow: []string{"diagnose", "metrics"}, EndsAt: wall/1000 + 1800,
			ICEServers: []protocol.ICEServer{{URLs: []string{"turn:turn.example:3478"}, Username: "u", Credential: "c"}},
		},
	}
	signedCommand, err := protocol.Sign(protocol.PurposeCommand, encode(command), CommandKey)
	check(err)
	nonce := []byte("sixteen bytes...")
	now := &protocol.Time{Version: protocol.Version, Tenant: "acme", Device: "hub-1", Nonce: nonce, Now: wall}
	signedTime, err := protocol.Sign(protocol.PurposeTime, encode(now), CommandKey)
	check(err)
	record := func(k protocol.Kind, span uint64, body any) protocol.Record {
		return protocol.Record{Kind: k, Boot: 5, Mono: 90_000, Wall: wall, Span: span, Body: encode(body)}
	}
	batch := func(first uint64, records ...protocol.Record) *protocol.Batch {
		return &protocol.Batch{Version: protocol.Version, Epoch: 7, First: first, Boot: 5, SentMono: 90_500, SentWall: wall + 500, Records: records}
	}
	return []Message{
		message("batch_event", batch(41, record(protocol.KindEvent, 1, event), record(protocol.KindEvent, 1, diagnosed))),
		message("batch_telemetry", batch(1, record(protocol.KindSchema, 1, schema), record(protocol.KindGap, 12, gap), record(protocol.KindBlock, 1, block))),
		message("event", event),
		message("event_risk", risk),
		message("event_diagnosis", diagnosed),
		message("schema", schema),
		message("block", block),
		message("gap", gap),
		message("ack", &protocol.Ack{Version: protocol.Version, Lane: protocol.LaneEvent, Epoch: 7, Committed: 42}),
		message("state", &protocol.State{Version: protocol.Version, Online: true, Boot: 5, Agent: "1.0"}),
		message("signal", &protocol.Signal{Version: protocol.Version, Session: "session-1", Kind: "offer", Body: "v=0"}),
		message("time-request", &protocol.TimeRequest{Version: protocol.Version, Nonce: nonce}),
		message("time", now),
		message("plan", plan),
		message("command", command),
		message("command_assist", session),
		signed("plan_signed", protocol.PurposePlan, signedPlan, PlanKey),
		signed("command_signed", protocol.PurposeCommand, signedCommand, CommandKey),
		signed("time_signed", protocol.PurposeTime, signedTime, CommandKey),
	}
}

// Samples are the rows of the example block: a gauge with a missing value, a counter that is reset, one that
// never moves and one that is never there.
func Samples() (*protocol.Schema, []protocol.Sample) {
	schema, err := protocol.NewSchema([]protocol.Metric{
		{Name: "gateway.rtt_ms", Kind: protocol.Gauge, Scale: 2},
		{Name: "iface.rx_bytes", Instance: "eth0", Kind: protocol.Counter},
		{Name: "iface.carrier", Instance: "eth0", Kind: protocol.Gauge},
		{Name: "wifi.rssi_dbm", Instance: "wlan0", Kind: protocol.Gauge},
	})
	check(err)
	rtt := []float64{1.25, 1.31, math.NaN(), 1.29, 9.5, 1.27}
	rx := []float64{1_000_000, 1_002_500, 1_005_100, 900, 3_400, 5_800}
	var samples []protocol.Sample
	for i := range rtt {
		samples = append(samples, protocol.Sample{Mono: 30_000 + int64(i)*10_000, Wall: wall + int64(i)*10_001, Schema: schema, Values: []float64{rtt[i], rx[i], 1, math.NaN()}})
	}
	return schema, samples
}

// pointer is *T where that is a message.
type pointer[T any] interface {
	*T
	protocol.Message
}

// message makes an example.
func message[T any, M pointer[T]](name string, m M) Message {
	return Message{Name: name, Bytes: encode(m), Decode: func(b []byte) ([]byte, error) {
		m := M(new(T))
		if err := protocol.Unmarshal(b, m); err != nil {
			return nil, err
		}
		return protocol.Marshal(m)
	}}
}

func signed(name string, purpose protocol.Purpose, b []byte, key ed25519.PrivateKey) Message {
	return Message{Name: name, Bytes: b, Decode: func(b []byte) ([]byte, error) {
		payload, err := protocol.Verify(purpose, b, []ed25519.PublicKey{Public(key)})
		if err != nil {
			return nil, err
		}
		return protocol.Sign(purpose, payload, key)
	}}
}

func encode(m any) []byte {
	b, err := protocol.Marshal(m)
	check(err)
	return b
}

func check(err error) {
	if err != nil {
		panic(fmt.Sprintf("prototest: an example is wrong: %v", err))
	}
}

// Public is the public half of a key.
func Public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }
