// Package outbreak is the lab's judge of the outbreak detector: it runs the detector over plain files,
// makes fleets that go bad out of real traces of devices, and scores alarms against what was done.
package outbreak

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/hearthline/hearthline/cloud/outbreak/scan"
)

const usage = `usage:
  hearth-lab outbreak --fleet fleet.csv --events events.csv [--one-false-alarm-per 90d] --out alarms.csv
  hearth-lab outbreak simulate --traces device_day.csv.gz --way added|times|times-mean|none --seed N --out DIR
  hearth-lab outbreak judge DIR...        (each with truth.csv and alarms.csv)
  hearth-lab outbreak trials --traces device_day.csv.gz [--fleets 40] [--seed 1] [--quiet 40]
`

// learnDays is how many days the detector learns from before the first alarm.
const learnDays = 60

// Run is the tool.
func Run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "simulate":
			return runSimulate(args[1:])
		case "judge":
			return runJudge(args[1:], os.Stdout)
		case "trials":
			return runTrials(ctx, args[1:], os.Stdout)
		}
	}
	return runDetect(args, os.Stderr)
}

func flags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), usage)
		fs.PrintDefaults()
	}
	return fs
}

func runDetect(args []string, notes io.Writer) error {
	fs := flags("outbreak")
	fleetPath := fs.String("fleet", "", "devices: device,model,firmware,region")
	eventsPath := fs.String("events", "", "faults: day,device; a row is one fault")
	out := fs.String("out", "", "alarms: day,model,firmware,region,score")
	per := fs.String("one-false-alarm-per", "90d", "days of a quiet fleet between two false alarms")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *fleetPath == "" || *eventsPath == "" || *out == "" || fs.NArg() > 0 {
		return fmt.Errorf("--fleet, --events and --out are needed, and nothing else\n%s", usage)
	}
	days, err := parseDays(*per)
	if err != nil {
		return fmt.Errorf("--one-false-alarm-per: %w", err)
	}
	f, err := readFleet(*fleetPath)
	if err != nil {
		return err
	}
	if err := f.readEvents(*eventsPath); err != nil {
		return err
	}
	if n := len(f.counts); n <= learnDays {
		fmt.Fprintf(notes, "hearth-lab outbreak: %s covers %d days, and the first %d are learned from: there can be no alarm\n", *eventsPath, n, learnDays)
	}
	alarms, err := f.detect(days)
	if err != nil {
		return err
	}
	return writeAlarms(*out, f.first, alarms)
}

// parseDays reads "90d".
func parseDays(s string) (float64, error) {
	number, ok := strings.CutSuffix(s, "d")
	n, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(n > 0) || math.IsInf(n, 0) {
		return 0, fmt.Errorf("%q is not a number of days such as 90d", s)
	}
	return n, nil
}

// dimensions are the labels of a fleet file, in order.
var dimensions = []string{"model", "firmware", "region"}

// detect runs the detector over the fleet, day by day.
func (f *fleet) detect(falseAlarmEvery float64) ([]scan.Alarm, error) {
	d, err := scan.New(scan.Options{
		Dimensions:      dimensions,
		Batch:           []int{0, 1},
		Deeper:          [][]int{{0, 1, 2}},
		Learn:           learnDays,
		FalseAlarmEvery: falseAlarmEvery,
	})
	if err != nil {
		return nil, err
	}
	for _, labels := range f.labels {
		d.Add(labels...)
	}
	var all []scan.Alarm
	for _, row := range f.counts {
		alarms, err := d.Observe(row, 1)
		if err != nil {
			return nil, err
		}
		all = append(all, alarms...)
	}
	return all, nil
}
