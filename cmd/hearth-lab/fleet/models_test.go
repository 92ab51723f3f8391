package fleet_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/app"
	devices "github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/cloud/gateway/command"
	"github.com/hearthline/hearthline/cloud/predict"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/cmd/hearth-lab/fleet"
	"github.com/hearthline/hearthline/protocol"
	"github.com/hearthline/hearthline/protocol/risk"
)

// service is the whole cloud with hubs that have a past.
type service struct {
	t        *testing.T
	db       *bolt.DB
	dir      string
	app      *app.App
	password string
	token    string
	schema   *protocol.Schema
	row      []float64
	sequence uint64
}

const modelHubs = 45 // half of them are the twenty that a stage must have

func hubName(i int) (home, hub string) {
	return fmt.Sprintf("home-%d", i+1), fmt.Sprintf("hub-%d", i+1)
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{t: t, dir: t.TempDir()}
	var err error
	if s.db, err = bolt.Open(bolt.Options{Path: filepath.Join(s.dir, "store.db"), MapBytes: 256 << 20}, app.Tables()...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.db.Close() })
	var metrics []protocol.Metric
	for name, usual := range map[string]float64{
		"gateway.reachable": 1, "gateway.rtt_ms": 1, "gateway.loss_ratio": 0, "wan.rtt_ms": 9, "wan.loss_ratio": 0,
		"cloud.rtt_ms": 12, "cloud.loss_ratio": 0, "dns.latency_ms{a}": 8, "dns.failure_ratio{a}": 0, "dns.active{a}": 1,
	} {
		name, instance, _ := strings.Cut(strings.TrimSuffix(name, "}"), "{")
		metrics, s.row = append(metrics, protocol.Metric{Name: name, Instance: instance, Kind: protocol.Gauge, Scale: 3}), append(s.row, usual)
	}
	if s.schema, err = protocol.NewSchema(metrics); err != nil {
		t.Fatal(err)
	}
	for i := range modelHubs {
		home, hub := hubName(i)
		s.update(func(tx store.Tx) error {
			if _, err := devices.AddHome(tx, cloud.Home{ID: home, Name: "Home"}); err != nil {
				return err
			}
			if _, err := devices.Add(tx, cloud.Device{ID: hub, Home: home, Name: "Hub"}); err != nil {
				return err
			}
			return telemetry.Keeper{}.PutSchema(tx, home, hub, s.schema)
		})
	}
	model, baseline := predict.NamespacedHome()
	s.app, err = app.New(t.Context(), app.Options{
		DB: s.db, Data: s.dir, Tenants: []cloud.Tenant{{ID: "lab"}}, RiskModel: model, RiskBaseline: baseline,
		HTTP: "127.0.0.1:0", MQTT: "127.0.0.1:0", Enrol: "127.0.0.1:0", Hosts: []string{"127.0.0.1"},
		Logger:        slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		FirstPassword: func(_, _, password string) error { s.password = password; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.app.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *service) update(fn func(tx store.Tx) error) {
	s.t.Helper()
	if err := s.db.Update(s.t.Context(), "lab", fn); err != nil {
		s.t.Fatal(err)
	}
}

// day writes what all hubs measured in the day from a moment on, every half minute, and that each was away for ten
// minutes so many times.
func (s *service) day(from time.Time, faults int) {
	s.t.Helper()
	log := timeline.New(nil)
	for i := range modelHubs {
		home, hub := hubName(i)
		s.update(func(tx store.Tx) error {
			var blocks []cloud.Block
			for at := from; at.Before(from.Add(24 * time.Hour)); at = at.Add(time.Hour) {
				sealer, err := protocol.NewSealer(s.schema)
				if err != nil {
					return err
				}
				for n := range 120 {
					t := at.Add(time.Duration(n) * 30 * time.Second)
					if err := sealer.Add(&protocol.Sample{Mono: t.UnixMilli(), Wall: t.UnixMilli(), Schema: s.schema, Values: s.row}); err != nil {
						return err
					}
				}
				b, err := protocol.Marshal(sealer.Seal())
				if err != nil {
					return err
				}
				s.sequence++
				blocks = append(blocks, cloud.Block{Home: home, Device: hub, From: at, To: at.Add(time.Hour - 30*time.Second), Epoch: 1, Sequence: s.sequence, Bytes: b})
			}
			if err := (telemetry.Keeper{}).PutBlocks(tx, blocks); err != nil {
				return err
			}
			for n := range faults {
				at := from.Add(time.Duration(2+n)*time.Hour + time.Duration(i)*time.Minute)
				for j, k := range []cloud.Kind{cloud.KindDeviceOffline, cloud.KindDeviceOnline} {
					if err := log.Append(tx, cloud.Entry{
						Home: home, At: at.Add(time.Duration(j) * 10 * time.Minute), Kind: k,
						Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: hub}}, Actor: cloud.Ref{Type: cloud.RefService, ID: "fleet"},
					}); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
}

// scorers is the fleet as the roll-out of another instance sees it.
type scorers struct{}

func (scorers) Scoring(tx store.Tx, model string, after store.Cursor, limit int) (out []predict.Hub, next store.Cursor, err error) {
	list, next, err := devices.Scoring(tx, model, after, limit)
	for _, x := range list {
		out = append(out, predict.Hub{Home: x.Home, Device: x.Device, Model: x.Model})
	}
	return out, next, err
}

func (scorers) There(store.Tx, store.Cursor, int) ([]predict.Hub, store.Cursor, error) {
	return nil, "", nil
}

// looksAt has another instance, whose clock stands at a moment, take its turn; it hands nothing to hubs itself.
func (s *service) looksAt(now time.Time) {
	s.t.Helper()
	r, err := predict.NewRollout(predict.RolloutOptions{
		DB: s.db, Name: "namespaced-home", Hubs: scorers{}, Telemetry: telemetry.Keeper{}, Now: func() time.Time { return now },
		Registry: &predict.Registry{}, Send: func(string, string, []byte) bool { return false },
	})
	if err == nil {
		err = r.Look(s.t.Context(), store.Job{Tenant: "lab"})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) call(method, path string, in, out any) {
	s.t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.app.Addrs().HTTP.String()+path, bytes.NewReader(b))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, c := range resp.Cookies() {
		if c.Name == "hearth_session" {
			s.token = c.Value
		}
	}
	if b, err = io.ReadAll(resp.Body); err == nil && resp.StatusCode == 200 {
		err = json.Unmarshal(b, out)
	}
	if err != nil || resp.StatusCode != 200 {
		s.t.Fatalf("%s %s: %d %s %v", method, path, resp.StatusCode, b, err)
	}
}

// version is what the API says of a version.
func (s *service) version(v int) (m struct {
	Version          int
	State, Because   string
	Share, Gain      float64
	Hubs             int
	Doubt, Predicted float64
},
) {
	s.t.Helper()
	var list struct{ Items []json.RawMessage }
	s.call("GET", "/v1/models", nil, &list)
	was := m
	for _, raw := range list.Items {
		m = was
		if err := json.Unmarshal(raw, &m); err != nil {
			s.t.Fatal(err)
		}
		if m.Version == v {
			return m
		}
	}
	s.t.Fatalf("there is no version %d", v)
	return m
}

// right reports whether the hubs that are there say that they score by the version that they are to have, and how
// many of them by each.
func (s *service) right(hubs int) bool {
	s.t.Helper()
	have := 0
	if err := s.db.View(s.t.Context(), "lab", func(tx store.Tx) error {
		have = 0
		for i := range modelHubs {
			home, hub := hubName(i)
			state, err := devices.StateOf(tx, home, hub)
			if err != nil {
				return err
			}
			want, _, err := (&predict.Registry{}).For(tx, "namespaced-home", hub)
			if err != nil {
				return err
			}
			if state.Online && state.Model == want.ID() {
				have++
			}
		}
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	return have == hubs
}

// Real agents, over mutual TLS and MQTT, take the second version of their model, half of them in the first stage,
// and go back to the first when the second drifts. Five of them come when the roll-out has begun.
func TestHubsAdoptAVersionInStagesAndGoBackWhenItDrifts(t *testing.T) {
	s := newService(t)
	authority, err := ca.Open(ca.Options{Dir: filepath.Join(s.dir, "gateway")})
	if err != nil {
		t.Fatal(err)
	}
	key, err := command.OpenKey(filepath.Join(s.dir, "gateway", "command.key"))
	if err != nil {
		t.Fatal(err)
	}
	lab := &fleet.Lab{
		CA: authority, Tenant: "lab", Broker: s.app.Addrs().MQTT.String(),
		CommandKeys: []ed25519.PublicKey{key.Public().(ed25519.PublicKey)},
	}
	members, err := lab.Members(t.TempDir(), "hub-", modelHubs, 1)
	if err != nil {
		t.Fatal(err)
	}
	first, baseline := predict.NamespacedHome()
	for i := range members {
		members[i].Model, members[i].Baseline = first, baseline
	}
	join := func(m []fleet.Member) {
		start(t, fleet.Options{Members: m, Spread: time.Second, Interval: 30 * time.Second})
	}
	join(members[:40])
	await(t, "40 hubs score by the version that they came with", func() bool { return s.right(40) })

	m, err := risk.Decode(first)
	if err != nil {
		t.Fatal(err)
	}
	m.Version, m.About = 2, "the same, for homes that are calmer than the recorded ones"
	m.Calibration.Offset -= 3
	second, err := risk.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	s.day(now.Add(-predict.Settled-25*time.Hour), 1)
	s.call("POST", "/v1/sign-in", map[string]string{"name": "admin", "password": s.password}, new(any))
	s.call("POST", "/v1/models", map[string]any{"model": second}, new(any))
	s.looksAt(now)
	if v := s.version(2); v.State != "rolling" || v.Share != 0.5 || v.Gain <= 2*v.Doubt {
		t.Fatalf("version 2 is %+v", v)
	}
	await(t, "the stage's hubs score by version 2", func() bool { return s.right(40) })
	join(members[40:])
	await(t, "those that came later too", func() bool { return s.right(modelHubs) })
	if n := s.version(2).Hubs; n < 12 || n > 33 {
		t.Fatalf("%d of %d hubs score by version 2", n, modelHubs)
	}
	third, err := app.Train(t.Context(), app.TrainOptions{DB: s.db, Tenant: "lab", Model: first, Days: 2})
	if err != nil {
		t.Fatal(err)
	}
	if third.Model.ID() != "namespaced-home/3" || third.Model.Horizon != 60 || third.Devices != modelHubs || third.Quality.Faults == 0 {
		t.Fatalf("what the store holds makes %s of %d hubs: %+v", third.Model.ID(), third.Devices, third.Quality)
	}
	encoded, err := risk.Encode(third.Model)
	if err != nil {
		t.Fatal(err)
	}
	s.call("POST", "/v1/models", map[string]any{"model": encoded}, new(any))
	if v := s.version(3); v.State != "candidate" {
		t.Fatalf("what was trained from the store is %+v", v)
	}
	s.call("POST", "/v1/models/3/stop", map[string]string{"because": "one at a time"}, new(any))
	t.Logf("%d of %d hubs score by version 2: %+v", s.version(2).Hubs, modelHubs, s.version(2))

	s.day(time.Now().Add(-time.Minute), 8)
	s.looksAt(time.Now().Add(predict.Settled + 25*time.Hour))
	if v := s.version(2); v.State != "rolled_back" {
		t.Fatalf("version 2 is %+v", v)
	}
	await(t, "all hubs score by version 1 again", func() bool { return s.right(modelHubs) })
	if v := s.version(1); v.Hubs != modelHubs || v.State != "active" {
		t.Fatalf("version 1 is %+v", v)
	}
	t.Log(s.version(2).Because)
}
