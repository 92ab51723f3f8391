package gateway_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/gateway"
	"github.com/hearthline/hearthline/cloud/gateway/command"
	"github.com/hearthline/hearthline/cloud/gateway/ingest"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

const tenant = "acme"

// registry is the one of fleet, out of which a test can take devices.
type registry struct{ removed *sync.Map }

func (r registry) Home(tx store.Tx, device string) (string, error) {
	if _, gone := r.removed.Load(device); gone {
		return "", store.ErrNotFound
	}
	return fleet.Presence{}.Home(tx, device)
}

// world is a running gateway over a real store, with one home.
type world struct {
	t       *testing.T
	db      *bolt.DB
	dir     string
	gw      *gateway.Gateway
	log     *timeline.Log
	signals chan protocol.Signal
	seen    chan ingest.Committed
	removed sync.Map
	ahead   atomic.Int64 // nanoseconds by which the gateway's clock is ahead
	lost    atomic.Bool  // the gateway's clock is not to be believed
	stop    func()
}

// remove takes a device out of the registry.
func (w *world) remove(device string) { w.removed.Store(device, true) }

func newWorld(t *testing.T, devices ...string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), signals: make(chan protocol.Signal, 8), seen: make(chan ingest.Committed, 64)}
	w.open()
	w.update(func(tx store.Tx) error {
		if _, err := fleet.AddHome(tx, cloud.Home{ID: "home1", Name: "Home"}); err != nil {
			return err
		}
		for _, d := range devices {
			if _, err := fleet.Add(tx, cloud.Device{ID: d, Home: "home1", Name: d}); err != nil {
				return err
			}
		}
		return nil
	})
	w.start()
	return w
}

// now is the clock of the gateway and its store.
func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

func (w *world) open() {
	var tables []store.Declared
	for _, t := range [][]store.Declared{gateway.Tables(), telemetry.Tables(), timeline.Tables(), fleet.Tables()} {
		tables = append(tables, t...)
	}
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(w.dir, "store.db"), MapBytes: 64 << 20, Clock: w.now}, tables...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.db = db
	w.t.Cleanup(func() { db.Close() })
}

func (w *world) start() {
	w.log = timeline.New(nil)
	gw, err := gateway.New(gateway.Options{
		DB: w.db, Dir: filepath.Join(w.dir, "gateway"), Devices: registry{&w.removed}, Timeline: w.log,
		Telemetry: telemetry.Keeper{}, Presence: fleet.Presence{Log: w.log.Append},
		Tenants: func(context.Context) ([]string, error) { return []string{tenant}, nil },
		Listen:  "127.0.0.1:0", EnrolAt: "127.0.0.1:0", Hosts: []string{"127.0.0.1"},
		Signal:  func(_, _ string, s protocol.Signal) { w.signals <- s },
		Observe: func(c ingest.Committed) { w.seen <- c },
		Clock:   w.now, Believed: func() (time.Time, bool) { return w.now(), !w.lost.Load() },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := gw.Bind(); err != nil {
		w.t.Fatal(err)
	}
	w.gw = gw
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- gw.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error("run:", err)
		}
		w.stop = func() {}
	}
	w.t.Cleanup(func() { w.stop() })
}

