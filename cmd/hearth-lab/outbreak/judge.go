package outbreak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// soon is how many days after the onset an alarm still counts as in time.
const soon = 7

// alarm is a row of alarms.csv.
type alarm struct {
	day    int
	cohort []string
}

// tally sums up fleets that went bad in the same way, and quiet days of all.
type tally struct {
	fleets  int
	found   int   // an alarm within soon days of the onset
	named   int   // and the first one names the cohort
	delays  []int // days to the first alarm after the onset; never is late
	quiet   int   // alarms before any onset
	days    int   // on which these could have come
	elapsed time.Duration
}

const never = math.MaxInt

// count judges the alarms of one fleet of so many days, in order of day.
func (t *tally) count(tr truth, days int, alarms []alarm) {
	end := days
	if tr.cohort != nil {
		end = tr.onset
		t.fleets++
	}
	t.days += end - learnDays
	delay := never
	var first []string
	for _, a := range alarms {
		if a.day < end {
			t.quiet++
		} else if delay == never {
			delay, first = a.day-tr.onset, a.cohort
		}
	}
	if tr.cohort == nil {
		return
	}
	t.delays = append(t.delays, delay)
	if delay <= soon {
		t.found++
		if slices.Equal(first, tr.cohort) {
			t.named++
		}
	}
}

// line prints the tally with 95 % intervals.
func (t *tally) line(name string) string {
	if t.fleets == 0 {
		return fmt.Sprintf("%-42s %s", name, t.falseAlarms())
	}
	slices.Sort(t.delays)
	median := "never"
	if d := t.delays[len(t.delays)/2]; d != never {
		median = fmt.Sprint(d)
	}
	return fmt.Sprintf("%-42s found %s  median day %s  named %s  %s", name, share(t.found, t.fleets), median, share(t.named, t.found), t.falseAlarms())
}

func (t *tally) falseAlarms() string {
	if t.quiet == 0 {
		return fmt.Sprintf("no false alarm in %d days", t.days)
	}
	low, high := poissonInterval(t.quiet)
	return fmt.Sprintf("one false alarm per %.0f days (%.0f to %.0f; %d in %d)",
		float64(t.days)/float64(t.quiet), float64(t.days)/high, float64(t.days)/low, t.quiet, t.days)
}

// share is a proportion with Wilson's interval.
func share(k, n int) string {
	if n == 0 {
		return "-"
	}
	const z = 1.96
	p, m := float64(k)/float64(n), float64(n)
	mid := (p + z*z/2/m) / (1 + z*z/m)
	half := z / (1 + z*z/m) * math.Sqrt(p*(1-p)/m+z*z/4/m/m)
	return fmt.Sprintf("%.3f (%.3f to %.3f)", p, max(mid-half, 0), min(mid+half, 1))
}

// poissonInterval is the 95 % interval of a mean of which n were counted (Wilson and Hilferty's cube).
func poissonInterval(n int) (low, high float64) {
	const z = 1.96
	k := float64(n)
	if n > 0 {
		low = k * math.Pow(1-1/(9*k)-z/(3*math.Sqrt(k)), 3)
	}
	k++
	return low, k * math.Pow(1-1/(9*k)+z/(3*math.Sqrt(k)), 3)
}

func runJudge(args []string, out io.Writer) error {
	fs := flags("outbreak judge")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() == 0 {
		return fmt.Errorf("no folder to judge\n%s", usage)
	}
	tallies := map[string]*tally{}
	for _, dir := range fs.Args() {
		tr, days, err := readTruth(filepath.Join(dir, "truth.csv"))
		if err != nil {
			return err
		}
		alarms, err := readAlarms(filepath.Join(dir, "alarms.csv"))
		if err != nil {
			return err
		}
		if tallies[tr.way] == nil {
			tallies[tr.way] = &tally{}
		}
		tallies[tr.way].count(tr, days, alarms)
	}
	for _, way := range []string{wayAdded, wayTimes, wayTimesMean, wayNone} {
		if t := tallies[way]; t != nil {
			fmt.Fprintln(out, t.line(way))
		}
	}
	return nil
}

