// Package latency measures how long a fault takes from the hub to the customer's inbox: a hub says that
// its resolver has become slow, the cloud chooses a fix, signs it, the hub applies and verifies it, and the
// customer is told. The cloud is the whole service on bbolt in this process, hubs speak MQTT over mutual
// TLS, and desk and inbox are read over HTTP when their live streams say so. Hubs answer at once, so what is
// measured is the cloud's share: ingest, reactions, delivery of the command, notice. A real hub adds what it
// takes to be sure that a fix holds, some seconds by its own choice (see agent/remedy).
package latency

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/app"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	labfleet "github.com/hearthline/hearthline/cmd/hearth-lab/fleet"
	"github.com/hearthline/hearthline/protocol"
)

const tenant = "lab"

// Spread is a distribution in milliseconds.
type Spread struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
}

func spread(d []time.Duration) Spread {
	slices.Sort(d)
	at := func(q float64) float64 {
		return float64(d[min(int(q*float64(len(d))), len(d)-1)].Microseconds()) / 1000
	}
	return Spread{at(0.50), at(0.95), at(0.99)}
}

// Report is the result of a run; all times are from the moment the hub publishes the fault.
type Report struct {
	Faults   int    `json:"faults"`
	Timeline Spread `json:"on_the_timeline"` // until a desk that has the home open shows the symptom
	Command  Spread `json:"fix_at_the_hub"`
	Told     Spread `json:"customer_told"` // until the customer's open inbox shows that it was found and fixed
}

// Run is the tool "latency".
func Run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("latency", flag.ContinueOnError)
	n := fs.Int("faults", 50, "homes in which a fault happens, one after the other")
	asJSON := fs.Bool("json", false, "print JSON only")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	if *n < 1 {
		return errors.New("want at least one fault")
	}
	dir, err := os.MkdirTemp("", "hearth-lab-latency-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rep, err := run(ctx, dir, *n)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(os.Stdout).Encode(rep)
	}
	for _, l := range []struct {
		what string
		Spread
	}{{"on the timeline", rep.Timeline}, {"fix at the hub", rep.Command}, {"customer told", rep.Told}} {
		fmt.Printf("%-16s p50 %7.1f ms  p95 %7.1f ms  p99 %7.1f ms\n", l.what, l.P50, l.P95, l.P99)
	}
	return nil
}

