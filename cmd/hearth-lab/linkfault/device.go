package linkfault

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
)

const (
	minute = 60
	hour   = 3600
	day    = 24 * hour

	silence = 75 * minute // a device that says nothing for so long has failed
	bin     = 15 * minute // spacing of reports
)

// The measured columns of a device file.
const (
	cCharge = iota
	cQueue
	cTemp
	cBattery
	cTxOk
	cTxFail
	cRxOk
	cMacDrop
	cTxBad
	cNbr
	cPar
	cTx
	cFail
	cRx
	cRssiBest
	cRssiWorst
	cRssiTxw
	cPdr
	cPdrWorst
	cLost
	cFault
	cHealthy
	cFault24
	cY6
	cC6
	cY24
	cC24
	columns
)

var columnNames = [columns]string{
	"charge", "queueOcc", "temperature", "batteryVoltage", "numTxOk", "numTxFail", "numRxOk", "numMacDropped", "numTxBad",
	"n_nbr", "n_par", "tx", "fail", "rx", "rssi_best", "rssi_worst", "rssi_txw", "pdr", "pdr_worst",
	"lost", "fault", "healthy", "fault_24h", "y6", "c6", "y24", "c24",
}

// report is one row of a device: what it measured in 15 minutes.
type report struct {
	ts     int64
	v      [columns]float32
	fault  bool  // a fault in this report
	silent int64 // start of a fault by silence that ended with this report, 0 if none
	since  int64 // time of the last fault known at this report, 0 if none
	calm   bool  // healthy
	recent bool  // a fault within the last 24 h
}

// device is one device with its reports in order of time.
type device struct {
	site, name string
	reports    []report
	faults     []event // what went wrong, in order of knowing
}

type event struct{ at, known int64 }

// deviceSet is a file of devices.
type deviceSet struct {
	devices []*device
	row     []rowRef // where each row of the file went
	missing []string // columns the file does not have
	up      siteUp
}

type rowRef struct{ device, report int32 }

// siteUp says whether a site's collector was alive in an hour.
type siteUp map[string]map[int64]bool

// down says whether the collector is known to have been dead in the hour of ts.
func (u siteUp) down(site string, ts int64) bool {
	up, ok := u[site][ts-ts%hour]
	return ok && !up
}

// readDevices reads a device file; site_up_hourly.csv.gz may lie beside it.
func readDevices(path string) (*deviceSet, error) {
	t, err := readTable(path, []string{"site", "device"}, []string{"ts"}, columnNames[:])
	if err != nil {
		return nil, err
	}
	s := &deviceSet{row: make([]rowRef, t.rows), up: siteUp{}}
	for _, c := range columnNames {
		if t.num[c] == nil {
			s.missing = append(s.missing, c)
		}
	}
	if t.num["pdr"] == nil && t.num["fault"] == nil {
		return nil, fmt.Errorf("%s:1: neither column \"pdr\" nor \"fault\" is there, nothing tells a fault", path)
	}
	if s.up, err = readSiteUp(filepath.Join(filepath.Dir(path), "site_up_hourly.csv.gz")); err != nil {
		return nil, err
	}
	index := map[[2]string]int32{}
	type key struct {
		ts  int64
		row int
	}
	var rows [][]key
	for i := range t.rows {
		id := [2]string{t.text["site"][i], t.text["device"][i]}
		d, ok := index[id]
		if !ok {
			d = int32(len(s.devices))
			index[id] = d
			s.devices = append(s.devices, &device{site: id[0], name: id[1]})
			rows = append(rows, nil)
		}
		s.row[i].device = d
		rows[d] = append(rows[d], key{int64(t.num["ts"][i]), i})
	}
	for d, keys := range rows {
		slices.SortStableFunc(keys, func(a, b key) int { return cmp.Compare(a.ts, b.ts) })
		dev := s.devices[d]
		for _, k := range keys {
			n := len(dev.reports)
			if n == 0 || dev.reports[n-1].ts != k.ts {
				r := report{ts: k.ts}
				for c := range r.v {
					r.v[c] = float32(math.NaN())
				}
				dev.reports = append(dev.reports, r)
				n++
			}
			s.row[k.row].report = int32(n - 1)
			r := &dev.reports[n-1]
			for c, name := range columnNames {
				if r.v[c] != r.v[c] { // of repeated rows the first value counts
					r.v[c] = float32(t.at(name, k.row))
				}
			}
		}
		dev.derive(s.up)
	}
	return s, nil
}

