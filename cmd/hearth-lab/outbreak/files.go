package outbreak

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/hearthline/hearthline/cloud/outbreak/scan"
)

// fleet is a fleet of devices with their faults, and, when it was simulated, what was done to it.
type fleet struct {
	devices []string
	labels  [][]string // in the order of dimensions
	first   int        // the day of counts[0]
	counts  [][]int16  // [day][device]
	truth   truth
}

// most days a file may span, so that a mistyped day is an error and not a full memory.
const mostDays = 3650

// table reads a CSV file by column names.
type table struct {
	path string
	f    *os.File
	r    *csv.Reader
	at   []int
	row  []string
}

// open checks that the columns are there. The path may end in .gz.
func open(path string, columns ...string) (*table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	t := &table{path: path, f: f}
	var in io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
	}
	t.r = csv.NewReader(in)
	t.r.ReuseRecord = true
	head, err := t.r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.Join(fmt.Errorf("%s: empty, it has no header line", path), f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: the header: %w", path, err), f.Close())
	}
	for _, name := range columns {
		at := -1
		for i, h := range head {
			if strings.TrimPrefix(strings.TrimSpace(h), "\ufeff") == name {
				at = i
			}
		}
		if at < 0 {
			return nil, errors.Join(fmt.Errorf("%s:1: no column %q; there are %s", path, name, strings.Join(head, ", ")), f.Close())
		}
		t.at = append(t.at, at)
	}
	return t, nil
}

// next reads a row, or returns false at the end.
func (t *table) next() (bool, error) {
	row, err := t.r.Read()
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", t.path, err)
	}
	t.row = row
	return true, nil
}

func (t *table) text(column int) string { return strings.TrimSpace(t.row[t.at[column]]) }

func (t *table) number(column int) (int, error) {
	n, err := strconv.Atoi(t.text(column))
	if err != nil {
		return 0, t.wrong(column, "is not a whole number")
	}
	return n, nil
}

// wrong is an error about a field of the present row.
func (t *table) wrong(column int, what string) error {
	line, at := t.r.FieldPos(t.at[column])
	return fmt.Errorf("%s:%d:%d: %q %s", t.path, line, at, t.text(column), what)
}

func readFleet(path string) (_ *fleet, err error) {
	t, err := open(path, append([]string{"device"}, dimensions...)...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.f.Close()) }()
	f := &fleet{}
	seen := map[string]bool{}
	for {
		ok, err := t.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		for i := range t.at {
			if s := t.text(i); s == "" || i > 0 && s == scan.Any {
				return nil, t.wrong(i, "is no label")
			}
		}
		name := t.text(0)
		if seen[name] {
			return nil, t.wrong(0, "is in the file twice")
		}
		seen[name] = true
		f.devices = append(f.devices, name)
		f.labels = append(f.labels, []string{t.text(1), t.text(2), t.text(3)})
	}
	if len(f.devices) == 0 {
		return nil, fmt.Errorf("%s: no device", path)
	}
	return f, nil
}

// readEvents reads the faults, in any order. A row that is there twice is two faults. The first day is the
// earliest in the file; a day between the first and the last without a row is a day without a fault.
func (f *fleet) readEvents(path string) (err error) {
	t, err := open(path, "day", "device")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.f.Close()) }()
	index := make(map[string]int, len(f.devices))
	for i, name := range f.devices {
		index[name] = i
	}
	type event struct{ day, device int }
	var events []event
	first, last := 0, -1
	for {
		ok, err := t.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		day, err := t.number(0)
		if err != nil {
			return err
		}
		device, ok := index[t.text(1)]
		if !ok {
			return t.wrong(1, "is not in the fleet")
		}
		if len(events) == 0 {
			first, last = day, day
		}
		first, last = min(first, day), max(last, day)
		if last-first >= mostDays {
			return t.wrong(0, fmt.Sprintf("is %d days or more from another row", mostDays))
		}
		events = append(events, event{day, device})
	}
	f.first = first
	f.counts = make([][]int16, last-first+1)
	for i := range f.counts {
		f.counts[i] = make([]int16, len(f.devices))
	}
	for _, e := range events {
		if n := &f.counts[e.day-first][e.device]; *n < 1<<14 {
			*n++
		}
	}
	return nil
}

// create writes a file row by row and reports what went wrong, the closing included.
func create(path string, write func(w *csv.Writer) error) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := csv.NewWriter(file)
	if err := write(w); err != nil {
		return err
	}
	w.Flush()
	return w.Error()
}

func writeAlarms(path string, first int, alarms []scan.Alarm) error {
	return create(path, func(w *csv.Writer) error {
		if err := w.Write([]string{"day", "model", "firmware", "region", "score"}); err != nil {
			return err
		}
		for _, a := range alarms {
			row := append([]string{strconv.Itoa(first + a.Step)}, a.Cohort...)
			if err := w.Write(append(row, strconv.FormatFloat(a.Score, 'f', 3, 64))); err != nil {
				return err
			}
		}
		return nil
	})
}
