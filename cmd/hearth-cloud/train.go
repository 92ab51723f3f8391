package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hearthline/hearthline/cloud/app"
	"github.com/hearthline/hearthline/protocol/risk"
)

// train fits a model to the telemetry and the timelines of a store. With engine bolt that is one nobody else has
// open, such as a restored backup; with PostgreSQL the service may go on.
func train(ctx context.Context, args []string) (err error) {
	f := flags("train")
	out := f.String("out", "", "new file for the model (required); enter it with hearthctl models add")
	days := f.Int("days", 14, "newest days to learn from; the last 6 hours are left out, as it is not known yet what became of them")
	hubs := f.Int("hubs", 200, "hubs to learn from at most")
	horizon := f.Duration("horizon", time.Minute, "how far ahead is predicted, where no model is in use yet; a later one speaks of the same")
	trees := f.Bool("trees", false, "add boosted trees to the logistic")
	c, err := readConfig(f, args)
	if err != nil {
		return helped(err)
	}
	if *out == "" {
		return errors.New("--out is missing: the new file for the model")
	}
	if *days < 1 || *hubs < 1 || *horizon <= 0 {
		return fmt.Errorf("--days is %d, --hubs %d and --horizon %s: each must be above 0", *days, *hubs, *horizon)
	}
	model, _, err := c.riskModel()
	if err != nil {
		return err
	}
	db, err := c.open(ctx, c.logger())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	t, err := app.Train(ctx, app.TrainOptions{
		DB: db, Tenant: c.Tenant.ID, Model: model, Days: *days, Hubs: *hubs, Horizon: *horizon, Trees: *trees,
	})
	if err != nil {
		return err
	}
	b, err := risk.Encode(t.Model)
	if err != nil {
		return err
	}
	q := t.Quality
	fmt.Printf("%s: %d hubs in %d homes, %d moments, %d of them with a fault within %g s\n", t.Model.ID(), t.Devices, t.Homes, q.N, q.Faults, t.Model.Horizon)
	fmt.Printf("on homes left out: average precision %.3f, Brier %.4f (always saying the mean: %.4f), calibration error %.4f\n",
		q.AP, q.Brier, q.Observed*(1-q.Observed), q.ECE)
	file, err := os.OpenFile(*out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	return errors.Join(err, file.Close())
}
