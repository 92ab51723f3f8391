package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/enrol"
)

// Serve is the whole agent of one device: it enrols if that was not done yet, then runs and keeps its
// certificate valid until ctx ends.
func Serve(ctx context.Context, c *Config, log *slog.Logger) error {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return err
	}
	how, err := c.enrolment()
	if err != nil {
		return err
	}
	id, fresh, err := identity(ctx, how, log)
	if err != nil {
		return err
	}
	driver, err := OpenDriver(c)
	if err != nil {
		return err
	}
	defer driver.Close()
	keeper := enrol.NewKeeper(how, id, log)
	opts := Options{
		Dir: c.DataDir, Driver: driver, Identity: keeper.Identity,
		Interval: c.Interval, Fast: c.Fast, Calm: c.Calm, Batch: c.Batch, Hot: c.Hot,
		MaxBytes: c.MaxBytes, MaxMemory: int(c.MaxMemory), Spread: c.Spread, AtOnce: fresh, KeepAlive: c.KeepAlive,
		Assist: c.Assist, Log: log.With("device", id.Device),
	}
	if opts.Model, err = optional(c.ModelFile, "risk_model_file"); err != nil {
		return err
	}
	if opts.Baseline, err = optional(c.BaselineFile, "risk_baseline_file"); err != nil {
		return err
	}
	a, err := New(opts)
	if err != nil {
		return err
	}
	log.Info("agent started", "tenant", id.Tenant, "device", id.Device, "broker", id.Broker, "version", agent.Version, "boot", a.outbox.Boot())
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	if how.URL != "" {
		wg.Go(func() { _ = keeper.Run(ctx) })
	}
	err = a.Run(ctx)
	stop()
	wg.Wait()
	return err
}

func optional(path, key string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: key %q: %w", key, err)
	}
	return b, nil
}

// enrolment collects the enrol_* keys.
func (c *Config) enrolment() (enrol.Options, error) {
	o := enrol.Options{Dir: c.DataDir, URL: c.EnrolURL, Token: c.EnrolToken, CASHA256: c.EnrolCASHA256, Built: built()}
	var err error
	if o.CA, err = optional(c.EnrolCAFile, "enrol_ca_file"); err != nil {
		return o, err
	}
	if c.EnrolFile != "" && o.Token == "" {
		b, err := os.ReadFile(c.EnrolFile)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // it may be removed after use
			return o, fmt.Errorf("configuration: key %q: %w", "enrol_token_file", err)
		}
		o.Token = strings.TrimSpace(string(b))
	}
	return o, nil
}

// built is when this program was built, as far as it knows: its clock cannot be earlier.
func built() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, _ := time.Parse(time.RFC3339, s.Value)
			return t
		}
	}
	return time.Time{}
}

// identity loads the identity, or enrols until the cloud says yes or a final no; then it is fresh.
func identity(ctx context.Context, how enrol.Options, log *slog.Logger) (id *agent.Identity, fresh bool, err error) {
	id, err = enrol.Load(how.Dir)
	if !errors.Is(err, enrol.ErrNone) {
		return id, false, err
	}
	for _, need := range []struct{ key, value string }{{"enrol_url", how.URL}, {"enrol_token", how.Token}} {
		if need.value == "" {
			return nil, false, fmt.Errorf("configuration: key %q is missing: the device is not enrolled yet", need.key)
		}
	}
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		id, err := enrol.First(ctx, how)
		if err == nil || errors.Is(err, enrol.ErrRefused) || ctx.Err() != nil {
			return id, true, err
		}
		log.Warn("not enrolled, trying again", "error", err)
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-time.After(rand.N(wait)):
		}
	}
}
