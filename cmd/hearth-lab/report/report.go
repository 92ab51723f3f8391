// Package report trains the link fault models, judges them by cross-validation against simple floors in the same run,
// and writes one page: tables with device-bootstrap intervals, and plots.
package report

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cmd/hearth-lab/eval"
	"github.com/hearthline/hearthline/cmd/hearth-lab/linkfault"
)

const alarmShare = 0.05 // of the moments that would have been warned about, in the tables by lead, site and cause

// Run is the tool: report --data DIR --out DIR.
func Run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("report", flag.ContinueOnError)
	data := fs.String("data", "", "folder with smartmesh_device and smartmesh_links")
	out := fs.String("out", "report", "folder to write report.md and the plots to")
	tasks := fs.String("tasks", strings.Join(linkfault.Tasks(), ","), "what to judge")
	folds := fs.Int("folds", 4, "folds over devices")
	draws := fs.Int("draws", 200, "draws of the bootstrap over devices")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	if *data == "" {
		return fmt.Errorf("--data is needed")
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	var page strings.Builder
	fmt.Fprintf(&page, "# Will this connection fail?\n\nCross-validation on the development part of the link fault data, %s. Devices are judged by models that saw neither the device nor the time (%d folds over devices, split in time as SOURCE.txt says); links by models that never saw the site. Intervals are 90 %% of %d bootstrap draws of whole devices.\n", time.Now().UTC().Format("2006-01-02"), *folds, *draws)
	for _, name := range strings.Split(*tasks, ",") {
		if err := ctx.Err(); err != nil {
			return err
		}
		dir := filepath.Join(*data, "smartmesh_device")
		if name == "link24" {
			dir = filepath.Join(*data, "smartmesh_links")
		}
		began := time.Now()
		s, err := linkfault.CrossValidate(name, dir, *folds, func(step string) { fmt.Fprintln(os.Stderr, "report:", step) })
		if err != nil {
			return err
		}
		took := time.Since(began).Round(time.Second)
		if err := section(&page, s, *out, *draws, took); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(*out, "report.md"), []byte(page.String()), 0o644)
}

// predictions are those of one model, for the judge.
func predictions(s *linkfault.Study, model int, keep func(*linkfault.Moment) bool) []eval.Prediction {
	var out []eval.Prediction
	for i := range s.Moments {
		m := &s.Moments[i]
		if keep == nil || keep(m) {
			out = append(out, eval.Prediction{Group: m.Device, P: m.P[model], Y: m.Y})
		}
	}
	return out
}

func section(page *strings.Builder, s *linkfault.Study, dir string, draws int, took time.Duration) error {
	devices := map[string]bool{}
	positive := 0
	for _, m := range s.Moments {
		devices[m.Device] = true
		if m.Y {
			positive++
		}
	}
	fmt.Fprintf(page, "\n## %s\n\n%d moments of %d devices or links, %.2f %% before a fault; all folds took %s.\n\n", s.Task, len(s.Moments), len(devices), 100*float64(positive)/float64(len(s.Moments)), took)
	base := float64(positive) / float64(len(s.Moments))
	page.WriteString("| model | AP | AUC | precision at 1 % | Brier | Brier skill | calibration error |\n|---|---|---|---|---|---|---|\n")
	drawn := make([]eval.Intervals, len(s.Models))
	for i, name := range s.Models {
		ps := predictions(s, i, nil)
		q, b := eval.Judge(ps), eval.Bootstrap(ps, draws, 1)
		drawn[i] = b
		skill := 1 - q.Brier/(base*(1-base))
		fmt.Fprintf(page, "| %s | %.3f (%.3f-%.3f) | %.3f (%.3f-%.3f) | %.3f (%.3f-%.3f) | %.4f (%.4f-%.4f) | %.3f | %.4f (%.4f-%.4f) |\n", name,
			q.AP, b.AP.Lo, b.AP.Hi, q.AUC, b.AUC.Lo, b.AUC.Hi, q.P1, b.P1.Lo, b.P1.Hi, q.Brier, b.Brier.Lo, b.Brier.Hi, skill, q.ECE, b.ECE.Lo, b.ECE.Hi)
		fmt.Fprintf(os.Stderr, "report: %-8s %-38s AP %.3f AUC %.3f P@1%% %.3f Brier %.4f skill %.3f ECE %.4f\n", s.Task, name, q.AP, q.AUC, q.P1, q.Brier, skill, q.ECE)
	}
	gains(page, s, drawn)
	limit := threshold(s)
	bySite(page, s, limit)
	byCause(page, s, limit)
	if err := plots(s, dir, limit); err != nil {
		return err
	}
	for _, p := range plotNames {
		fmt.Fprintf(page, "\n![%s](%s-%s.png)\n", p, s.Task, p)
	}
	return nil
}

