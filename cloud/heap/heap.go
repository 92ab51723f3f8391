// Package heap lets a small heap grow before it is collected.
//
// Go collects when the heap has doubled. A service that takes in 200,000 records a second in front of 20 MB
// that live doubles many times a second, and spends a tenth of its processors on finding that nothing has
// changed. So the next collection waits until the heap has reached a size that no machine minds.
package heap

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Least is the size, in bytes, to which any heap may grow: what a machine that carries 200 busy devices has
// to spare, and 5 to 10 collections a second at full load.
const Least = 128 << 20

const (
	usual = 100         // percent of what lives, Go's own default
	every = time.Second // between two looks: what lives changes slowly
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
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	set := usual
	for {
		metrics.Read(sample)
		// Each change stops the world for a moment: not for a little.
		if p := percent(sample[0].Value.Uint64()); p > set+set/10 || p < set-set/10 {
			debug.SetGCPercent(p)
			set = p
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
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
