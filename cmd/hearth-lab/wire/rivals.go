package wire

import (
	"encoding/json"
	"math"
	"math/bits"
	"slices"

	"github.com/hearthline/hearthline/protocol"
)

// jsonSize is the sample as one JSON object with metric names as keys.
func jsonSize(s *protocol.Sample) int {
	m := map[string]any{"ts_ms": s.Wall}
	for i, v := range s.Values {
		if !math.IsNaN(v) {
			m[s.Schema.Metrics[i].Name] = v
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // numbers and strings only
	}
	return len(b)
}

// gorillaSize is what the XOR scheme of Gorilla (Pelkonen et al., VLDB 2015) needs for the same rows:
// one series per metric, restarted with every block, time stored once per block and not counted per series.
func gorillaSize(samples []protocol.Sample, rows int) int {
	total := 0
	for chunk := range slices.Chunk(samples, rows) {
		size := 64 + 9*len(chunk) // delta-of-delta times of a steady series: mostly 9 bits here
		for m := range chunk[0].Values {
			size += gorillaColumn(chunk, m)
		}
		total += (size + 7) / 8
	}
	return total
}

func gorillaColumn(chunk []protocol.Sample, m int) int {
	size := 64
	last := math.Float64bits(chunk[0].Values[m])
	lead, width := -1, 0
	for _, s := range chunk[1:] {
		v := math.Float64bits(s.Values[m])
		x := v ^ last
		last = v
		if x == 0 {
			size++
			continue
		}
		l, tr := min(bits.LeadingZeros64(x), 31), bits.TrailingZeros64(x)
		if lead >= 0 && l >= lead && tr >= 64-lead-width {
			size += 2 + width
			continue
		}
		lead, width = l, 64-l-tr
		size += 2 + 5 + 6 + width
	}
	return size
}
