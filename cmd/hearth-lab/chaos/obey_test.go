package chaos

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/app"
	"github.com/hearthline/hearthline/agent/assist"
	"github.com/hearthline/hearthline/agent/enrol"
	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/gateway"
	"github.com/hearthline/hearthline/cloud/gateway/command"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/timeline"
	labfleet "github.com/hearthline/hearthline/cmd/hearth-lab/fleet"
	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/protocol"
)

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// replayed is a hub's hardware for these tests.
func replayed() bridge.Driver {
	homes, err := labfleet.Homes(1, 1)
	fail(err)
	return homes[0]
}

// hubMain is a hub whose identity is in the folder. It works until it is killed.
func hubMain(dir string) {
	id, err := enrol.Load(dir)
	fail(err)
	a, err := app.New(app.Options{
		Dir: dir, Driver: replayed(), Identity: func() *agent.Identity { return id }, AtOnce: true,
		Assist: []string{os.Args[0], "assist"}, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	fail(err)
	fail(a.Run(context.Background()))
}

// assistMain is hearth-assist.
func assistMain() {
	s, err := assist.New(assist.Options{Hub: replayed(), In: os.Stdin, Out: os.Stdout})
	fail(err)
	fail(s.Run(context.Background()))
}

// office is a gateway with one home, which sends commands under plans of its own.
type office struct {
	t       *testing.T
	db      store.DB
	gw      *gateway.Gateway
	planKey ed25519.PrivateKey
	hub     string // data folder of the hub, which is enrolled
}

func newOffice(t *testing.T) *office {
	t.Helper()
	dir := t.TempDir()
	db, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	o := &office{t: t, db: db, planKey: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), hub: filepath.Join(dir, "hub")}
	log := timeline.New(nil)
	o.gw, err = gateway.New(gateway.Options{
		DB: db, Dir: filepath.Join(dir, "gateway"), Devices: fleet.Presence{}, Timeline: log, Telemetry: telemetry.Keeper{},
		Presence: fleet.Presence{Log: log.Append}, Tenants: func(context.Context) ([]string, error) { return []string{Tenant}, nil },
		Listen: "127.0.0.1:0", EnrolAt: "127.0.0.1:0", Hosts: []string{"127.0.0.1"},
	})
	if err == nil {
		err = errors.Join(o.gw.Bind(), Provision(t.Context(), db, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.gw.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	key, err := command.OpenKey(filepath.Join(dir, "gateway", "command.key"))
	if err != nil {
		t.Fatal(err)
	}
	public := func(k ed25519.PrivateKey) []ed25519.PublicKey {
		return []ed25519.PublicKey{k.Public().(ed25519.PublicKey)}
	}
	lab := labfleet.Lab{CA: o.gw.CA(), Tenant: Tenant, Broker: o.gw.Addr().String(), CommandKeys: public(key), PlanKeys: public(o.planKey)}
	if _, err := lab.Identity(o.hub, deviceID(0)); err != nil {
		t.Fatal(err)
	}
	return o
}

// send sends a command of ten minutes' life. A hub that is away gets it when it comes.
func (o *office) send(c protocol.Command, p protocol.Plan) {
	o.t.Helper()
	p.Version, p.ID, p.Tenant, p.NotAfter = 1, "plan", Tenant, time.Now().Add(time.Hour).Unix()
	b, err := protocol.Marshal(&p)
	if err == nil {
		c.Plan, err = protocol.Sign(protocol.PurposePlan, b, o.planKey)
	}
	if err == nil {
		err = o.db.Update(o.t.Context(), Tenant, func(tx store.Tx) error {
			c.Device = deviceID(0)
			_, err := o.gw.Commands().Send(tx, homeID(0), p.ID, c)
			return err
		})
	}
	if err == nil {
		err = o.gw.Commands().Came(o.t.Context(), Tenant, homeID(0), deviceID(0))
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// await waits for an entry of the timeline.
func (o *office) await(kind protocol.EventKind) cloud.Entry {
	o.t.Helper()
	for late := time.Now().Add(time.Minute); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		var entries []cloud.Entry
		err := o.db.View(o.t.Context(), Tenant, func(tx store.Tx) (err error) {
			entries, _, err = timeline.Page(tx, homeID(0), "", 1000)
			return err
		})
		if err != nil {
			o.t.Fatal(err)
		}
		for _, e := range entries {
			switch e.Kind {
			case cloud.Kind(kind):
				return e
			case cloud.Kind(protocol.EventCommand):
				o.t.Fatalf("the hub refuses: %v", e.Args)
			}
		}
	}
	o.t.Fatalf("no %s within a minute", kind)
	return cloud.Entry{}
}

func TestAHubWhoseClockIsWrongByYearsObeysAndItsSessionEndsInTime(t *testing.T) {
	if _, known := clockGettime[runtime.GOARCH]; !known {
		t.Skip("not known how to set a process's clock on " + runtime.GOARCH)
	}
	for name, offset := range map[string]time.Duration{
		"right":           0,
		"ten years ahead": 10 * year,
		"in 1970":         -time.Duration(time.Now().Unix()-1000) * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t)
			o.send(protocol.Command{Choice: map[string]string{"kind": "connection"}},
				protocol.Plan{Verb: protocol.VerbDiagnose, Choices: map[string][]string{"kind": {"*"}}})
			hub := exec.Command(os.Args[0], "hub", o.hub)
			hub.Stderr = t.Output()
			hub.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if _, err := startWithClock(hub, offset); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = hub.Process.Kill()
				_ = hub.Wait()
			})
			o.await(protocol.EventDiagnosis)

			const lasts = 4 * time.Second
			ends := time.Now().Add(lasts)
			o.send(protocol.Command{Assist: &protocol.Assist{Session: "s1", Allow: []string{"metrics"}, EndsAt: ends.Unix()}},
				protocol.Plan{Verb: protocol.VerbAssist})
			o.await(protocol.EventSessionStarted)
			e := o.await(protocol.EventSessionEnded)
			if off := time.Since(ends); e.Args["reason"] != "time_over" || off.Abs() > 3*time.Second {
				t.Errorf("the session ended because of %q, %s after its end", e.Args["reason"], off)
			}
		})
	}
}
