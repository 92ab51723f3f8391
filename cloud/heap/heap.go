// Package heap lets a small heap grow, while much is going on, before it is collected.
//
// Go collects when the heap has doubled. A service that takes in 200,000 records a second in front of 20 MB
// that live doubles many times a second, and spends a tenth of its processors on finding that nothing has
// changed. So while collections are frequent, the next one waits until the heap has reached a size that no
// machine minds. A quiet service stays as small as it is.
package heap

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Least is the size, in bytes, to which any heap may grow: what a machine that serves a fleet has to spare.
const Least = 128 << 20

const (
	usual = 100         // percent of what lives, Go's own default
	every = time.Second // between two looks
	often = 4           // collections between two looks are too many; so few cost nothing worth mentioning

	// lasting is how many looks in a row must find too many. A fleet that connects is over sooner, and what it
	// leaves behind would lie scattered over a heap that had grown.
	lasting = 3
)

// Run keeps the collector's pace until ctx ends. It sets what GOGC sets, for the whole process, and so does
// nothing when that is in the environment.
func Run(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	defer debug.SetGCPercent(usual)
	tick := time.NewTicker(every)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	set, seen, busy := usual, sample[1].Value.Uint64(), 0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(sample)
		cycles := sample[1].Value.Uint64()
		if cycles-seen > often {
			busy++
		} else {
			busy = 0
		}
		p := set
		switch {
		case busy >= lasting:
			p = percent(sample[0].Value.Uint64())
		case cycles == seen:
			p = usual
		}
		seen = cycles
		if p > set+set/10 || p < set-set/10 { // each change stops the world for a moment: not for a little
			debug.SetGCPercent(p)
			set = p
		}
	}
}

// percent is by how much a heap of which live bytes are in use may grow.
func percent(live uint64) int {
	live = max(live, Least/64)
	if live >= Least/2 {
		return usual
	}
	return int((Least - live) * 100 / live)
}