func (w *world) update(fn func(store.Tx) error) {
	w.t.Helper()
	if err := w.db.Update(context.Background(), tenant, fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) entries() []cloud.Entry {
	w.t.Helper()
	var out []cloud.Entry
	err := w.db.View(context.Background(), tenant, func(tx store.Tx) (err error) {
		out, _, err = timeline.Page(tx, "home1", "", 1000)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// identity is what a device holds: its key and what enrolment gave it.
type identity struct {
	key  *ecdsa.PrivateKey
	got  protocol.Enrolled
	cert tls.Certificate
	ca   *x509.CertPool
}

func newKey(t *testing.T) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// post sends a request to the enrolment port and decodes the answer.
func (w *world) post(path string, body any, cert *tls.Certificate, out any) int {
	w.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.gw.CA().PEM())
	conf := &tls.Config{RootCAs: pool}
	if cert != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	tr := &http.Transport{TLSClientConfig: conf}
	defer tr.CloseIdleConnections()
	var b bytes.Buffer
	if s, ok := body.(string); ok {
		b.WriteString(s)
	} else if err := json.NewEncoder(&b).Encode(body); err != nil {
		w.t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: tr}).Post("https://"+w.gw.EnrolAddr().String()+path, "application/json", &b)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		w.t.Fatalf("%s: status %d: %v", path, resp.StatusCode, err)
	}
	return resp.StatusCode
}

func (w *world) token(device string) (token string) {
	w.t.Helper()
	w.update(func(tx store.Tx) (err error) {
		token, err = w.gw.MintToken(tx, "home1", device, time.Hour)
		return err
	})
	return token
}

func (w *world) enrol(device string) *identity {
	w.t.Helper()
	key, csr := newKey(w.t)
	id := &identity{key: key}
	if code := w.post("/v1/enrol", protocol.Enrol{Token: w.token(device), CSR: csr}, nil, &id.got); code != 200 {
		w.t.Fatalf("enrol: status %d", code)
	}
	id.load(w.t)
	return id
}

func (id *identity) load(t *testing.T) {
	t.Helper()
	block, _ := pem.Decode([]byte(id.got.Certificate))
	id.cert = tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: id.key}
	id.ca = x509.NewCertPool()
	if !id.ca.AppendCertsFromPEM([]byte(id.got.CA)) {
		t.Fatal("no CA in the answer")
	}
}

// hub is a connected device.
type hub struct {
	t      *testing.T
	id     *identity
	client mqtt.Client
	acks   chan protocol.Ack
	down   chan mqtt.Message // but acks and offers of the time
	offers chan struct{}
	lost   chan error
}

func (id *identity) options(clientID string) *mqtt.ClientOptions {
	return mqtt.NewClientOptions().AddBroker("ssl://" + id.got.Broker).SetClientID(clientID).
		SetTLSConfig(&tls.Config{RootCAs: id.ca, Certificates: []tls.Certificate{id.cert}}).
		SetProtocolVersion(4).SetAutoReconnect(false).SetConnectTimeout(5 * time.Second).SetOrderMatters(true)
}

func (id *identity) connect(t *testing.T) *hub {
	t.Helper()
	h := &hub{t: t, id: id, acks: make(chan protocol.Ack, 256), down: make(chan mqtt.Message, 16), offers: make(chan struct{}, 16), lost: make(chan error, 1)}
	o := id.options(id.got.Device).SetConnectionLostHandler(func(_ mqtt.Client, err error) { h.lost <- err })
	h.client = mqtt.NewClient(o)
	h.must(h.client.Connect())
	t.Cleanup(func() { h.client.Disconnect(0) })
	h.must(h.client.Subscribe(protocol.DownFilter(id.got.Tenant, id.got.Device), 1, func(_ mqtt.Client, m mqtt.Message) {
		_, _, c, err := protocol.ParseTopic(m.Topic())
		if err != nil {
			t.Error(err)
		}
		switch {
		case c == protocol.DownTime && len(m.Payload()) == 0:
			h.offers <- struct{}{}
			return
		case c != protocol.DownAck:
			h.down <- m
			return
		}
		var a protocol.Ack
		if err := protocol.Unmarshal(m.Payload(), &a); err != nil {
			t.Error(err)
		}
		h.acks <- a
	}))
	return h
}

func (h *hub) must(tok mqtt.Token) {
	h.t.Helper()
	if !tok.WaitTimeout(10 * time.Second) {
		h.t.Fatal("broker does not answer")
	}
	if tok.Error() != nil {
		h.t.Fatal(tok.Error())
	}
}

func (h *hub) publish(c protocol.Channel, m any) {
	h.t.Helper()
	b, err := protocol.Marshal(m)
	if err != nil {
		h.t.Fatal(err)
	}
	h.must(h.client.Publish(protocol.Topic(h.id.got.Tenant, h.id.got.Device, c), 1, false, b))
}

