package linkfault

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"

	"github.com/hearthline/hearthline/cloud/predict/learn"
	"github.com/hearthline/hearthline/protocol/risk"
)

// hearing is one report about a radio link.
type hearing struct {
	ts            int64
	rssi, pdr, tx float64
}

// radioLink is a link from src to dst with its reports in order of time.
type radioLink struct {
	site, src, dst string
	reports        []hearing
}

type linkSet struct {
	links []*radioLink
	row   []rowRef
}

func readLinks(path string) (*linkSet, error) {
	t, err := readTable(path, []string{"src", "dst"}, []string{"ts"}, []string{"rssi", "pdr", "tx"})
	if err != nil {
		return nil, err
	}
	if t.num["pdr"] == nil {
		return nil, fmt.Errorf("%s:1: column \"pdr\" is missing: nothing tells a healthy link", path)
	}
	site, err := readSites(path, t)
	if err != nil {
		return nil, err
	}
	s := &linkSet{row: make([]rowRef, t.rows)}
	index := map[[3]string]int32{}
	var rows [][]int
	for i := range t.rows {
		id := [3]string{site(i), t.text["src"][i], t.text["dst"][i]}
		l, ok := index[id]
		if !ok {
			l = int32(len(s.links))
			index[id] = l
			s.links = append(s.links, &radioLink{site: id[0], src: id[1], dst: id[2]})
			rows = append(rows, nil)
		}
		s.row[i].device = l
		rows[l] = append(rows[l], i)
	}
	ts := t.num["ts"]
	for l, at := range rows {
		slices.SortStableFunc(at, func(a, b int) int { return cmp.Compare(ts[a], ts[b]) })
		k := s.links[l]
		for _, i := range at {
			n := len(k.reports)
			if n == 0 || k.reports[n-1].ts != int64(ts[i]) { // of repeated rows the first counts
				k.reports = append(k.reports, hearing{int64(ts[i]), t.at("rssi", i), t.at("pdr", i), t.at("tx", i)})
				n++
			}
			s.row[i].report = int32(n - 1)
		}
	}
	return s, nil
}

// readSites returns the site of each row; without a site column all links are neighbours.
func readSites(path string, t *table) (func(int) string, error) {
	if !slices.Contains(t.names, "site") {
		return func(int) string { return "" }, nil
	}
	st, err := readTable(path, []string{"site"}, nil, nil)
	if err != nil {
		return nil, err
	}
	return func(i int) string { return st.text["site"][i] }, nil
}

const (
	linkFault   = 0.5 // a report below this delivery ratio is a fault
	linkHealthy = 0.8
)

// healthy says whether the last four reports up to i were, of at least eight.
func (l *radioLink) healthy(i int) bool {
	if i < 7 {
		return false
	}
	for _, r := range l.reports[i-3 : i+1] {
		if !(r.pdr >= linkHealthy) {
			return false
		}
	}
	return true
}

// label says whether a report within the 24 h after report i is a fault, from what was known at time now.
func (l *radioLink) label(i int, now int64) (fault, known bool) {
	end := l.reports[i].ts + day
	if now < end {
		return false, false
	}
	n := 0
	for _, r := range l.reports[i+1:] {
		if r.ts > end || r.ts > now {
			break
		}
		if r.pdr < linkFault {
			return true, true
		}
		n++
	}
	return false, n >= 4
}

// linkRecipe was chosen by leaving out one site at a time.
var linkRecipe = recipe{
	see: all, linear: all, own: risk.OwnPast{Prior: 3, Tau: 60 * day},
	parts: []ingredient{
		{name: "logistic", weight: 0.5, logistic: &learn.Logistic{Ridge: 0.03, Clip: 5}},
		{name: "extra trees", weight: 0.5, bag: &learn.Trees{Count: 150, Depth: 10, MinWeight: 40, Random: true, Columns: 0.2}},
	},
}

const linkEvery = 3 // of so many reports of a link one is learned from

func runLinks(train, test, out string) error {
	path := trainFile(train, "links.csv")
	known, err := readLinks(path)
	if err != nil {
		return err
	}
	fresh, err := readLinks(test)
	if err != nil {
		return err
	}
	m, err := trainLinks(known.links, linkRecipe)
	if err != nil {
		return fmt.Errorf("train on %s: %w", path, err)
	}
	p := make([][]float64, len(fresh.links))
	for n, l := range fresh.links {
		p[n] = l.follow(m, nil)
	}
	fmt.Fprintf(os.Stderr, "linkfault: %d links learned from, %d predicted\n", len(known.links), len(fresh.links))
	return write(out, "src,dst,ts,p", len(fresh.row), func(b []byte, i int) []byte {
		ref := fresh.row[i]
		l := fresh.links[ref.device]
		b = append(append(append(append(b, l.src...), ','), l.dst...), ',')
		b = strconv.AppendInt(b, l.reports[ref.report].ts, 10)
		return strconv.AppendFloat(append(b, ','), p[ref.device][ref.report], 'f', 6, 64)
	})
}

// gatherLinks collects the healthy reports of links with a label.
func gatherLinks(in *risk.Input, links []*radioLink, every int) (*sample, error) {
	layout, err := risk.NewLayout(in)
	if err != nil {
		return nil, err
	}
	s := &sample{m: learn.Matrix{Cols: len(in.Features)}}
	for n, l := range links {
		l.walk(layout, in, func(i int, features func() []float32) {
			if i%every != 0 || !l.healthy(i) {
				return
			}
			y, ok := l.label(i, math.MaxInt64)
			if !ok {
				return
			}
			s.m.Append(features())
			s.y = append(s.y, float32(bit(y)))
			s.block = append(s.block, int32(n)*4096+int32(l.reports[i].ts/(7*day)%4096))
			s.dev = append(s.dev, n)
		})
	}
	return s, nil
}

func trainLinks(links []*radioLink, r recipe) (*risk.Model, error) {
	in := linkInput()
	s, err := gatherLinks(in, links, linkEvery)
	if err != nil {
		return nil, err
	}
	return r.fit("linkfault-link24", in, day, s, seed)
}

// follow predicts every report of a link in order of time. What became known of its earlier predictions corrects
// the model for it. each, if not nil, sees the features of every report.
func (l *radioLink) follow(m *risk.Model, each func(i int, x []float32, p float64)) []float64 {
	base, out := make([]float64, len(l.reports)), make([]float64, len(l.reports))
	own, next := m.NewLink(), 0
	l.walk(m.Layout(), &m.Input, func(i int, features func() []float32) {
		now := l.reports[i].ts
		for ; next < i && l.reports[next].ts+day <= now; next++ {
			if !l.healthy(next) {
				continue
			}
			if y, ok := l.label(next, now); ok {
				m.Learn(own, float64(now), base[next], y, float64(bin)/day)
			}
		}
		x := features()
		base[i] = m.Probability(x)
		out[i] = m.Corrected(own, float64(now), base[i])
		if each != nil {
			each(i, x, out[i])
		}
	})
	return out
}
