package demo

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthline/hearthline/agent/enrol"
	"github.com/hearthline/hearthline/cmd/hearth-lab/fleet"
	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/firmware-bridge/replay"
	"github.com/hearthline/hearthline/protocol"
)

// crowd is the replayed homes: real agents in this process over made-up traces, ten times as fast as life.
type crowd struct {
	residents []resident
	homes     []*replayed
	cancel    context.CancelFunc
	done      sync.WaitGroup
}

// replayed is a home whose trace can be exchanged while its agent runs, as when a firmware goes bad.
type replayed struct {
	profile replay.Profile
	seed    uint64
	now     atomic.Pointer[replay.Driver]
}

const traceSpeed = 10

// The batch of the story.
const batchModel, batchFirmware, batchHardware = "Hub One", "3.9.2", "r2"

func startCrowd(ctx context.Context, w *world, n int, seed uint64) (*crowd, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &crowd{cancel: cancel, residents: neighbours(n, seed)}
	if n == 0 {
		return c, nil
	}
	log, err := os.OpenFile(filepath.Join(w.dir, "fleet.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("replayed homes: %w", err)
	}
	members, err := c.members(ctx, w, seed)
	if err != nil {
		cancel()
		return nil, err
	}
	f, err := fleet.New(fleet.Options{
		Members: members, Interval: time.Second, Batch: 10 * time.Second, Spread: time.Second,
		Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("replayed homes: %w", err)
	}
	c.done.Go(func() {
		defer log.Close()
		if err := f.Run(ctx); err != nil {
			fmt.Fprintln(log, err)
		}
	})
	return c, nil
}

// members moves the residents in and enrols their hubs.
func (c *crowd) members(ctx context.Context, w *world, seed uint64) ([]fleet.Member, error) {
	authority, err := os.ReadFile(w.service.caFile())
	if err != nil {
		return nil, fmt.Errorf("replayed homes: %w", err)
	}
	profiles := replay.Profiles(len(c.residents), seed)
	for i := 0; i < len(profiles); i += 3 { // a third of the homes bought the same batch
		profiles[i].Model, profiles[i].Firmware, profiles[i].Hardware = batchModel, batchFirmware, batchHardware
	}
	var members []fleet.Member
	for i := range c.residents {
		r := &c.residents[i]
		r.model, r.firmware, r.hardware = profiles[i].Model, profiles[i].Firmware, profiles[i].Hardware
		home := &replayed{profile: profiles[i], seed: seed + uint64(i)}
		trouble := replay.NoTrouble
		if i == 1 {
			trouble = replay.SlowResolver // no fleet is without one, and what a fleet's quiet past is begins with its first
		}
		if err := home.turn(trouble); err != nil {
			return nil, err
		}
		token, err := moveIn(ctx, w.admin, *r)
		if err != nil {
			return nil, err
		}
		dir := filepath.Join(w.dir, "fleet", r.device)
		id, err := fleet.Enrolled(ctx, enrol.Options{
			Dir: dir, URL: fmt.Sprintf("https://127.0.0.1:%d", w.service.enrolPort), Token: token, CA: authority,
		})
		if err != nil {
			return nil, fmt.Errorf("enrol %s: %w", r.device, err)
		}
		id.Broker = fmt.Sprintf("127.0.0.1:%d", w.service.mqttPort) // the name in the answer is known in the namespaced home only
		c.homes = append(c.homes, home)
		members = append(members, fleet.Member{Identity: id, Dir: dir, Driver: home})
	}
	return members, nil
}

// batch is the homes of the batch that the story lets go bad.
func (c *crowd) batch() (homes []*replayed) {
	for _, h := range c.homes {
		if h.profile.Model == batchModel && h.profile.Firmware == batchFirmware {
			homes = append(homes, h)
		}
	}
	return homes
}

func (c *crowd) stop() {
	c.cancel()
	c.done.Wait()
}

// turn exchanges the trace for one in which the trouble begins with the second row, comes on within
// seconds and stays for five minutes of the demo.
func (h *replayed) turn(trouble string) error {
	p := h.profile
	p.Trouble, p.From, p.To, p.RampMS = trouble, 10_000, 3_000_000, 60_000
	trace, script, err := replay.Synthetic(p, h.seed)
	if err != nil {
		return fmt.Errorf("replayed home: %w", err)
	}
	d, err := replay.New(replay.Options{Trace: trace, Script: script, Loop: true, Speed: traceSpeed})
	if err != nil {
		return fmt.Errorf("replayed home: %w", err)
	}
	h.now.Store(d)
	return nil
}

var _ bridge.Driver = (*replayed)(nil)

func (h *replayed) Describe(ctx context.Context) (bridge.Description, error) {
	return h.now.Load().Describe(ctx)
}

func (h *replayed) Sample(ctx context.Context) (*protocol.Sample, error) {
	return h.now.Load().Sample(ctx)
}

func (h *replayed) Diagnose(ctx context.Context, req protocol.DiagnosisRequest, step func(protocol.Step)) (protocol.Diagnosis, error) {
	return h.now.Load().Diagnose(ctx, req, step)
}

func (h *replayed) Undo(ctx context.Context, a protocol.Action) (protocol.Action, error) {
	return h.now.Load().Undo(ctx, a)
}

func (h *replayed) Apply(ctx context.Context, a protocol.Action) error {
	return h.now.Load().Apply(ctx, a)
}

func (h *replayed) Check(ctx context.Context, c protocol.Check) (bool, error) {
	return h.now.Load().Check(ctx, c)
}

func (h *replayed) Close() error { return h.now.Load().Close() }
