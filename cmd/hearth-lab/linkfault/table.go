package linkfault

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
)

// table is a CSV file read column by column. Cells without a value are NaN.
type table struct {
	path  string
	names []string
	text  map[string][]string
	num   map[string][]float64
	rows  int
}

// bounds are what a column can hold; a value outside is a wrong unit, not a measurement.
var bounds = map[string]struct {
	lo, hi float64
	hint   string
}{
	"ts":             {0, 4102444800, "seconds since 1970"},
	"hour_ts":        {0, 4102444800, "seconds since 1970"},
	"pdr":            {0, 1, "a ratio"},
	"pdr_worst":      {0, 1, "a ratio"},
	"rssi":           {-200, 50, "dBm"},
	"rssi_best":      {-200, 50, "dBm"},
	"rssi_worst":     {-200, 50, "dBm"},
	"rssi_txw":       {-200, 50, "dBm"},
	"temperature":    {-100, 150, "degrees Celsius"},
	"batteryVoltage": {0, 20000, "millivolts"},
	"tx":             {0, math.MaxInt32, "a count"},
	"fail":           {0, math.MaxInt32, "a count"},
	"fault":          {0, 1, "0 or 1"},
	"healthy":        {0, 1, "0 or 1"},
	"y6":             {0, 1, "0 or 1"},
	"c6":             {0, 1, "0 or 1"},
	"y24":            {0, 1, "0 or 1"},
	"c24":            {0, 1, "0 or 1"},
	"site_up":        {0, 1, "0 or 1"},
}

// readTable reads a CSV file, gzipped or not. keys are text columns that must be there, numeric ones are read
// where they are; other columns are ignored.
func readTable(path string, keys, must, numeric []string) (*table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<16)
	var r io.Reader = in
	if magic, err := in.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		defer z.Close()
		r = z
	}
	t := &table{path: path, text: map[string][]string{}, num: map[string][]float64{}}
	if err := t.read(r, keys, must, numeric); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *table) read(r io.Reader, keys, must, numeric []string) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 1<<16), 1<<20)
	if !s.Scan() {
		if err := s.Err(); err != nil {
			return fmt.Errorf("%s: %w", t.path, err)
		}
		return fmt.Errorf("%s: empty, it has no header line", t.path)
	}
	t.names = strings.Split(strings.TrimRight(strings.TrimPrefix(s.Text(), "\ufeff"), "\r"), ",")
	at := map[string]int{}
	for i, n := range t.names {
		if _, twice := at[n]; twice {
			return fmt.Errorf("%s:1: column %q appears twice", t.path, n)
		}
		at[n] = i
	}
	for _, n := range append(append([]string(nil), keys...), must...) {
		if _, ok := at[n]; !ok {
			return fmt.Errorf("%s:1: column %q is missing", t.path, n)
		}
	}
	type column struct {
		name string
		at   int
		must bool
	}
	var texts, nums []column
	for _, n := range keys {
		texts = append(texts, column{n, at[n], true})
	}
	for i, n := range append(append([]string(nil), must...), numeric...) {
		if k, ok := at[n]; ok {
			nums = append(nums, column{n, k, i < len(must)})
			t.num[n] = nil
		}
	}
	intern := map[string]string{}
	cells := make([][]byte, 0, len(t.names))
	for line := 2; s.Scan(); line++ {
		b := bytes.TrimRight(s.Bytes(), "\r")
		if len(b) == 0 {
			continue
		}
		cells = cells[:0]
		for rest, more := b, true; more; {
			var c []byte
			c, rest, more = bytes.Cut(rest, []byte(","))
			cells = append(cells, c)
		}
		if len(cells) != len(t.names) {
			return fmt.Errorf("%s:%d: %d cells, the header has %d", t.path, line, len(cells), len(t.names))
		}
		for _, c := range texts {
			v, ok := intern[string(cells[c.at])]
			if !ok {
				v = string(cells[c.at])
				intern[v] = v
			}
			if v == "" {
				return fmt.Errorf("%s:%d: column %q is empty", t.path, line, c.name)
			}
			t.text[c.name] = append(t.text[c.name], v)
		}
		for _, c := range nums {
			v, err := number(c.name, cells[c.at])
			if err == nil && c.must && v != v {
				err = errors.New("is empty")
			}
			if err != nil {
				return fmt.Errorf("%s:%d: column %q %w", t.path, line, c.name, err)
			}
			t.num[c.name] = append(t.num[c.name], v)
		}
		t.rows++
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s: after line %d: %w", t.path, t.rows+1, err)
	}
	if t.rows == 0 {
		return fmt.Errorf("%s: a header but no rows", t.path)
	}
	return nil
}

// number reads a cell; an empty one and NaN are missing.
func number(column string, cell []byte) (float64, error) {
	if len(cell) == 0 {
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(string(cell), 64)
	if err != nil {
		return 0, fmt.Errorf("holds %q, which is not a number", cell)
	}
	if v != v {
		return v, nil
	}
	if b, ok := bounds[column]; ok && (v < b.lo || v > b.hi) {
		return 0, fmt.Errorf("holds %s, outside %.0f to %.0f: it must be %s", cell, b.lo, b.hi, b.hint)
	}
	if math.IsInf(v, 0) {
		return math.NaN(), nil
	}
	return v, nil
}

// at returns cell i of a numeric column, NaN where the column is not in the file.
func (t *table) at(column string, i int) float64 {
	if c := t.num[column]; c != nil {
		return c[i]
	}
	return math.NaN()
}
