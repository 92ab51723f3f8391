package fleet

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hearthline/hearthline/cloud/gateway/ca"
)

// Run is the tool `hearth-lab fleet`. It prints one line when all devices were online for the first time,
// and one at the end.
func Run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	n := flags.Int("devices", 30, "how many")
	first := flags.Int("first", 1, "number of the first of them")
	dir := flags.String("dir", "", "folder for the devices' data (required)")
	authority := flags.String("ca", "", "folder of the cloud's authority: ca.pem, ca.key (required)")
	broker := flags.String("broker", "127.0.0.1:8883", "host:port, TLS")
	tenant := flags.String("tenant", "lab", "of all devices")
	prefix := flags.String("prefix", "hub-", "of the devices' ids")
	commandKey := flags.String("command-key", "", "Ed25519 public key of the cloud, hex: devices obey it")
	planKey := flags.String("plan-key", "", "Ed25519 public key that may authorise plans, hex")
	interval := flags.Duration("interval", 10*time.Second, "between samples")
	batch := flags.Duration("batch", time.Minute, "age at which telemetry is sent")
	spread := flags.Duration("spread", 40*time.Second, "reconnecting begins at a random moment within this")
	events := flags.Duration("events", 0, "every device records an event about this often; 0: only what it sees")
	ledger := flags.String("ledger", "", "file that takes what was acknowledged, as JSON lines")
	seed := flags.Uint64("seed", 1, "of the made-up homes")
	verbose := flags.Bool("v", false, "log what the agents do")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if *dir == "" || *authority == "" || *n < 1 || *first < 1 {
		return fmt.Errorf("--dir, --ca and at least one device are required")
	}
	lab := &Lab{Tenant: *tenant, Broker: *broker, First: *first}
	for _, k := range []struct {
		flag string
		hex  string
		to   *[]ed25519.PublicKey
	}{{"command-key", *commandKey, &lab.CommandKeys}, {"plan-key", *planKey, &lab.PlanKeys}} {
		if k.hex == "" {
			continue
		}
		key, err := hex.DecodeString(k.hex)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return fmt.Errorf("--%s: want %d bytes in hex", k.flag, ed25519.PublicKeySize)
		}
		*k.to = append(*k.to, key)
	}
	var err error
	if _, err := os.Stat(filepath.Join(*authority, "ca.key")); err != nil {
		return fmt.Errorf("--ca: %w", err)
	}
	if lab.CA, err = ca.Open(ca.Options{Dir: *authority}); err != nil {
		return err
	}
	opts := Options{Interval: *interval, Batch: *batch, Spread: *spread, Events: *events}
	if *verbose {
		opts.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if *ledger != "" {
		if opts.Ledger, err = OpenLedger(*ledger); err != nil {
			return err
		}
	}
	start := time.Now()
	if opts.Members, err = lab.Members(*dir, *prefix, *n, *seed); err != nil {
		return err
	}
	f, err := New(opts)
	if err != nil {
		return err
	}
	fmt.Printf("%d devices ready after %s\n", *n, time.Since(start).Round(time.Millisecond))
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { announce(ctx, f, *n, time.Now()) })
	err = f.Run(ctx)
	wg.Wait()
	fmt.Printf("%d records acknowledged\n", opts.Ledger.Len())
	if e := opts.Ledger.Close(); err == nil {
		err = e
	}
	return err
}

// announce says once how long it took until all were online.
func announce(ctx context.Context, f *Fleet, n int, start time.Time) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if f.Online() == n {
			fmt.Printf("%d devices online after %s\n", n, time.Since(start).Round(time.Millisecond))
			return
		}
	}
}