func run(ctx context.Context, dir string, n int) (Report, error) {
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(dir, "store.db")}, app.Tables()...)
	if err != nil {
		return Report{}, err
	}
	defer db.Close()
	if err := provision(ctx, db, n); err != nil {
		return Report{}, err
	}
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return Report{}, err
	}
	if err := writePlan(filepath.Join(dir, "plans"), key); err != nil {
		return Report{}, err
	}
	var password string
	a, err := app.New(ctx, app.Options{
		DB: db, Data: dir, Tenants: []cloud.Tenant{{ID: tenant, Name: "Lab"}}, PlanKeys: []ed25519.PublicKey{public},
		HTTP: "127.0.0.1:0", MQTT: "127.0.0.1:0", Enrol: "127.0.0.1:0", Hosts: []string{"127.0.0.1"},
		FirstPassword: func(_, _, first string) error { password = first; return nil },
		Logger:        slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return Report{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	at := a.Addrs()
	rep, err := faults(ctx, dir, at.MQTT.String(), "http://"+at.HTTP.String(), password, n)
	cancel()
	return rep, errors.Join(err, <-done)
}

func hubID(i int) string  { return "hub-" + strconv.Itoa(i) }
func homeID(i int) string { return "home-" + strconv.Itoa(i) }
func whoID(i int) string  { return "customer-" + strconv.Itoa(i) }

func provision(ctx context.Context, db store.DB, n int) error {
	return db.Update(ctx, tenant, func(tx store.Tx) error {
		for i := range n {
			if _, err := fleet.AddHome(tx, cloud.Home{ID: homeID(i), Name: "Home"}); err != nil {
				return err
			}
			if _, err := fleet.Add(tx, cloud.Device{ID: hubID(i), Home: homeID(i), Name: "Hub"}); err != nil {
				return err
			}
			who := whoID(i)
			if _, err := identity.Add(tx, cloud.Customer{ID: who, Name: "Customer", Emails: []string{who + "@example.com"}, Language: "en"}, ""); err != nil {
				return err
			}
			if err := identity.Begin(tx, cloud.Membership{Customer: who, Home: homeID(i), Role: "owner", Begin: time.Now().Add(-time.Hour)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func writePlan(dir string, key ed25519.PrivateKey) error {
	most := 150.0
	payload, err := protocol.Marshal(&protocol.Plan{
		Version: protocol.Version, ID: "switch-resolver", Tenant: tenant, Verb: protocol.VerbFix,
		Action: protocol.Action{Kind: "dns.switch"}, Choices: map[string][]string{"resolver": {"*"}},
		Checks: []protocol.Check{{Metric: "dns.latency_ms", Max: &most}}, WithinS: 20, NotAfter: time.Now().Add(time.Hour).Unix(),
	})
	if err != nil {
		return err
	}
	b, err := protocol.Sign(protocol.PurposePlan, payload, key)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "switch-resolver.plan"), b, 0o600))
}

func faults(ctx context.Context, dir, broker, base, password string, n int) (Report, error) {
	authority, err := ca.Open(ca.Options{Dir: filepath.Join(dir, "gateway")})
	if err != nil {
		return Report{}, err
	}
	p, err := signIn(ctx, base, password)
	if err != nil {
		return Report{}, err
	}
	lab := &labfleet.Lab{CA: authority, Tenant: tenant, Broker: broker}
	var onTimeline, atHub, told []time.Duration
	for i := range n {
		h, err := connect(lab, filepath.Join(dir, "hubs", hubID(i)), broker, hubID(i))
		if err != nil {
			return Report{}, err
		}
		t, c, i, err := fault(ctx, p, h, homeID(i), whoID(i))
		h.client.Disconnect(0)
		if err != nil {
			return Report{}, fmt.Errorf("fault of %s: %w", h.id, err)
		}
		onTimeline, atHub, told = append(onTimeline, t), append(atHub, c), append(told, i)
	}
	return Report{n, spread(onTimeline), spread(atHub), spread(told)}, nil
}

// fault lets one happen and returns when the desk, the hub and the customer had what comes of it.
func fault(ctx context.Context, p *people, h *hub, home, customer string) (desk, command, inbox time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	timeline := p.timeline(ctx, home)
	notices, err := p.inbox(ctx, customer)
	if err != nil {
		return 0, 0, 0, err
	}
	if err := errors.Join(timeline.ready(), notices.ready()); err != nil {
		return 0, 0, 0, err
	}
	begin := time.Now()
	if err := h.says(protocol.EventSymptom, map[string]string{"metric": "dns.latency_ms", "instance": "10.0.0.1", "value": "812", "normal": "14"}); err != nil {
		return 0, 0, 0, err
	}
	if command, err = h.fixes(ctx, begin); err != nil {
		return 0, 0, 0, err
	}
	if inbox, err = notices.saw(begin); err != nil {
		return 0, 0, 0, fmt.Errorf("the customer was not told: %w", err)
	}
	if desk, err = timeline.saw(begin); err != nil {
		return 0, 0, 0, fmt.Errorf("the desk did not show the symptom: %w", err)
	}
	return desk, command, inbox, nil
}

// hub is a connected device that obeys at once.
type hub struct {
	id       string
	client   mqtt.Client
	commands chan []byte
	next     uint64
}

func connect(lab *labfleet.Lab, dir, broker, id string) (*hub, error) {
	who, err := lab.Identity(dir, id)
	if err != nil {
		return nil, err
	}
	h := &hub{id: id, commands: make(chan []byte, 8), next: 1}
	h.client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("ssl://" + broker).SetClientID(id).SetProtocolVersion(4).
		SetTLSConfig(&tls.Config{RootCAs: who.Roots, Certificates: []tls.Certificate{who.Certificate}}).SetAutoReconnect(false))
	if t := h.client.Connect(); !t.WaitTimeout(10*time.Second) || t.Error() != nil {
		return nil, fmt.Errorf("connect: %w", t.Error())
	}
	t := h.client.Subscribe(protocol.DownFilter(tenant, id), 1, func(_ mqtt.Client, m mqtt.Message) {
		if m.Topic() == protocol.Topic(tenant, id, protocol.DownCommand) {
			h.commands <- m.Payload()
		}
	})
	if !t.WaitTimeout(10*time.Second) || t.Error() != nil {
		return nil, fmt.Errorf("subscribe: %w", t.Error())
	}
	return h, h.measures()
}

func (h *hub) publish(c protocol.Channel, first uint64, kind protocol.Kind, bodies ...any) error {
	now := time.Now().UnixMilli()
	b := protocol.Batch{Version: protocol.Version, Epoch: 1, First: first, Boot: 1, SentMono: 1000, SentWall: now}
	for i, body := range bodies {
		raw, err := protocol.Marshal(body)
		if err != nil {
			return err
		}
		b.Records = append(b.Records, protocol.Record{Kind: kind + protocol.Kind(i), Boot: 1, Mono: 1000, Wall: now, Span: 1, Body: raw})
	}
	payload, err := protocol.Marshal(&b)
	if err != nil {
		return err
	}
	t := h.client.Publish(protocol.Topic(tenant, h.id, c), 1, false, payload)
	if !t.WaitTimeout(10*time.Second) || t.Error() != nil {
		return fmt.Errorf("publish: %w", t.Error())
	}
	return nil
}

// measures sends a sample from which a better resolver can be chosen.
func (h *hub) measures() error {
	var metrics []protocol.Metric
	var values []float64
	for _, m := range []struct {
		name, instance string
		value          float64
	}{
		{"dns.latency_ms", "10.0.0.1", 812},
		{"dns.failure_ratio", "10.0.0.1", 0},
		{"dns.active", "10.0.0.1", 1},
		{"dns.latency_ms", "10.0.0.2", 12},
		{"dns.failure_ratio", "10.0.0.2", 0},
		{"dns.active", "10.0.0.2", 0},
	} {
		metrics = append(metrics, protocol.Metric{Name: m.name, Instance: m.instance, Kind: protocol.Gauge})
		values = append(values, m.value)
	}
	schema, err := protocol.NewSchema(metrics)
	if err != nil {
		return err
	}
	sealer, err := protocol.NewSealer(schema)
	if err != nil {
		return err
	}
	if err := sealer.Add(&protocol.Sample{Mono: 1000, Wall: time.Now().UnixMilli(), Schema: schema, Values: values}); err != nil {
		return err
	}
	return h.publish(protocol.UpTelemetry, 1, protocol.KindSchema, schema, sealer.Seal())
}

func (h *hub) says(kind protocol.EventKind, args map[string]string, because ...protocol.EntryID) error {
	h.next++
	return h.publish(protocol.UpEvent, h.next-1, protocol.KindEvent, &protocol.Event{Version: protocol.Version, Kind: kind, Args: args, Because: because})
}

// fixes waits for the command and reports that it was applied and held. It returns how long after begin
// the command came.
func (h *hub) fixes(ctx context.Context, begin time.Time) (time.Duration, error) {
	var signed []byte
	select {
	case signed = <-h.commands:
	case <-ctx.Done():
		return 0, fmt.Errorf("no command came: %w", ctx.Err())
	}
	took := time.Since(begin)
	c, err := unpack(signed)
	if err != nil {
		return 0, err
	}
	args := map[string]string{"command": c.ID, "plan": "switch-resolver", "action": "dns.switch"}
	applied := protocol.DeviceEntryID(h.id, 1, h.next)
	if err := h.says(protocol.EventFixApplied, args, c.Because...); err != nil {
		return 0, err
	}
	return took, h.says(protocol.EventFixVerified, args, applied)
}
