// Package predict learns when connections fail, says so before they do, and knows when it does not know.
//
//	Source (what the store holds) ──▶ Train ──▶ candidate ──▶ Registry: judged against the model in use,
//	                                                             signed, rolled out by share of hubs, rolled back
//	Rollout (a timer, by lease) ──▶ what became of predictions ─▶ Registry: next stage, or back; hubs are sent theirs
//	committed telemetry ──▶ Live (one risk.Observer a device) ──▶ Risk
//
// The features and the scoring are protocol/risk, which the hub runs too; this package chooses models and keeps
// their books.
package predict

import (
	"context"
	"iter"
)

// History is what one device measured, in order of time, and when its connection failed.
type History struct {
	Device string
	Home   string // folds of the cross-validation never divide a home
	// Samples yields the samples in order of time. The slices are valid until the next one.
	Samples iter.Seq[Sample]
	Faults  []Fault
}

// Sample is what was measured at one moment.
type Sample struct {
	At      float64   // seconds, on one clock for the whole history
	Metrics []string  // names, with the instance in braces where there is one; the same slice while they do not change
	Values  []float64 // NaN is missing
}

// Fault is a time in which a connection failed its customer: a fault a device saw, or one a customer reported.
type Fault struct {
	From, To float64 // seconds on the history's clock
	Kind     string
	// Onset is when the first sign could be seen, where that is known because the fault was made on purpose; 0 means
	// unknown. Before a known onset there is nothing to foretell: it was a throw of dice.
	Onset float64
	// Unclear says that it may or may not have been felt, such as a DHCP server that is gone while leases still
	// run: nothing is learned from that time.
	Unclear bool
}

// Source yields the histories to learn from. Histories may come more than once and must then be the same.
type Source interface {
	Histories(ctx context.Context) iter.Seq2[History, error]
}

// Histories is a Source in memory.
type Histories []History

// Histories yields each.
func (h Histories) Histories(context.Context) iter.Seq2[History, error] {
	return func(yield func(History, error) bool) {
		for _, one := range h {
			if !yield(one, nil) {
				return
			}
		}
	}
}