// gains compares the tool's model with each of the others, draw by draw of the same devices.
func gains(page *strings.Builder, s *linkfault.Study, drawn []eval.Intervals) {
	page.WriteString("\n| gain of the first row over | AP | AUC | precision at 1 % | Brier, lower by |\n|---|---|---|---|---|\n")
	for i := 1; i < len(s.Models); i++ {
		fmt.Fprintf(page, "| %s |", s.Models[i])
		fmt.Fprintf(os.Stderr, "report: %-8s over %-33s", s.Task, s.Models[i])
		for _, of := range []func(eval.Scores) float64{
			func(s eval.Scores) float64 { return s.AP },
			func(s eval.Scores) float64 { return s.AUC },
			func(s eval.Scores) float64 { return s.P1 },
			func(s eval.Scores) float64 { return -s.Brier },
		} {
			g, up := eval.Gain(drawn[i], drawn[0], of)
			fmt.Fprintf(page, " %+.3f to %+.3f, above in %.0f %% |", g.Lo, g.Hi, 100*up)
			fmt.Fprintf(os.Stderr, "  %+.3f to %+.3f %3.0f %%", g.Lo, g.Hi, 100*up)
		}
		page.WriteByte('\n')
		fmt.Fprintln(os.Stderr)
	}
}

// threshold is the probability above which alarmShare of the moments lie.
func threshold(s *linkfault.Study) float64 {
	p := make([]float64, 0, len(s.Moments))
	for _, m := range s.Moments {
		p = append(p, m.P[0])
	}
	slices.Sort(p)
	return p[int(float64(len(p)-1)*(1-alarmShare))]
}

// warned is the share of the moments before a fault that lie above the threshold.
func warned(s *linkfault.Study, limit float64, keep func(*linkfault.Moment) bool) (share float64, n int) {
	hit := 0
	for i := range s.Moments {
		m := &s.Moments[i]
		if !m.Y || !keep(m) {
			continue
		}
		n++
		if m.P[0] >= limit {
			hit++
		}
	}
	return float64(hit) / math.Max(1, float64(n)), n
}

func values(s *linkfault.Study, of func(*linkfault.Moment) string) []string {
	var out []string
	for i := range s.Moments {
		if v := of(&s.Moments[i]); v != "" && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return out
}

func bySite(page *strings.Builder, s *linkfault.Study, limit float64) {
	fmt.Fprintf(page, "\n| site | moments | before a fault | AP | AUC | calibration error | of them warned, at %.0f %% of all moments |\n|---|---|---|---|---|---|---|\n", 100*alarmShare)
	for _, site := range values(s, func(m *linkfault.Moment) string { return m.Site }) {
		at := func(m *linkfault.Moment) bool { return m.Site == site }
		q := eval.Judge(predictions(s, 0, at))
		w, n := warned(s, limit, at)
		fmt.Fprintf(page, "| %s | %d | %d | %.3f | %.3f | %.4f | %.2f |\n", site, q.N, n, q.AP, q.AUC, q.ECE, w)
	}
}

func byCause(page *strings.Builder, s *linkfault.Study, limit float64) {
	page.WriteString("\n| cause | moments before it | of them warned |\n|---|---|---|\n")
	for _, cause := range values(s, func(m *linkfault.Moment) string { return m.Cause }) {
		w, n := warned(s, limit, func(m *linkfault.Moment) bool { return m.Cause == cause })
		fmt.Fprintf(page, "| %s | %d | %.2f |\n", cause, n, w)
	}
}
