package outbreak

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// realish writes traces of a few devices, quiet and bursty, in the form of the real ones.
func realish(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "device_day.csv")
	rng := rand.New(rand.NewPCG(1, 1))
	err := create(path, func(w *csv.Writer) error {
		rows := [][]string{{"site", "device", "board", "date", "reports", "fault_bins", "onsets"}}
		for d := range 12 {
			burst := false
			for day := range 100 {
				if rng.Float64() < 0.15 {
					burst = !burst
				}
				n := 0
				if d%2 == 0 {
					n = rng.IntN(3)
					if burst {
						n *= 4
					}
				}
				rows = append(rows, []string{"s", fmt.Sprint("d", d), "b", fmt.Sprint(day), "96", "0", fmt.Sprint(n)})
			}
		}
		return w.WriteAll(rows)
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if err := Run(context.Background(), args); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestASimulatedBatchIsFoundThroughFiles(t *testing.T) {
	dir := t.TempDir()
	run(t, "simulate", "--traces", realish(t), "--way", "added", "--k", "3", "--seed", "4", "--out", dir)
	run(t, "--fleet", dir+"/fleet.csv", "--events", dir+"/events.csv", "--one-false-alarm-per", "90d", "--out", dir+"/alarms.csv")
	var out bytes.Buffer
	if err := runJudge([]string{dir}, &out); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "found 1.000") || !strings.Contains(got, "named 1.000") {
		t.Errorf("%s\nalarms:\n%s\ntruth:\n%s", got, read(t, dir+"/alarms.csv"), read(t, dir+"/truth.csv"))
	}
}

func TestAFileCutOffAtADayGivesTheSameAlarmsUntilThen(t *testing.T) {
	dir := t.TempDir()
	run(t, "simulate", "--traces", realish(t), "--way", "times", "--seed", "6", "--out", dir)
	whole, cut := dir+"/whole.csv", dir+"/cut.csv"
	run(t, "--fleet", dir+"/fleet.csv", "--events", dir+"/events.csv", "--out", whole)
	lines := strings.SplitAfter(read(t, dir+"/events.csv"), "\n")
	kept := slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		var day int
		_, err := fmt.Sscanf(l, "%d,", &day)
		return err == nil && day > 84
	})
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(kept)-1, func(i, j int) { kept[i+1], kept[j+1] = kept[j+1], kept[i+1] })
	if err := os.WriteFile(dir+"/events.csv", []byte(strings.Join(kept, "")), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "--fleet", dir+"/fleet.csv", "--events", dir+"/events.csv", "--out", cut)
	alarms, err := readAlarms(whole)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, a := range alarms {
		if a.day <= 84 {
			n++
		}
	}
	if n == 0 {
		t.Fatal("no alarm to compare")
	}
	want := strings.Join(strings.SplitAfter(read(t, whole), "\n")[:n+1], "")
	if got := read(t, cut); got != want {
		t.Errorf("cut off and shuffled:\n%swhole:\n%s", got, want)
	}
}

func TestBadFilesAreNamedWithLineAndColumn(t *testing.T) {
	const fleetCSV = "device,model,firmware,region\na,m,f,r\nb,m,f,r\n"
	for name, c := range map[string]struct{ fleet, events, want string }{
		"a missing column of the fleet":  {"device,model,region\na,m,r\n", "day,device\n", `fleet.csv:1: no column "firmware"`},
		"an empty fleet file":            {"", "day,device\n", "fleet.csv: empty, it has no header line"},
		"no device":                      {"device,model,firmware,region\n", "day,device\n", "fleet.csv: no device"},
		"a device that is there twice":   {fleetCSV + "a,m,f,r\n", "day,device\n", `fleet.csv:4:1: "a" is in the file twice`},
		"an empty label":                 {"device,model,firmware,region\na,m,,r\n", "day,device\n", `fleet.csv:2:5: "" is no label`},
		"a label that means any":         {"device,model,firmware,region\na,*,f,r\n", "day,device\n", `fleet.csv:2:3: "*" is no label`},
		"a row that is too short":        {"device,model,firmware,region\na,m\n", "day,device\n", "fleet.csv: record on line 2"},
		"a missing column of the events": {fleetCSV, "date,device\n", `events.csv:1: no column "day"`},
		"a day that is no number":        {fleetCSV, "day,device\nmonday,a\n", `events.csv:2:1: "monday" is not a whole number`},
		"a day of NaN":                   {fleetCSV, "day,device\n1,a\nNaN,a\n", `events.csv:3:1: "NaN" is not a whole number`},
		"an unknown device":              {fleetCSV, "day,device\n1,c\n", `events.csv:2:3: "c" is not in the fleet`},
		"a day centuries away":           {fleetCSV, "day,device\n1,a\n99999,a\n", `events.csv:3:1: "99999" is 3650 days or more`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{"fleet.csv": c.fleet, "events.csv": c.events} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			err := runDetect([]string{"--fleet", dir + "/fleet.csv", "--events", dir + "/events.csv", "--out", dir + "/alarms.csv"}, io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
			if _, err := os.Stat(dir + "/alarms.csv"); err == nil {
				t.Error("alarms were written all the same")
			}
		})
	}
}

