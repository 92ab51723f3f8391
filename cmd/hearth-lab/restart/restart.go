// Package restart measures how a town comes back: thousands of real agents that start in the same second,
// as after a power cut, and that all lose the cloud in the same second, as when it is killed. Nothing but
// the agents' own jitter spreads them out. The cloud is the program hearth-cloud with its embedded broker,
// over mutual TLS.
package restart

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hearthline/hearthline/agent/app"
	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/cmd/hearth-lab/chaos"
	"github.com/hearthline/hearthline/cmd/hearth-lab/fleet"
)

// What a return is held to.
const (
	maxBack  = 120 * time.Second
	maxShare = 0.05 // of the devices, in any one second
)

// Round is one return.
type Round struct {
	What  string  `json:"what"`
	Back  float64 `json:"all_back_s"`  // from the start of the agents, or the kill of the cloud
	Half  float64 `json:"half_back_s"` // the same for the median agent
	Share float64 `json:"most_in_1s"`  // part of the agents that came within one second, the worst there was
}

type options struct {
	cloud   string
	dir     string
	devices int
	spread  time.Duration
}

// Run is the tool "restart". It fails when a return takes too long or comes too much at once.
func Run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("restart", flag.ContinueOnError)
	var o options
	fs.StringVar(&o.cloud, "hearth-cloud", "hearth-cloud", "the program")
	fs.StringVar(&o.dir, "dir", "", "folder that keeps devices and store for the next time; empty: a temporary one")
	fs.IntVar(&o.devices, "devices", 2000, "agents")
	fs.DurationVar(&o.spread, "spread", 0, "of the agents' reconnecting; 0 is their default")
	asJSON := fs.Bool("json", false, "print JSON only")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	if o.devices < 1 {
		return errors.New("want at least one device")
	}
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "hearth-lab-restart-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.dir = dir
	}
	rounds, err := o.run(ctx)
	if err != nil {
		return err
	}
	if *asJSON {
		err = json.NewEncoder(os.Stdout).Encode(rounds)
	}
	for _, r := range rounds {
		if !*asJSON {
			fmt.Printf("%-19s %d agents back after %5.1f s, half of them after %4.1f s, at most %.2f %% within one second\n",
				r.What, o.devices, r.Back, r.Half, 100*r.Share)
		}
		if r.Back > maxBack.Seconds() || r.Share > maxShare {
			err = errors.Join(err, fmt.Errorf("%s: want all back within %s and at most %.0f %% within one second", r.What, maxBack, 100*maxShare))
		}
	}
	return err
}

func (o *options) run(ctx context.Context) ([]Round, error) {
	s := &service{program: o.cloud, data: filepath.Join(o.dir, "cloud")}
	if err := s.prepare(ctx, o.devices); err != nil {
		return nil, err
	}
	defer s.kill()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	authority, err := ca.Open(ca.Options{Dir: filepath.Join(s.data, "gateway")})
	if err != nil {
		return nil, err
	}
	lab := &fleet.Lab{CA: authority, Tenant: chaos.Tenant, Broker: s.mqtt}
	members, err := lab.Members(filepath.Join(o.dir, "devices"), chaos.Prefix, o.devices, 1)
	if err != nil {
		return nil, err
	}
	f, err := fleet.New(fleet.Options{Members: members, Spread: o.spread})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- f.Run(ctx) }()
	rounds, err := o.rounds(ctx, s, f, begin)
	cancel()
	return rounds, errors.Join(err, <-done)
}

func (o *options) rounds(ctx context.Context, s *service, f *fleet.Fleet, begin time.Time) ([]Round, error) {
	back, err := follow(ctx, f, begin)
	if err != nil {
		return nil, fmt.Errorf("the agents start: %w", err)
	}
	rounds := []Round{judge("the agents start", back)}
	begin = time.Now()
	s.kill()
	if err := await(ctx, 30*time.Second, "all agents to see that the cloud is gone", func() bool { return f.Online() == 0 }); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	if back, err = follow(ctx, f, begin); err != nil {
		return nil, fmt.Errorf("the cloud is killed: %w", err)
	}
	return append(rounds, judge("the cloud is killed", back)), nil
}

// follow waits until every agent was online, and returns when each was, since begin.
func follow(ctx context.Context, f *fleet.Fleet, begin time.Time) ([]time.Duration, error) {
	var back []time.Duration
	away := slices.Clone(f.Agents())
	err := await(ctx, 2*maxBack, fmt.Sprintf("all %d agents to be online", len(away)), func() bool {
		now := time.Since(begin)
		was := len(away)
		away = slices.DeleteFunc(away, func(a *app.Agent) bool { return a.Online() })
		for range was - len(away) {
			back = append(back, now)
		}
		return len(away) == 0
	})
	return back, err
}

// await looks every 10 ms.
func await(ctx context.Context, limit time.Duration, what string, holds func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(limit)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			return fmt.Errorf("waited %s for %s", limit, what)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// judge sums a return up; back is in order.
func judge(what string, back []time.Duration) Round {
	most, from := 0, 0
	for i := range back {
		for back[i]-back[from] >= time.Second {
			from++
		}
		most = max(most, i-from+1)
	}
	n := len(back)
	return Round{what, back[n-1].Seconds(), back[n/2].Seconds(), float64(most) / float64(n)}
}
