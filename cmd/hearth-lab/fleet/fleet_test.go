package fleet_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hearthline/hearthline/agent/enrol"
	"github.com/hearthline/hearthline/cloud"
	devices "github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/gateway"
	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/cmd/hearth-lab/fleet"
	"github.com/hearthline/hearthline/protocol"
)

// door is the cloud's real gateway over a real store, restartable on the same addresses.
type door struct {
	t    *testing.T
	db   *bolt.DB
	dir  string
	mqtt string
	http string
	gw   *gateway.Gateway
	stop func()
}

func newDoor(t *testing.T, n int) *door {
	t.Helper()
	d := &door{t: t, dir: t.TempDir(), mqtt: "127.0.0.1:0", http: "127.0.0.1:0"}
	var tables []store.Declared
	for _, more := range [][]store.Declared{gateway.Tables(), telemetry.Tables(), timeline.Tables(), devices.Tables()} {
		tables = append(tables, more...)
	}
	var err error
	if d.db, err = bolt.Open(bolt.Options{Path: filepath.Join(d.dir, "store.db"), MapBytes: 64 << 20}, tables...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.db.Close() })
	err = d.db.Update(t.Context(), "lab", func(tx store.Tx) error {
		if _, err := devices.AddHome(tx, cloud.Home{ID: "home1", Name: "Home"}); err != nil {
			return err
		}
		for i := range n {
			id := fmt.Sprintf("hub-%d", i+1)
			if _, err := devices.Add(tx, cloud.Device{ID: id, Home: "home1", Name: id}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	d.start()
	return d
}

func (d *door) start() {
	d.t.Helper()
	log := timeline.New(nil)
	gw, err := gateway.New(gateway.Options{
		DB: d.db, Dir: filepath.Join(d.dir, "gateway"), Devices: devices.Presence{}, Timeline: log, Telemetry: telemetry.Keeper{},
		Presence: devices.Presence{Log: log.Append}, Tenants: func(context.Context) ([]string, error) { return []string{"lab"}, nil },
		Listen: d.mqtt, EnrolAt: d.http, Hosts: []string{"127.0.0.1"},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	if err := gw.Bind(); err != nil {
		d.t.Fatal(err)
	}
	d.gw, d.mqtt, d.http = gw, gw.Addr().String(), gw.EnrolAddr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- gw.Run(ctx) }()
	d.stop = func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
		d.stop = func() {}
	}
	d.t.Cleanup(func() { d.stop() })
}

func start(t *testing.T, opts fleet.Options) (f *fleet.Fleet, stop func()) {
	t.Helper()
	f, err := fleet.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return f, stop
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for late := time.Now().Add(60 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("after 60 s still not: %s", what)
		}
	}
}

// The account that the fleet keeps and the timeline of the cloud agree, entry for entry, although both were
// stopped and started again on the way.
func TestWhatTheFleetWasToldIsOnTheTimelineOnce(t *testing.T) {
	const n = 25
	d := newDoor(t, n)
	path, data := filepath.Join(t.TempDir(), "ledger"), t.TempDir()
	for round := range 3 {
		ledger, err := fleet.OpenLedger(path)
		if err != nil {
			t.Fatal(err)
		}
		lab := &fleet.Lab{CA: d.gw.CA(), Tenant: "lab", Broker: d.mqtt}
		members, err := lab.Members(data, "hub-", n, 1)
		if err != nil {
			t.Fatal(err)
		}
		f, stop := start(t, fleet.Options{
			Members: members, Interval: 100 * time.Millisecond, Batch: 300 * time.Millisecond,
			Spread: 300 * time.Millisecond, Events: 200 * time.Millisecond, Ledger: ledger,
		})
		await(t, "all online", func() bool { return f.Online() == n })
		if round == 1 {
			d.stop()
			await(t, "all offline", func() bool { return f.Online() == 0 })
			d.start()
			await(t, "all online again", func() bool { return f.Online() == n })
		}
		before := ledger.Len()
		await(t, "500 more records acknowledged", func() bool { return ledger.Len() > before+500 })
		stop()
		if err := ledger.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen, events := map[fleet.Line]bool{}, 0
	err = d.db.View(t.Context(), "lab", func(tx store.Tx) error {
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var l fleet.Line
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				return err
			}
			l.At = 0
			if l.Recorded || l.ID == "" || seen[l] { // after a restart a device may hear again of what it had not yet removed
				continue
			}
			seen[l] = true
			events++
			if _, err := timeline.Get(tx, "home1", protocol.EntryID(l.ID)); err != nil {
				return fmt.Errorf("%s was acknowledged: %w", l.ID, err)
			}
		}
		ids, after := map[protocol.EntryID]bool{}, store.Cursor("")
		for {
			entries, next, err := timeline.Page(tx, "home1", after, 500)
			if err != nil {
				return err
			}
			for _, e := range entries {
				if ids[e.ID] {
					return fmt.Errorf("%s is on the timeline twice", e.ID)
				}
				ids[e.ID] = true
			}
			if after = next; next == "" {
				break
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if events < 200 {
		t.Errorf("only %d events were acknowledged: the test is blind", events)
	}
}

func TestADeviceEnrolsWithATokenOnce(t *testing.T) {
	d := newDoor(t, 1)
	var token string
	err := d.db.Update(t.Context(), "lab", func(tx store.Tx) (err error) {
		token, err = d.gw.MintToken(tx, "home1", "hub-1", time.Hour)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	opts := enrol.Options{Dir: t.TempDir(), URL: "https://" + d.http, Token: token, CA: d.gw.CA().PEM()}
	id, err := fleet.Enrolled(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if id.Device != "hub-1" || id.Tenant != "lab" || len(id.CommandKeys) != 1 {
		t.Errorf("enrolled as %s of %s with %d keys", id.Device, id.Tenant, len(id.CommandKeys))
	}
	next, err := enrol.Renew(t.Context(), opts, id)
	if err != nil {
		t.Fatal(err)
	}
	if next.Certificate.Leaf.SerialNumber.Cmp(id.Certificate.Leaf.SerialNumber) == 0 {
		t.Error("the renewed certificate is the old one")
	}
	opts.Dir = t.TempDir() // another device with the same token
	for name, change := range map[string]func(*enrol.Options){
		"a used token":    func(*enrol.Options) {},
		"a wrong token":   func(o *enrol.Options) { o.Token = "lab.nonsense" },
		"another's CA":    func(o *enrol.Options) { o.CA = otherCA(t) },
		"a wrong finger":  func(o *enrol.Options) { o.CA, o.CASHA256 = nil, fmt.Sprintf("%064x", 1) },
		"the system's CA": func(o *enrol.Options) { o.CA = nil },
	} {
		bad := opts
		change(&bad)
		_, err := enrol.First(t.Context(), bad)
		if final := errors.Is(err, enrol.ErrRefused); err == nil || final != (name == "a used token" || name == "a wrong token") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func otherCA(t *testing.T) []byte {
	t.Helper()
	other, err := ca.Open(ca.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return other.PEM()
}