func TestAFleetThatCannotBeJudgedYetSaysSo(t *testing.T) {
	dir := t.TempDir()
	for file, text := range map[string]string{
		"fleet.csv":  "device,model,firmware,region\na,m,f,r\n",
		"events.csv": "day,device\n3,a\n3,a\n10,a\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var notes bytes.Buffer
	err := runDetect([]string{"--fleet", dir + "/fleet.csv", "--events", dir + "/events.csv", "--out", dir + "/alarms.csv"}, &notes)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(notes.String(), "covers 8 days") {
		t.Errorf("notes: %s", notes.String())
	}
	if got := read(t, dir+"/alarms.csv"); got != "day,model,firmware,region,score\n" {
		t.Errorf("alarms: %q", got)
	}
}

func TestPeriodsAreNumbersOfDays(t *testing.T) {
	if n, err := parseDays("90d"); n != 90 || err != nil {
		t.Errorf("90d is %v, %v", n, err)
	}
	for _, s := range []string{"", "d", "90", "0d", "-1d", "NaNd", "infd", "3h"} {
		if _, err := parseDays(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestTheJudgeCountsWhatTheReadmeAsksFor(t *testing.T) {
	bad := truth{way: wayAdded, cohort: []string{"m1", "f1", "*"}, onset: 80}
	var sum tally
	sum.count(bad, 120, []alarm{{70, []string{"m2", "*", "*"}}, {83, bad.cohort}, {84, []string{"m2", "*", "*"}}})
	sum.count(bad, 120, []alarm{{87, []string{"m1", "*", "*"}}, {87, bad.cohort}}) // in time, but the wrong one comes first
	sum.count(bad, 120, []alarm{{88, bad.cohort}})                                 // too late
	sum.count(bad, 120, nil)
	sum.count(truth{way: wayNone}, 120, []alarm{{119, bad.cohort}})
	if sum.fleets != 4 || sum.found != 2 || sum.named != 1 || sum.quiet != 2 || sum.days != 4*20+60 {
		t.Errorf("%+v", sum)
	}
	if !slices.Equal(sum.delays, []int{3, 7, 8, never}) {
		t.Errorf("delays %v", sum.delays)
	}
}

func TestIntervalsAreThoseOfTheBooks(t *testing.T) {
	if got := share(38, 40); got != "0.950 (0.835 to 0.986)" { // Wilson
		t.Errorf("38 of 40: %s", got)
	}
	low, high := poissonInterval(10) // exact: 4.795 to 18.39
	if math.Abs(low-4.795) > 0.03 || math.Abs(high-18.39) > 0.03 {
		t.Errorf("10 counted: %v to %v", low, high)
	}
}

func TestASimulatedFleetIsWhatTheReadmeDescribes(t *testing.T) {
	traces, err := readTraces(realish(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range headline {
		if sc.way == wayNone {
			continue
		}
		f, err := simulate(traces, sc, 9)
		if err != nil {
			t.Fatal(err)
		}
		if len(f.devices) != 3000 || len(f.counts) != 120 {
			t.Fatalf("%v: %d devices, %d days", sc, len(f.devices), len(f.counts))
		}
		if f.truth.size < sc.low || f.truth.size > sc.high {
			t.Errorf("%v: %d devices went bad", sc, f.truth.size)
		}
		sum := func(bad bool, from, to int) (n float64) {
			for d, l := range f.labels {
				if (l[0] == f.truth.cohort[0] && l[1] == f.truth.cohort[1]) == bad {
					for t := from; t < to; t++ {
						n += float64(f.counts[t][d])
					}
				}
			}
			return n / float64(to-from)
		}
		if sc.daily {
			continue // cut at one a day, the ratio is smaller than k
		}
		ratio := sum(true, 80, 120) / sum(true, 0, 80) / (sum(false, 80, 120) / sum(false, 0, 80))
		if ratio < 0.7*sc.k || ratio > 1.4*sc.k {
			t.Errorf("%v: the cohort became %v times worse", sc, ratio)
		}
	}
}
