package command_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/agenttest"
	"github.com/hearthline/hearthline/agent/command"
	"github.com/hearthline/hearthline/protocol"
)

func TestWhetherACommandHasExpiredIsJudgedByTheTimeThatTheCloudTold(t *testing.T) {
	ca := agenttest.NewCA(t)
	id := ca.Identity(t, "hub-1", "")
	own := time.Now()
	for _, c := range []struct {
		name        string
		told        time.Time // zero: nothing
		issued      time.Time // of a command that lives ten minutes
		seen        time.Time // issue of one that was obeyed before; zero: none
		planOver    bool
		wantRefused string
	}{
		{name: "the device is ten years ahead", told: own.AddDate(-10, 0, 0), issued: own.AddDate(-10, 0, 0)},
		{name: "the device is ten years behind", told: own.AddDate(10, 0, 0), issued: own.AddDate(10, 0, 0)},
		{name: "it expired, and the device is behind", told: own.AddDate(10, 0, 0), issued: own, wantRefused: "expires_at"},
		{name: "it expired a moment ago", told: own.AddDate(-10, 0, 0), issued: own.AddDate(-10, 0, 0).Add(-10 * time.Minute), wantRefused: "expires_at"},
		{name: "it is the last minute", told: own.AddDate(-10, 0, 0), issued: own.AddDate(-10, 0, 0).Add(-9 * time.Minute)},
		{name: "its plan is over", told: own.AddDate(-10, 0, 0), issued: own.AddDate(-10, 0, 0), planOver: true, wantRefused: "plan.not_after"},
		{name: "a later one was seen than the time told", told: own.AddDate(-10, 0, 0), issued: own.AddDate(-10, 0, 0), seen: own.AddDate(-9, 0, 0), wantRefused: "expires_at"},
		{name: "nothing was told, and the device is ahead", issued: own.AddDate(-10, 0, 0), wantRefused: "expires_at"},
		{name: "nothing was told, and the device is right", issued: own},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock := agent.NewClock()
			g, err := command.New(command.Options{Identity: func() *agent.Identity { return id }, Clock: clock, Path: filepath.Join(t.TempDir(), "command.json")})
			if err != nil {
				t.Fatal(err)
			}
			tell := func(now time.Time) {
				if err := clock.Answer(id, ca.Time(t, "hub-1", clock.Ask(), now)); err != nil {
					t.Fatal(err)
				}
			}
			check := func(name string, counter uint64, issued, over time.Time) error {
				_, err := g.Check(ca.Command(t, protocol.Command{
					Version: 1, ID: name, Tenant: "acme", Device: "hub-1", Counter: counter, Choice: map[string]string{"kind": "dns"},
					IssuedAt: issued.Unix(), ExpiresAt: issued.Add(10 * time.Minute).Unix(),
				}, protocol.Plan{Version: 1, ID: "look", Tenant: "acme", Verb: protocol.VerbDiagnose, Choices: map[string][]string{"kind": {"*"}}, NotAfter: over.Unix()}))
				return err
			}
			if !c.seen.IsZero() {
				tell(c.seen)
				if err := check("before", 1, c.seen, c.seen.Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			if !c.told.IsZero() {
				tell(c.told)
			}
			over := c.issued.AddDate(1, 0, 0)
			if c.planOver {
				over = c.issued.Add(-time.Second)
			}
			err = check("now", 2, c.issued, over)
			var refusal *command.Refusal
			if !errors.As(err, &refusal) {
				refusal = new(command.Refusal)
			}
			if refusal.Field != c.wantRefused || (err == nil) != (c.wantRefused == "") {
				t.Errorf("%v, want a refusal for %q", err, c.wantRefused)
			}
		})
	}
}