func readTruth(path string) (tr truth, days int, err error) {
	t, err := open(path, "way", "model", "firmware", "region", "onset", "days")
	if err != nil {
		return tr, 0, err
	}
	defer func() { err = errors.Join(err, t.f.Close()) }()
	if ok, err := t.next(); err != nil || !ok {
		return tr, 0, errors.Join(fmt.Errorf("%s: no row", path), err)
	}
	tr.way = t.text(0)
	if tr.way != wayNone {
		tr.cohort = []string{t.text(1), t.text(2), t.text(3)}
	}
	if tr.onset, err = t.number(4); err != nil {
		return tr, 0, err
	}
	days, err = t.number(5)
	return tr, days, err
}

func readAlarms(path string) (alarms []alarm, err error) {
	t, err := open(path, "day", "model", "firmware", "region")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.f.Close()) }()
	for {
		ok, err := t.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return alarms, nil
		}
		day, err := t.number(0)
		if err != nil {
			return nil, err
		}
		if n := len(alarms); n > 0 && day < alarms[n-1].day {
			return nil, t.wrong(0, "comes after a later day")
		}
		alarms = append(alarms, alarm{day, []string{t.text(1), t.text(2), t.text(3)}})
	}
}

// headline are the scenarios of the goals. The data's README leaves open whether each onset of a day is an
// event or the day is one, and whether a hazard is multiplied day by day or on the average: all are tried.
var headline = []scenario{
	{wayAdded, 3, 40, 120, true},
	{wayAdded, 2, 150, 400, true},
	{wayTimes, 3, 40, 120, true},
	{wayTimes, 2, 150, 400, true},
	{wayTimesMean, 3, 40, 120, true},
	{wayTimesMean, 2, 150, 400, true},
	{wayNone, 0, 0, 0, true},
	{wayAdded, 3, 40, 120, false},
	{wayAdded, 2, 150, 400, false},
	{wayTimes, 3, 40, 120, false},
	{wayTimes, 2, 150, 400, false},
	{wayTimesMean, 3, 40, 120, false},
	{wayTimesMean, 2, 150, 400, false},
	{wayNone, 0, 0, 0, false},
}

func runTrials(ctx context.Context, args []string, out io.Writer) error {
	fs := flags("outbreak trials")
	traces := fs.String("traces", "", "real faults per device and day: site,device,...,onsets")
	fleets := fs.Int("fleets", 40, "fleets per scenario")
	quiet := fs.Int("quiet", 40, "fleets to which nothing happens")
	seed := fs.Uint64("seed", 1, "the first fleet; the others follow")
	each := fs.Bool("each", false, "print every fleet's alarms")
	only := fs.String("only", "", "scenarios whose name contains this")
	per := fs.String("one-false-alarm-per", "90d", "as of the detector")
	if err := fs.Parse(args); err != nil {
		return err
	}
	days, err := parseDays(*per)
	if err != nil {
		return fmt.Errorf("--one-false-alarm-per: %w", err)
	}
	if *traces == "" || fs.NArg() > 0 {
		return fmt.Errorf("--traces is needed\n%s", usage)
	}
	real, err := readTraces(*traces)
	if err != nil {
		return err
	}
	for i, sc := range headline {
		if *only != "" && !strings.Contains(sc.String(), *only) {
			continue
		}
		n := *fleets
		if sc.way == wayNone {
			n = *quiet
		}
		var sum tally
		for k := range n {
			if err := ctx.Err(); err != nil {
				return err
			}
			f, err := simulate(real, sc, *seed+uint64(i*100000+k))
			if err != nil {
				return err
			}
			begin := time.Now()
			found, err := f.detect(days)
			if err != nil {
				return err
			}
			sum.elapsed += time.Since(begin)
			var alarms []alarm
			for _, a := range found {
				alarms = append(alarms, alarm{a.Step, a.Cohort})
			}
			sum.count(f.truth, len(f.counts), alarms)
			if *each {
				fmt.Fprintf(out, "  %v: truth %v %d devices, alarms %v\n", sc, f.truth.cohort, f.truth.size, alarms)
			}
		}
		if n > 0 {
			fmt.Fprintf(out, "%s  %.1f s a fleet\n", sum.line(sc.String()), sum.elapsed.Seconds()/float64(n))
		}
	}
	return nil
}
