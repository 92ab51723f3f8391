package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
)

// model is one version as the service lists it.
type model struct {
	Version             int64
	State               string
	Share               float64
	Hubs                int
	Because             string
	Gain, Doubt         *float64
	Predicted, Observed float64
	Since               time.Time
}

// models lists the versions of the hubs' risk model, enters one, and starts and stops roll-outs.
func models(ctx context.Context, args []string) error {
	f := pflag.NewFlagSet("hearthctl models [add FILE | start VERSION | stop VERSION]", pflag.ContinueOnError)
	connect := serviceFlags(f)
	because := f.String("because", "", "why, for start and stop; it goes on record with your name")
	if err := f.Parse(args); err != nil {
		return err
	}
	what := f.Arg(0)
	switch {
	case f.NArg() == 0:
	case f.NArg() == 2 && what == "add":
	case f.NArg() == 2 && (what == "start" || what == "stop"):
		if *because == "" {
			return errors.New("--because is missing: why")
		}
	default:
		return errors.New("give nothing, add FILE, start VERSION or stop VERSION")
	}
	s, err := connect(ctx)
	if err != nil {
		return err
	}
	var changed model
	switch what {
	case "":
		return s.listModels(ctx)
	case "add":
		b, err := os.ReadFile(f.Arg(1))
		if err != nil {
			return err
		}
		if err := s.post(ctx, "/v1/models", map[string]any{"model": b}, &changed); err != nil {
			return err
		}
	default:
		path := "/v1/models/" + url.PathEscape(f.Arg(1)) + "/" + what
		if err := s.post(ctx, path, map[string]any{"because": *because}, &changed); err != nil {
			return err
		}
	}
	fmt.Printf("version %d is %s, for %g %% of the hubs\n", changed.Version, changed.State, 100*changed.Share)
	return nil
}

func (s *service) listModels(ctx context.Context) error {
	var list struct {
		Items []model
		Log   []struct {
			At      time.Time
			By      struct{ Type, ID string }
			Version int64
			State   string
			Share   float64
			Because string
		}
	}
	if err := s.call(ctx, http.MethodGet, "/v1/models", nil, &list); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "version\tstate\tshare\thubs\tgain\tpredicted\tcame\tbecause")
	for _, m := range list.Items {
		gain := "-"
		if m.Gain != nil {
			gain = fmt.Sprintf("%.4f ± %.4f", *m.Gain, *m.Doubt)
		}
		fmt.Fprintf(w, "%d\t%s\t%g %%\t%d\t%s\t%.1f\t%.1f\t%s\n", m.Version, m.State, 100*m.Share, m.Hubs, gain, m.Predicted, m.Observed, m.Because)
	}
	fmt.Fprintln(w)
	for _, c := range list.Log {
		fmt.Fprintf(w, "%s\t%d\t%s\t%g %%\tby %s %s\t%s\n", c.At.Local().Format(time.DateTime), c.Version, c.State, 100*c.Share, c.By.Type, c.By.ID, c.Because)
	}
	return w.Flush()
}
