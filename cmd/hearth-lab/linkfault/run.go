// Package linkfault trains on one set of links and predicts the faults of another, as plain files anyone can
// score: will this device fail within 6 or 24 hours, will this radio link?
//
// A prediction for a row uses that row, earlier rows and the training set, never a later row: a file cut off at a
// date gets the same predictions up to that date. Labels in the test file are not read; what became of a device's
// earlier moments is derived from its fault column (or its delivery ratio) once their horizon has passed.
package linkfault

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hearthline/hearthline/cloud/predict/learn"
	"github.com/hearthline/hearthline/protocol/risk"
)

const seed = 1

// Run is the tool: linkfault --task T --train DIR --test FILE --out FILE.
func Run(_ context.Context, args []string) error {
	fs := flag.NewFlagSet("linkfault", flag.ContinueOnError)
	name := fs.String("task", "onset24", "onset24, fault24, fault6 or link24")
	train := fs.String("train", "", "folder with device_15min.csv.gz (links.csv.gz for link24)")
	test := fs.String("test", "", "file to predict, in the form of the training file; labels may be absent")
	out := fs.String("out", "preds.csv", "where to write the predictions")
	c := defaultCuts()
	fs.Var(c, "cut", "SITE=TIME: train only on rows before; may be repeated")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	if *train == "" || *test == "" {
		return fmt.Errorf("--train and --test are needed")
	}
	if *name == "link24" {
		return runLinks(*train, *test, *out)
	}
	t, ok := deviceTasks[*name]
	if !ok {
		return fmt.Errorf("no task %q: there are onset24, fault24, fault6 and link24", *name)
	}
	path := trainFile(*train, "device_15min.csv")
	known, err := readDevices(path)
	if err != nil {
		return err
	}
	fresh, err := readDevices(*test)
	if err != nil {
		return err
	}
	note(os.Stderr, path, known)
	note(os.Stderr, *test, fresh)
	for _, site := range c.complete(known.devices) {
		fmt.Fprintf(os.Stderr, "linkfault: site %s has no date of its own (--cut): training on the first 70 %% of its time in %s\n", site, path)
	}
	p, err := predict(t, known, fresh, c)
	if err != nil {
		return fmt.Errorf("train on %s: %w", path, err)
	}
	return write(*out, "site,device,ts,p", len(fresh.row), func(b []byte, i int) []byte {
		ref := fresh.row[i]
		d := fresh.devices[ref.device]
		b = append(append(append(b, d.site...), ','), d.name...)
		b = strconv.AppendInt(append(b, ','), d.reports[ref.report].ts, 10)
		return strconv.AppendFloat(append(b, ','), p[ref.device][ref.report], 'f', 6, 64)
	})
}

func trainFile(dir, name string) string {
	for _, n := range []string{name + ".gz", name} {
		if p := filepath.Join(dir, n); exists(p) {
			return p
		}
	}
	return filepath.Join(dir, name+".gz")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// note states what a file lacks and what is done instead.
func note(w io.Writer, path string, s *deviceSet) {
	var lost []string
	for _, c := range s.missing {
		if !contains(" "+c, " y", " c2", " c6") {
			lost = append(lost, c)
		}
	}
	if len(lost) > 0 {
		fmt.Fprintf(w, "linkfault: %s has no column %s: what depends on it is taken as missing, faults and health are derived from the delivery ratio and silence\n", path, strings.Join(lost, ", "))
	}
	if len(s.up) == 0 {
		fmt.Fprintf(w, "linkfault: no site_up_hourly.csv.gz beside %s: every long silence counts as the device's own\n", path)
	}
}

// predict fits a model to the devices of known before their site's cut and follows those of fresh.
func predict(t task, known, fresh *deviceSet, c cuts) ([][]float64, error) {
	in := radioInput()
	m, err := train(t, in, known, c)
	if err != nil {
		return nil, err
	}
	feats, err := freshFeatures(t, in, known, fresh)
	if err != nil {
		return nil, err
	}
	up := merged(known.up, fresh.up)
	out := make([][]float64, len(fresh.devices))
	for i, d := range fresh.devices {
		out[i] = follow(m, t, d, feats[d], up)
	}
	return out, nil
}

func train(t task, in *risk.Input, known *deviceSet, c cuts) (*risk.Model, error) {
	s, err := t.gather(in, known, c)
	if err != nil {
		return nil, err
	}
	return recipes[t.name].fit("linkfault-"+t.name, in, t.horizon, s, seed)
}

// freshFeatures computes the features of the devices to predict, among their neighbours of both files.
func freshFeatures(t task, in *risk.Input, known, fresh *deviceSet) (map[*device]*learn.Matrix, error) {
	r, err := newRadio(t, in, merged(known.up, fresh.up))
	if err != nil {
		return nil, err
	}
	all := append([]*device(nil), fresh.devices...)
	have := map[[2]string]bool{}
	for _, d := range fresh.devices {
		have[[2]string{d.site, d.name}] = true
	}
	for _, d := range known.devices {
		if !have[[2]string{d.site, d.name}] {
			all = append(all, d)
		}
	}
	mine := map[*device]bool{}
	for _, d := range fresh.devices {
		mine[d] = true
	}
	return r.extract(all, func(d *device) bool { return mine[d] }), nil
}

func merged(a, b siteUp) siteUp {
	out := siteUp{}
	for _, u := range []siteUp{a, b} {
		for site, hours := range u {
			if out[site] == nil {
				out[site] = map[int64]bool{}
			}
			for h, up := range hours {
				out[site][h] = up
			}
		}
	}
	return out
}

// write writes rows to a file that appears whole or not at all.
func write(path, header string, rows int, line func(b []byte, i int) []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".preds-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	w := bufio.NewWriterSize(f, 1<<16)
	if _, err := w.WriteString(header + "\n"); err != nil {
		return err
	}
	var b []byte
	for i := range rows {
		b = append(line(b[:0], i), '\n')
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
