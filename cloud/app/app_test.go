package app

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

const (
	tenant = "acme"
	home   = "home1"
	hub    = "hub1"
)

// world is the whole service over a real store, with one home. What its hub says is appended as ingest
// would append it.
type world struct {
	*App
	t        *testing.T
	password string
	said     uint64
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t}
	dir := t.TempDir()
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(dir, "db"), MapBytes: 64 << 20}, Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signStandardPlans(t, filepath.Join(dir, "plans"), key)
	opts := Options{
		DB: db, Data: dir, Tenants: []cloud.Tenant{{ID: tenant}}, Region: "TW",
		HTTP: "127.0.0.1:0", MQTT: "127.0.0.1:0", Enrol: "127.0.0.1:0", PlanKeys: []ed25519.PublicKey{pub}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		FirstPassword: func(_, _, password string) error { w.password = password; return nil },
	}
	for _, c := range change {
		c(&opts)
	}
	w.App = start(t, opts)
	w.update(func(tx store.Tx) error {
		if _, err := fleet.AddHome(tx, cloud.Home{ID: home, Name: "Home"}); err != nil {
			return err
		}
		if _, err := fleet.Add(tx, cloud.Device{ID: hub, Home: home, Name: "Hub"}); err != nil {
			return err
		}
		if _, err := identity.Add(tx, cloud.Customer{ID: "mei", Name: "Mei Lin", Phones: []string{"0912345678"}, Emails: []string{"mei@example.com"}, Language: "en"}, "TW"); err != nil {
			return err
		}
		return identity.Begin(tx, cloud.Membership{Customer: "mei", Home: home, Role: "owner", Begin: time.Now().Add(-time.Hour)})
	})
	return w
}

func start(t *testing.T, opts Options) *App {
	t.Helper()
	a, err := New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a
}

// beside is one more instance over the same store and folder.
func (w *world) beside(instance string) *world {
	w.t.Helper()
	opts := w.opts
	opts.Instance = instance
	return &world{App: start(w.t, opts), t: w.t, password: w.password}
}

// signStandardPlans signs the plans that hearthctl comes with.
func signStandardPlans(t *testing.T, dir string, key ed25519.PrivateKey) {
	t.Helper()
	files, err := filepath.Glob("../../cmd/hearthctl/plans/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no plans found", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		p := protocol.Plan{Version: protocol.Version, Tenant: tenant, NotAfter: time.Now().Add(time.Hour).Unix()}
		if err := json.Unmarshal(b, &p); err != nil {
			t.Fatal(err)
		}
		payload, err := protocol.Marshal(&p)
		if err != nil {
			t.Fatal(err)
		}
		if b, err = protocol.Sign(protocol.PurposePlan, payload, key); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, p.ID+".plan"), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) update(fn func(tx store.Tx) error) {
	w.t.Helper()
	if err := w.db.Update(w.t.Context(), tenant, fn); err != nil {
		w.t.Fatal(err)
	}
}

// says appends an event of the hub and returns its id.
func (w *world) says(kind protocol.EventKind, args map[string]string, change ...func(*cloud.Entry)) protocol.EntryID {
	w.t.Helper()
	w.said++
	self := cloud.Ref{Type: cloud.RefDevice, ID: hub}
	e := cloud.Entry{
		ID: protocol.DeviceEntryID(hub, 1, w.said), Home: home, At: time.Now(), Kind: cloud.Kind(kind),
		Subjects: []cloud.Ref{self}, Actor: self, Args: args,
	}
	for _, c := range change {
		c(&e)
	}
	w.update(func(tx store.Tx) error { return w.timeline.Append(tx, e) })
	return e.ID
}

func because(id protocol.EntryID) func(*cloud.Entry) {
	return func(e *cloud.Entry) { e.Because = []protocol.EntryID{id} }
}

// entries returns the timeline, oldest first.
func (w *world) entries() []cloud.Entry {
	w.t.Helper()
	var out []cloud.Entry
	err := w.db.View(w.t.Context(), tenant, func(tx store.Tx) (err error) {
		out, err = timeline.Since(tx, home, time.Time{}, 1000)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// last returns the newest entry of a kind.
func (w *world) last(kind cloud.Kind) cloud.Entry {
	w.t.Helper()
	for _, e := range slices.Backward(w.entries()) {
		if e.Kind == kind {
			return e
		}
	}
	w.t.Fatalf("the timeline has no %s:\n%s", kind, w.story())
	return cloud.Entry{}
}

// until waits until the timeline has n entries of a kind, and returns the newest.
func (w *world) until(kind cloud.Kind, n int) cloud.Entry {
	w.t.Helper()
	woken, stop := w.gateway.Waker().Subscribe(tenant, home)
	defer stop()
	late := time.After(15 * time.Second)
	for w.count(kind) < n {
		select {
		case <-woken:
		case <-late:
			w.t.Fatalf("the timeline never had %d of %s:\n%s", n, kind, w.story())
		}
	}
	return w.last(kind)
}

// untilNoTimer waits until a queue has nothing to do any more.
func (w *world) untilNoTimer(queue string) {
	w.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(15 * time.Second)
	for {
		jobs, err := w.db.Waiting(w.t.Context(), queue, 1)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(jobs) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			w.t.Fatalf("queue %s never came to an end", queue)
		}
	}
}

func (w *world) count(kind cloud.Kind) (n int) {
	for _, e := range w.entries() {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (w *world) story() string {
	var b strings.Builder
	for _, e := range w.entries() {
		b.WriteString(string(e.Kind) + "  " + timeline.Summary("en", &e) + "\n")
	}
	return b.String()
}

// measured keeps one row of telemetry.
func (w *world) measured(values map[string]float64) {
	w.t.Helper()
	var metrics []protocol.Metric
	var row []float64
	for name, v := range values {
		metric, instance, _ := strings.Cut(strings.TrimSuffix(name, "}"), "{")
		metrics = append(metrics, protocol.Metric{Name: metric, Instance: instance, Kind: protocol.Gauge, Scale: 2})
		row = append(row, v)
	}
	schema, err := protocol.NewSchema(metrics)
	if err != nil {
		w.t.Fatal(err)
	}
	sealer, err := protocol.NewSealer(schema)
	if err != nil {
		w.t.Fatal(err)
	}
	at := time.Now().UTC()
	sealer.Add(&protocol.Sample{Wall: at.UnixMilli(), Schema: schema, Values: row})
	b, err := protocol.Marshal(sealer.Seal())
	if err != nil {
		w.t.Fatal(err)
	}
	w.said++
	w.update(func(tx store.Tx) error {
		if err := (telemetry.Keeper{}).PutSchema(tx, home, hub, schema); err != nil {
			return err
		}
		return telemetry.Keeper{}.PutBlocks(tx, []cloud.Block{{Home: home, Device: hub, From: at, To: at, Epoch: 1, Sequence: w.said, Bytes: b}})
	})
}
