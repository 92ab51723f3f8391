package storebench

import (
	"context"
	"io"
	"testing"
)

func TestASmallRunMeasuresEverything(t *testing.T) {
	for _, backend := range []string{"bolt", "postgres"} {
		t.Run(backend, func(t *testing.T) {
			r, err := measure(context.Background(), options{backend: backend, customers: 50, entries: 1000, reads: 20, seconds: 0.2}, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			last := r.Steps[len(r.Steps)-1]
			if last.Entries < 900 || last.RowsPerPage != pageSize {
				t.Errorf("filled %d entries, %d on a page", last.Entries, last.RowsPerPage)
			}
			for name, v := range map[string]float64{
				"page": last.Reads.Timeline.P99, "caller": last.Reads.Caller.P99, "raw page": last.Reads.RawPage.P99,
				"page ratio": last.Reads.PageRatio, "caller ratio": last.Reads.CallerRatio, "busy page": r.Busy.Timeline.P99,
				"append": r.Append.PerSecond, "single": r.Append.SinglePerS, "disk": float64(last.DiskBytes), "document": r.Document,
			} {
				if v <= 0 {
					t.Errorf("%s is %v", name, v)
				}
			}
		})
	}
}