// acked waits for an ack of at least the sequence.
func (h *hub) acked(l protocol.Lane, epoch, seq uint64) {
	h.t.Helper()
	after := time.After(10 * time.Second)
	for {
		select {
		case a := <-h.acks:
			if a.Lane == l && a.Epoch == epoch && a.Committed >= seq {
				return
			}
		case <-after:
			h.t.Fatalf("no ack of %s %d/%d", l, epoch, seq)
		}
	}
}

func record(t *testing.T, kind protocol.Kind, body any) protocol.Record {
	t.Helper()
	b, err := protocol.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return protocol.Record{Kind: kind, Boot: 1, Mono: 5_000, Wall: time.Now().UnixMilli(), Span: 1, Body: b}
}

func batch(epoch, first uint64, records ...protocol.Record) *protocol.Batch {
	return &protocol.Batch{Version: 1, Epoch: epoch, First: first, Boot: 1, SentMono: 6_000, SentWall: time.Now().UnixMilli(), Records: records}
}

func event(t *testing.T, kind protocol.EventKind, args map[string]string) protocol.Record {
	t.Helper()
	return record(t, protocol.KindEvent, &protocol.Event{Version: 1, Kind: kind, Args: args})
}

func TestADeviceEnrolsConnectsAndWhatItSaysIsOnTheTimelineOnceAndAcknowledged(t *testing.T) {
	w := newWorld(t, "hub1")
	h := w.enrol("hub1").connect(t)
	h.publish(protocol.UpState, &protocol.State{Version: 1, Online: true, Boot: 1, Agent: "1.2.3"})

	boot := batch(7, 1, event(t, protocol.EventBoot, map[string]string{"reason": "power"}))
	h.publish(protocol.UpEvent, boot)
	h.acked(protocol.LaneEvent, 7, 1)
	h.publish(protocol.UpEvent, boot) // the ack was lost, say
	h.acked(protocol.LaneEvent, 7, 1)

	var found []cloud.Entry
	for _, e := range w.entries() {
		if e.Kind == cloud.Kind(protocol.EventBoot) {
			found = append(found, e)
		}
	}
	if len(found) != 1 || found[0].ID != protocol.DeviceEntryID("hub1", 7, 1) || found[0].Actor != (cloud.Ref{Type: "device", ID: "hub1"}) {
		t.Fatalf("timeline holds %+v", found)
	}
}