func readSiteUp(path string) (siteUp, error) {
	up := siteUp{}
	if _, err := os.Stat(path); os.IsNotExist(err) {
		return up, nil
	}
	t, err := readTable(path, []string{"site"}, []string{"hour_ts", "site_up"}, nil)
	if err != nil {
		return nil, err
	}
	for i := range t.rows {
		site := t.text["site"][i]
		if up[site] == nil {
			up[site] = map[int64]bool{}
		}
		up[site][int64(t.num["hour_ts"][i])] = t.num["site_up"][i] != 0
	}
	return up, nil
}

// derive finds the faults of a device by the rule of the data set, from each report and what came before it only.
func (d *device) derive(up siteUp) {
	last, lowAt := int64(0), int64(0)
	var past []int64
	for i := range d.reports {
		r := &d.reports[i]
		if f := r.v[cFault]; f == f {
			r.fault = f != 0
		} else {
			r.fault = r.v[cPdr] < 0.5 && !(r.v[cTx] < 10) || r.v[cLost] > 0 && r.v[cPdr] == r.v[cPdr]
		}
		if i > 0 {
			from := d.reports[i-1].ts + bin
			if r.ts-d.reports[i-1].ts >= silence && !d.outage(up, from, r.ts) {
				r.silent = from
				d.faults = append(d.faults, event{from, r.ts})
				last = from
				past = append(past, from)
			}
		}
		if r.fault {
			d.faults = append(d.faults, event{r.ts, r.ts})
			last = r.ts
			past = append(past, r.ts)
		}
		for len(past) > 0 && past[0] <= r.ts-day {
			past = past[1:]
		}
		r.since = last
		if r.v[cPdr] < 0.6 {
			lowAt = r.ts
		}
		r.calm, r.recent = !r.fault && (last == 0 || r.ts-last > hour) && (lowAt == 0 || r.ts-lowAt > hour), len(past) > 0
		if h := r.v[cHealthy]; h == h {
			r.calm = h != 0
		}
		if f := r.v[cFault24]; f == f {
			r.recent = f != 0
		}
	}
}

// outage says whether the silence from..to could be the site's: its collector was dead within the first 75 minutes.
func (d *device) outage(up siteUp, from, to int64) bool {
	for h := from - from%hour; h < min(from+silence, to); h += hour {
		if up.down(d.site, h) {
			return true
		}
	}
	return false
}

// label says whether a fault began in (ts, ts+horizon], from what was known at time now; known is false while that
// time has not passed, or when the site's outage hides the answer.
func (d *device) label(up siteUp, ts, horizon, now int64) (fault, known bool) {
	if now < ts+horizon {
		return false, false
	}
	i, _ := slices.BinarySearchFunc(d.faults, ts+1, func(e event, at int64) int { return cmp.Compare(e.at, at) })
	if i < len(d.faults) && d.faults[i].at <= ts+horizon && d.faults[i].known <= now {
		return true, true
	}
	for h := ts - ts%hour + hour; h <= ts+horizon; h += hour {
		if up.down(d.site, h) {
			return false, false
		}
	}
	return false, true
}

// end is the time of the last report.
func (d *device) end() int64 {
	if len(d.reports) == 0 {
		return 0
	}
	return d.reports[len(d.reports)-1].ts
}
