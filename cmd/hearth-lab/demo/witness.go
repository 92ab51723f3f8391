package demo

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/httpapi"
	"github.com/hearthline/hearthline/cmd/hearth-lab/person"
	"github.com/hearthline/hearthline/protocol"
)

// witness reads the timeline of one home and believes nothing else.
type witness struct {
	staff *person.Person
	home  string
}

// lookEvery is how often the timeline is read while something is awaited.
const lookEvery = 150 * time.Millisecond

// timeline returns all entries, oldest first.
func (w *witness) timeline(ctx context.Context) ([]httpapi.EntryView, error) {
	var all []httpapi.EntryView
	for query := (url.Values{"limit": {"200"}}); ; {
		var page httpapi.Page[httpapi.EntryView]
		if err := w.staff.Get(ctx, "/v1/homes/"+w.home+"/entries", query, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			break
		}
		query.Set("before", page.Next)
	}
	slices.Reverse(all)
	return all, nil
}

// await returns the first entry after the mark that matches. A cloud that does not answer is asked again.
func (w *witness) await(ctx context.Context, what string, within time.Duration, match func(all []httpapi.EntryView, e httpapi.EntryView) bool) (httpapi.EntryView, error) {
	deadline := time.Now().Add(within)
	for {
		entries, err := w.timeline(ctx)
		if i := slices.IndexFunc(entries, func(e httpapi.EntryView) bool { return match(entries, e) }); err == nil && i >= 0 {
			return entries[i], nil
		}
		if time.Now().After(deadline) {
			if err != nil {
				return httpapi.EntryView{}, fmt.Errorf("%s: not seen within %s: %w", what, within, err)
			}
			return httpapi.EntryView{}, fmt.Errorf("%s: not seen within %s; the last entries are %s", what, within, tail(entries, 6))
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return httpapi.EntryView{}, ctx.Err()
		}
	}
}

func tail(entries []httpapi.EntryView, n int) (kinds []cloud.Kind) {
	for _, e := range entries[max(0, len(entries)-n):] {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// kind matches entries of any of the kinds recorded after a moment.
func kind(after time.Time, kinds ...cloud.Kind) func([]httpapi.EntryView, httpapi.EntryView) bool {
	return func(_ []httpapi.EntryView, e httpapi.EntryView) bool {
		return e.Recorded.After(after) && slices.Contains(kinds, e.Kind)
	}
}

// awaitChain waits for an entry of the last kind whose causes hold every other kind named, and reach an
// entry that cites samples taken after the mark. It returns the way from that entry back to the samples.
func (w *witness) awaitChain(ctx context.Context, within time.Duration, mark time.Time, last cloud.Kind, through ...cloud.Kind) (chain []httpapi.EntryView, err error) {
	_, err = w.await(ctx, fmt.Sprintf("%s because of %v because of a sample", last, through), within, func(all []httpapi.EntryView, e httpapi.EntryView) bool {
		if e.Kind != last || !e.Recorded.After(mark) {
			return false
		}
		chain = causes(all, e)
		for _, k := range through {
			if !slices.ContainsFunc(chain, func(c httpapi.EntryView) bool { return c.Kind == k }) {
				return false
			}
		}
		return slices.ContainsFunc(chain, func(c httpapi.EntryView) bool {
			return slices.Contains(noticed, c.Kind) && slices.ContainsFunc(c.Evidence, func(v protocol.Evidence) bool {
				return time.UnixMilli(v.To).After(mark)
			})
		})
	})
	return chain, err
}

// causes walks from an entry to its roots, nearest first.
func causes(all []httpapi.EntryView, from httpapi.EntryView) (chain []httpapi.EntryView) {
	byID := map[protocol.EntryID]httpapi.EntryView{}
	for _, e := range all {
		byID[e.ID] = e
	}
	seen := map[protocol.EntryID]bool{}
	for next := []protocol.EntryID{from.ID}; len(next) > 0; next = next[1:] {
		if e, ok := byID[next[0]]; ok && !seen[e.ID] {
			seen[e.ID] = true
			chain = append(chain, e)
			next = append(next, e.Because...)
		}
	}
	return chain
}

// lost compares the timeline with what was on it before: every entry is still there, unchanged and once,
// and no device's events have a hole in their numbers.
func (w *witness) lost(ctx context.Context, before []httpapi.EntryView) error {
	now, err := w.timeline(ctx)
	if err != nil {
		return err
	}
	times := map[protocol.EntryID]int{}
	type lane struct {
		device string
		epoch  uint64
	}
	highest, count := map[lane]uint64{}, map[lane]uint64{}
	for _, e := range now {
		times[e.ID]++
		if device, epoch, sequence, ok := e.ID.Device(); ok {
			l := lane{device, epoch}
			highest[l] = max(highest[l], sequence)
			count[l]++
		}
	}
	for _, e := range now {
		for _, cause := range e.Because {
			if times[cause] == 0 {
				return fmt.Errorf("entry %s (%s) names a cause %s that is not on the timeline", e.ID, e.Kind, cause)
			}
		}
	}
	for _, e := range before {
		if times[e.ID] != 1 {
			return fmt.Errorf("entry %s (%s) is on the timeline %d times, was there once", e.ID, e.Kind, times[e.ID])
		}
	}
	for l, n := range count {
		if n != highest[l] {
			return fmt.Errorf("device %s epoch %d: %d entries up to sequence %d", l.device, l.epoch, n, highest[l])
		}
	}
	return nil
}
