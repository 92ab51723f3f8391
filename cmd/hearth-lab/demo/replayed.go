package demo

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/app"
	"github.com/hearthline/hearthline/agent/assist"
	"github.com/hearthline/hearthline/agent/enrol"
	"github.com/hearthline/hearthline/cmd/hearth-lab/fleet"
	"github.com/hearthline/hearthline/cmd/hearth-lab/home"
	"github.com/hearthline/hearthline/firmware-bridge/replay"
)

// replayedHub stands in for the real hub where no namespaces are to be had: the real agent, in this
// process, over a made-up trace. A power cut cannot be played on it; kill only stops and forgets it.
type replayedHub struct {
	home *replayed
	opts app.Options

	cancel context.CancelFunc
	done   sync.WaitGroup
}

// mainProfile is the made-up home of the story. It has no second uplink.
func mainProfile(seed uint64) *replayed {
	return &replayed{seed: seed, profile: replay.Profile{Model: "Hub Mini", Firmware: mainResident.firmware, Hardware: mainResident.hardware}}
}

func newReplayedHub(ctx context.Context, w *world, token string, seed uint64) (*replayedHub, error) {
	authority, err := os.ReadFile(w.service.caFile())
	if err != nil {
		return nil, fmt.Errorf("replayed hub: %w", err)
	}
	dir := filepath.Join(w.dir, "agent")
	id, err := fleet.Enrolled(ctx, enrol.Options{
		Dir: dir, URL: fmt.Sprintf("https://127.0.0.1:%d", w.service.enrolPort), Token: token, CA: authority,
	})
	if err != nil {
		return nil, fmt.Errorf("enrol the replayed hub: %w", err)
	}
	id.Broker = fmt.Sprintf("127.0.0.1:%d", w.service.mqttPort)
	h := &replayedHub{home: mainProfile(seed)}
	h.opts = app.Options{
		Dir: dir, Driver: h.home, Identity: func() *agent.Identity { return id },
		Interval: time.Second, Batch: 2 * time.Second, Hot: time.Second, Spread: time.Second, KeepAlive: 10 * time.Second,
		Assist: []string{filepath.Join(w.bin, "hearth-lab"), "demo", "assist", "--seed", strconv.FormatUint(seed, 10)},
	}
	return h, h.home.turn(replay.NoTrouble)
}

func (h *replayedHub) start() error {
	a, err := app.New(h.opts)
	if err != nil {
		return fmt.Errorf("start the replayed hub: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	h.done.Go(func() { a.Run(ctx) })
	return nil
}

func (h *replayedHub) kill() error { return h.stop() }

func (h *replayedHub) stop() error {
	if h.cancel != nil {
		h.cancel()
		h.done.Wait()
	}
	return nil
}

// fault plays the trouble that is most like the fault.
func (h *replayedHub) fault(f home.Fault, on bool) error {
	trouble := map[string]string{"dns-slow": replay.SlowResolver, "loss": replay.LossyUplink}[f.Kind]
	if trouble == "" {
		return fmt.Errorf("fault %s cannot be replayed", f)
	}
	if !on {
		trouble = replay.NoTrouble
	}
	return h.home.turn(trouble)
}

// replayedAssist is the assist process of a replayed hub, whose uplink is lossy when a session is opened.
func replayedAssist(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("demo assist", flag.ContinueOnError)
	seed := flags.Uint64("seed", 1, "of the made-up home")
	if err := flags.Parse(args); err != nil {
		return err
	}
	h := mainProfile(*seed)
	if err := h.turn(replay.LossyUplink); err != nil {
		return err
	}
	session, err := assist.New(assist.Options{Hub: h, In: os.Stdin, Out: os.Stdout, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	return session.Run(ctx)
}
