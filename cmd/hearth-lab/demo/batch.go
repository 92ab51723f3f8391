package demo

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/httpapi"
	"github.com/hearthline/hearthline/firmware-bridge/replay"
)

// toProblem is how long the fleet may take to show what its devices have in common.
const toProblem = 40 * time.Second

// How the demo looks for bad batches: a day of a fleet passes in two seconds.
const (
	batchStep  = 2 * time.Second
	batchSteps = 28 // the least quiet steps to learn from
	toLearn    = (batchSteps + 2) * batchStep
)

// firmwareGoesBad lets the resolvers of one batch of the replayed homes become slow, and expects one
// problem that names the batch, and every affected customer told of it.
func (s *story) firmwareGoesBad(ctx context.Context) error {
	homes := s.world.fleet.batch()
	if len(homes) < 8 {
		s.saw("%d replayed homes of one batch are too few to tell: this chapter wants 24 homes or more", len(homes))
		return nil
	}
	if rest := time.Until(s.world.began.Add(toLearn)); rest > 0 {
		s.saw("the fleet's quiet past is learned for another %.0f s", rest.Seconds())
		if err := s.wait(ctx, rest); err != nil {
			return err
		}
	}
	mark := time.Now()
	s.saw("%d replayed homes with %s %s go bad, one after the other", len(homes), batchModel, batchFirmware)
	for _, h := range homes {
		if err := h.turn(replay.SlowResolver); err != nil {
			return err
		}
		if err := s.wait(ctx, time.Second); err != nil {
			return err
		}
	}
	problem, err := s.awaitProblem(ctx, mark.Add(toProblem))
	if err != nil {
		return err
	}
	c := problem.Cohort
	if c.Firmware != batchFirmware || (c.Model != "" && c.Model != batchModel) || c.Region != "" || c.ISP != "" {
		return fmt.Errorf("the problem names %+v, the bad batch is %s %s", c, batchModel, batchFirmware)
	}
	s.saw("one problem was opened after %.1f s: %s", time.Since(mark).Seconds(), problem.CohortText)
	for deadline := time.Now().Add(toProblem); ; {
		var page httpapi.ProblemView
		if err := s.eye.staff.Get(ctx, "/v1/problems/"+problem.ID, nil, &page); err != nil {
			return err
		}
		told, err := s.toldOfProblem(ctx, page.Homes)
		if err != nil {
			return err
		}
		if told == len(page.Homes) && told*2 > len(homes) {
			s.saw("%d affected customers were told before they called", told)
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d affected homes were told; %d homes went bad", told, len(page.Homes), len(homes))
		}
		if err := s.wait(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// toldOfProblem counts the homes on whose timeline the customer was told because of a problem.
func (s *story) toldOfProblem(ctx context.Context, homes []httpapi.AffectedHome) (told int, err error) {
	for _, h := range homes {
		entries, err := (&witness{staff: s.eye.staff, home: h.Home}).timeline(ctx)
		if err != nil {
			return 0, err
		}
		if slices.ContainsFunc(entries, func(e httpapi.EntryView) bool {
			return e.Kind == cloud.KindCustomerTold && slices.ContainsFunc(causes(entries, e), func(c httpapi.EntryView) bool {
				return c.Kind == cloud.KindProblemLinked
			})
		}) {
			told++
		}
	}
	return told, nil
}

// awaitProblem returns the one open problem. More than one is an error: a batch is one problem.
func (s *story) awaitProblem(ctx context.Context, deadline time.Time) (httpapi.Problem, error) {
	for {
		var list httpapi.Page[httpapi.Problem]
		if err := s.eye.staff.Get(ctx, "/v1/problems", url.Values{"state": {"open"}}, &list); err != nil {
			return httpapi.Problem{}, err
		}
		switch len(list.Items) {
		case 0:
		case 1:
			return list.Items[0], nil
		default:
			return httpapi.Problem{}, fmt.Errorf("%d problems were opened for one batch", len(list.Items))
		}
		if time.Now().After(deadline) {
			return httpapi.Problem{}, fmt.Errorf("no problem was opened within %s", toProblem)
		}
		if err := s.wait(ctx, lookEvery); err != nil {
			return httpapi.Problem{}, err
		}
	}
}