func TestTelemetryIsStoredAsItCameObservedAndChartedInTrueTime(t *testing.T) {
	w := newWorld(t, "hub1")
	h := w.enrol("hub1").connect(t)

	schema, err := protocol.NewSchema([]protocol.Metric{{Name: "gateway.rtt_ms", Kind: protocol.Gauge, Scale: 2}})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := protocol.NewSealer(schema)
	if err != nil {
		t.Fatal(err)
	}
	wrong := time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() // the device's idea of now
	for i := range int64(60) {
		sealer.Add(&protocol.Sample{Mono: 1000 * i, Wall: wrong + 1000*i, Schema: schema, Values: []float64{float64(i)}})
	}
	b := batch(3, 1, record(t, protocol.KindSchema, schema), record(t, protocol.KindBlock, sealer.Seal()))
	b.SentMono, b.SentWall = 60_000, wrong+60_000
	for i := range b.Records {
		b.Records[i].Mono, b.Records[i].Wall = 60_000, wrong+60_000
	}
	sent := time.Now()
	h.publish(protocol.UpTelemetry, b)
	h.acked(protocol.LaneTelemetry, 3, 2)

	if c := <-w.seen; c.Tenant != tenant || len(c.Blocks) != 1 || len(c.Schemas) != 1 || c.Blocks[0].Device != "hub1" {
		t.Fatalf("observed %+v", c)
	}
	var series []telemetry.Series
	err = w.db.View(context.Background(), tenant, func(tx store.Tx) (err error) {
		series, err = telemetry.Keeper{}.Read(tx, telemetry.Query{
			Home: "home1", Device: "hub1", From: sent.Add(-2 * time.Minute), To: sent.Add(time.Minute), Step: time.Second,
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(series) != 1 || len(series[0].Points) != 60 {
		t.Fatalf("charted %+v", series)
	}
	if first := series[0].Points[0]; first.Mean != 0 || first.At.Before(sent.Add(-62*time.Second)) || first.At.After(sent.Add(-55*time.Second)) {
		t.Errorf("the first sample is charted at %s, was taken a minute before %s", first.At, sent)
	}
}

func TestACommandIsSentAgainUntilAnEventNamesIt(t *testing.T) {
	w := newWorld(t, "hub1")
	id := w.enrol("hub1")
	var c protocol.Command
	w.update(func(tx store.Tx) (err error) {
		c, err = w.gw.Commands().Send(tx, "home1", "switch-resolver", protocol.Command{Device: "hub1", Plan: []byte("signed plan")})
		return err
	})
	w.work(command.Queue) // while the device is away

	h := id.connect(t)
	got := <-h.down // as soon as it has subscribed
	if len(h.offers) != 1 {
		t.Error("the command came before the offer of the time, by which a device judges it")
	}
	payload, err := protocol.Verify(protocol.PurposeCommand, got.Payload(), keys(id.got.CommandKeys))
	if err != nil {
		t.Fatal(err)
	}
	var cmd protocol.Command
	if err := protocol.Unmarshal(payload, &cmd); err != nil || cmd.ID != c.ID || cmd.Tenant != tenant || cmd.Device != "hub1" || cmd.Counter == 0 {
		t.Fatalf("device got %+v, %v", cmd, err)
	}
	h.publish(protocol.UpEvent, batch(1, 1, event(t, protocol.EventFixApplied, map[string]string{"command": c.ID})))
	h.acked(protocol.LaneEvent, 1, 1)

	h.client.Disconnect(0)
	h = id.connect(t)
	h.publish(protocol.UpEvent, batch(1, 2, event(t, protocol.EventFixVerified, nil)))
	h.acked(protocol.LaneEvent, 1, 2)
	select {
	case m := <-h.down:
		t.Errorf("an answered command was sent again on %s", m.Topic())
	default:
	}
}

func TestACommandThatNobodyAnswersExpiresOnTheTimelineAndIsNotSentAgain(t *testing.T) {
	w := newWorld(t, "hub1")
	id := w.enrol("hub1")
	w.update(func(tx store.Tx) error {
		_, err := w.gw.Commands().Send(tx, "home1", "switch-resolver", protocol.Command{Device: "hub1", Plan: []byte("signed plan")})
		return err
	})
	w.work(command.Queue)
	if n := w.count(cloud.KindCommandSent); n != 0 {
		t.Errorf("%d entries say that it was sent to a device that is not there", n)
	}
	w.ahead.Store(int64(command.Life + time.Second))
	for range 3 { // the turn that ends it, and none after
		w.work(command.Queue)
	}
	if n := w.count(cloud.KindCommandExpired); n != 1 {
		t.Errorf("%d entries say that it expired", n)
	}
	h := id.connect(t)
	h.publish(protocol.UpEvent, batch(1, 1, event(t, protocol.EventBoot, nil)))
	h.acked(protocol.LaneEvent, 1, 1)
	select {
	case m := <-h.down:
		t.Errorf("an expired command was sent on %s", m.Topic())
	default:
	}
}

func keys(raw [][]byte) (out []ed25519.PublicKey) {
	for _, k := range raw {
		out = append(out, k)
	}
	return out
}

// work runs the due jobs of a queue, as cloud/effects does.
func (w *world) work(queue string) {
	w.t.Helper()
	jobs, err := w.db.Claim(context.Background(), queue, "test", 100, time.Minute)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, j := range jobs {
		if err := w.gw.Commands().Deliver(context.Background(), j); err != nil {
			w.t.Fatal(err)
		}
		if err := w.db.Done(context.Background(), j); err != nil {
			w.t.Fatal(err)
		}
	}
}
