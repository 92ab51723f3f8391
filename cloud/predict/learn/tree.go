package learn

import (
	"github.com/hearthline/hearthline/protocol/risk"
)

// growth says how one tree is grown.
type growth struct {
	depth     int
	minWeight float64 // sum of hessians (weights) a leaf needs
	lambda    float64 // ridge on leaf values
	perNode   int     // features tried at a node
	random    bool    // one random threshold a feature instead of the best
	scale     float32 // leaf values are multiplied by it
	monotone  []int8
}

type grower struct {
	growth
	b     *Bins
	g, h  []float32 // gradient and hessian of each row
	dice  *dice
	rows  []int32
	spare []int32
	cols  []int
	tree  risk.Tree
	hist  [maxBins + 1][2]float64
}

type split struct {
	col     int
	bin     int // bins 1..bin go left
	missing bool
	gain    float64
}

// grow builds a tree on the given rows, which it reorders.
func grow(b *Bins, g, h []float32, rows []int32, cols []int, opt growth, d *dice) risk.Tree {
	w := &grower{growth: opt, b: b, g: g, h: h, dice: d, rows: rows, spare: make([]int32, len(rows)), cols: append([]int(nil), cols...)}
	w.node(0, len(rows), opt.depth)
	return w.tree
}

func (w *grower) node(from, to, depth int) {
	at := len(w.tree)
	sg, sh := 0.0, 0.0
	for _, r := range w.rows[from:to] {
		sg += float64(w.g[r])
		sh += float64(w.h[r])
	}
	w.tree = append(w.tree, risk.Node{Feature: risk.Leaf, Value: w.scale * float32(-sg/(sh+w.lambda))})
	if depth == 0 || sh < 2*w.minWeight || len(w.tree) > 32000 {
		return
	}
	s := w.best(from, to, sg, sh)
	if s.gain <= 1e-9 {
		return
	}
	mid := w.partition(from, to, s)
	w.tree[at].Feature = uint16(s.col)
	w.tree[at].MissingLeft = s.missing
	w.tree[at].Threshold = w.b.edge[s.col][s.bin-1]
	w.node(from, mid, depth-1)
	w.tree[at].Right = uint16(len(w.tree))
	w.node(mid, to, depth-1)
}

// best tries perNode features, drawn anew at every node.
func (w *grower) best(from, to int, sg, sh float64) split {
	best := split{}
	tried := 0
	for k := range w.cols {
		if tried >= w.perNode {
			break
		}
		j := k + w.dice.below(len(w.cols)-k)
		w.cols[k], w.cols[j] = w.cols[j], w.cols[k]
		c := w.cols[k]
		if len(w.b.edge[c]) == 0 {
			continue
		}
		tried++
		if s := w.try(c, from, to, sg, sh); s.gain > best.gain {
			best = s
		}
	}
	return best
}

func (w *grower) try(c, from, to int, sg, sh float64) split {
	hist := &w.hist
	n := len(w.b.edge[c]) + 1
	for i := 0; i <= n; i++ {
		hist[i] = [2]float64{}
	}
	col := w.b.bin[c*w.b.rows : (c+1)*w.b.rows]
	for _, r := range w.rows[from:to] {
		e := &hist[col[r]]
		e[0] += float64(w.g[r])
		e[1] += float64(w.h[r])
	}
	parent := sg * sg / (sh + w.lambda)
	best := split{col: c}
	lo, hi := 1, n-1 // the bins after which we may cut
	if w.random {
		for lo < n && hist[lo][1] == 0 {
			lo++
		}
		for hi+1 > lo && hist[hi+1][1] == 0 {
			hi--
		}
		if hi < lo {
			return best
		}
		lo += w.dice.below(hi - lo + 1)
		hi = lo
	}
	lg, lh := 0.0, 0.0
	for i := 1; i <= hi; i++ {
		lg += hist[i][0]
		lh += hist[i][1]
		if i < lo {
			continue
		}
		for m := range 2 {
			ag, ah := lg, lh
			if m == 1 {
				if hist[0][1] == 0 {
					break
				}
				ag += hist[0][0]
				ah += hist[0][1]
			}
			bg, bh := sg-ag, sh-ah
			if ah < w.minWeight || bh < w.minWeight {
				continue
			}
			if w.monotone != nil && w.monotone[c] != 0 {
				if d := -bg/(bh+w.lambda) + ag/(ah+w.lambda); d*float64(w.monotone[c]) < 0 {
					continue
				}
			}
			if gain := ag*ag/(ah+w.lambda) + bg*bg/(bh+w.lambda) - parent; gain > best.gain {
				best.gain, best.bin, best.missing = gain, i, m == 1
			}
		}
	}
	return best
}

// partition moves the rows that go left to the front, keeping their order, and returns where the right begins.
func (w *grower) partition(from, to int, s split) int {
	col := w.b.bin[s.col*w.b.rows : (s.col+1)*w.b.rows]
	l, r := from, 0
	for _, row := range w.rows[from:to] {
		if b := col[row]; b == 0 && s.missing || b != 0 && int(b) <= s.bin {
			w.rows[l] = row
			l++
		} else {
			w.spare[r] = row
			r++
		}
	}
	copy(w.rows[l:to], w.spare[:r])
	return l
}
