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

// linkOwn are the features of the link itself; those of its neighbours did not carry over to another site.
func linkOwn(f string) bool {
	return !contains(f, ".age", "site_", "src_", "dst_", "hour_", "log_tx", "log_gap")
}

// linkRecipe was chosen by leaving out one site at a time.
var linkRecipe = recipe{
	see: linkOwn, linear: linkOwn, own: risk.OwnPast{Prior: 3, Tau: 60 * day},
	parts: []ingredient{
		{name: "logistic", weight: 0.5, logistic: &learn.Logistic{Ridge: 0.03}},
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
	p := predictLinks(m, fresh.links)
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
func gatherLinks(layout *risk.Layout, links []*radioLink, every int) *sample {
	s := &sample{}
	walkLinks(layout, links, func(n, i int, x func() []float32) {
		l := links[n]
		if i%every != 0 || !l.healthy(i) {
			return
		}
		y, ok := l.label(i, math.MaxInt64)
		if !ok {
			return
		}
		f := x()
		s.m.Cols = len(f)
		s.m.Append(f)
		s.y = append(s.y, float32(bit(y)))
		s.block = append(s.block, int32(n)*4096+int32(l.reports[i].ts/(7*day)%4096))
		s.dev = append(s.dev, n)
		s.ts = append(s.ts, l.reports[i].ts)
	})
	return s
}

func trainLinks(links []*radioLink, r recipe) (*risk.Model, error) {
	in := linkInput()
	layout, err := risk.NewLayout(in)
	if err != nil {
		return nil, err
	}
	return r.fit("linkfault-link24", in, day, gatherLinks(layout, links, linkEvery), seed)
}

// predictLinks predicts every report in order of time. What became known of a link's earlier
// predictions corrects the model for it.
func predictLinks(m *risk.Model, links []*radioLink) [][]float64 {
	base, out := make([][]float64, len(links)), make([][]float64, len(links))
	own := make([]*risk.Link, len(links))
	next := make([]int, len(links))
	for n, l := range links {
		base[n], out[n], own[n] = make([]float64, len(l.reports)), make([]float64, len(l.reports)), m.NewLink()
	}
	walkLinks(m.Layout(), links, func(n, i int, x func() []float32) {
		l := links[n]
		now := l.reports[i].ts
		for ; next[n] < i && l.reports[next[n]].ts+day <= now; next[n]++ {
			j := next[n]
			if !l.healthy(j) {
				continue
			}
			if y, ok := l.label(j, now); ok {
				m.Learn(own[n], float64(now), base[n][j], y, float64(bin)/day)
			}
		}
		base[n][i] = m.Probability(x())
		out[n][i] = m.Corrected(own[n], float64(now), base[n][i])
	})
	return out
}
