package httpapi

import (
	"context"
	"math"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/predict"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol/risk"
)

// Model is one version of the risk model that hubs score themselves by.
type Model struct {
	Version int64     `json:"version"`
	State   string    `json:"state" enum:"candidate,rolling,active,retired,rolled_back,refused"`
	Share   float64   `json:"share" doc:"of hubs that are to have it"`
	Hubs    int       `json:"hubs" doc:"that say they score by it"`
	About   string    `json:"about,omitempty" doc:"what it was fitted on"`
	Because string    `json:"because,omitempty"`
	Added   time.Time `json:"added"`
	Since   time.Time `json:"since" doc:"of the state and share"`

	Gain      *float64 `json:"gain,omitempty" doc:"nats a moment better than the model that was in use when it was judged"`
	Doubt     *float64 `json:"doubt,omitempty" doc:"standard error of the gain"`
	Faults    float64  `json:"faults" doc:"seen in service, in the present stage"`
	Predicted float64  `json:"predicted" doc:"moments before a fault that it predicted there"`
	Observed  float64  `json:"observed" doc:"and that there were"`
}

// ModelChange is one entry of the log of models.
type ModelChange struct {
	At      time.Time `json:"at"`
	By      cloud.Ref `json:"by"`
	Version int64     `json:"version"`
	State   string    `json:"state"`
	Share   float64   `json:"share"`
	Because string    `json:"because,omitempty"`
}

type models struct {
	Items []Model       `json:"items"`
	Log   []ModelChange `json:"log" doc:"who changed what, newest first"`
}

// maxModels is how many versions, and changes, are listed: a version a week for a year.
const maxModels = 52

type inAddModel struct {
	Body struct {
		Model []byte `json:"model" doc:"encoded, in base64"`
	}
}

type inModel struct {
	Version int64 `path:"version" minimum:"0"`
	Body    struct {
		Because string `json:"because" minLength:"1" maxLength:"500"`
	}
}

func (a *API) registerModels() {
	handle(a, "models", func(ctx context.Context, _ *struct{}) (*body[models], error) {
		out := models{Items: []Model{}, Log: []ModelChange{}}
		if a.Models == nil {
			return nil, missing("the roll-out of models")
		}
		err := a.view(ctx, func(tx store.Tx) error {
			out = models{Items: []Model{}, Log: []ModelChange{}}
			list, log, err := a.Models.Books(tx, maxModels)
			for _, b := range list {
				out.Items = append(out.Items, modelView(b.Record, b.Hubs))
			}
			for _, c := range log {
				out.Log = append(out.Log, ModelChange{c.At, c.By, c.Version, string(c.State), c.Share, c.Because})
			}
			return err
		})
		return answer(out, err)
	})
	change := func(ctx context.Context, do func(tx store.Tx, by cloud.Ref) (predict.Record, error)) (*body[Model], error) {
		if a.Models == nil {
			return nil, missing("the roll-out of models")
		}
		var rec predict.Record
		err := a.update(ctx, func(tx store.Tx) (err error) {
			rec, err = do(tx, who(ctx).actor())
			return err
		})
		return answer(modelView(rec, 0), err)
	}
	handle(a, "add-model", func(ctx context.Context, in *inAddModel) (*body[Model], error) {
		return change(ctx, func(tx store.Tx, by cloud.Ref) (predict.Record, error) { return a.Models.Add(tx, in.Body.Model, by) })
	}, func(op *huma.Operation) { op.MaxBodyBytes = risk.MaxModelBytes*4/3 + 1024 })
	handle(a, "start-model", func(ctx context.Context, in *inModel) (*body[Model], error) {
		return change(ctx, func(tx store.Tx, by cloud.Ref) (predict.Record, error) {
			return a.Models.Start(tx, in.Version, by, in.Body.Because)
		})
	})
	handle(a, "stop-model", func(ctx context.Context, in *inModel) (*body[Model], error) {
		return change(ctx, func(tx store.Tx, by cloud.Ref) (predict.Record, error) {
			return a.Models.Stop(tx, in.Version, by, in.Body.Because)
		})
	})
}

func modelView(r predict.Record, hubs int) Model {
	m := Model{
		Version: r.Version, State: string(r.State), Share: r.Share, Hubs: hubs, About: r.About, Because: r.Because,
		Added: r.Added, Since: r.StagedAt, Faults: r.Service.Faults, Predicted: r.Service.Predicted, Observed: r.Service.Observed,
	}
	if gain, doubt := r.Judged.Gain(); !math.IsInf(doubt, 0) {
		m.Gain, m.Doubt = &gain, &doubt
	}
	return m
}
