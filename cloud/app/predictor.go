package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/gateway/ingest"
	"github.com/hearthline/hearthline/cloud/predict"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/protocol"
	"github.com/hearthline/hearthline/protocol/risk"
)

// predictor scores telemetry as it is committed and raises the risks of devices that do not score
// themselves. What it remembers of a device is lost with the process; a baseline stands in until it has
// learned anew.
type predictor struct {
	*App
	model   *risk.Model
	live    *predict.Live
	schemas map[schemaKey]*protocol.Schema
	raised  map[deviceKey]protocol.EntryID // risks of ours that stand; "" for one that the device raised itself
}

type deviceKey struct{ tenant, device string }

type schemaKey struct {
	deviceKey
	id uint64
}

// maxSchemas bounds the memory of schemas; they are read again when they are needed.
const maxSchemas = 50_000

// newPredictor decodes a model and a baseline (may be nil), as predict writes them.
func newPredictor(a *App, model, baseline []byte) (*predictor, error) {
	m, err := risk.Decode(model)
	if err != nil {
		return nil, fmt.Errorf("risk model: %w", err)
	}
	live, err := predict.NewLive(predict.LiveOptions{Model: m, Baseline: baseline})
	if err != nil {
		return nil, fmt.Errorf("baseline of the risk model: %w", err)
	}
	return &predictor{a, m, live, map[schemaKey]*protocol.Schema{}, map[deviceKey]protocol.EntryID{}}, nil
}

// Observe takes committed telemetry of one device, in order. One goroutine of the gateway calls it.
func (p *predictor) Observe(c ingest.Committed) {
	for _, b := range c.Blocks {
		dev := deviceKey{c.Tenant, b.Device}
		for _, s := range c.Schemas {
			p.remember(schemaKey{dev, s.ID}, s)
		}
		if err := p.block(dev, b); err != nil {
			p.log.Warn("telemetry not scored", "tenant", c.Tenant, "device", b.Device, "error", err)
		}
	}
}

func (p *predictor) remember(k schemaKey, s *protocol.Schema) {
	if len(p.schemas) >= maxSchemas {
		clear(p.schemas)
	}
	p.schemas[k] = s
}

func (p *predictor) block(dev deviceKey, b cloud.Block) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var block protocol.Block
	if err := protocol.Unmarshal(b.Bytes, &block); err != nil {
		return err
	}
	schema := p.schemas[schemaKey{dev, block.Schema}]
	if schema == nil {
		err := p.db.View(ctx, dev.tenant, func(tx store.Tx) (err error) {
			schema, err = telemetry.Keeper{}.Schema(tx, b.Home, b.Device, block.Schema)
			return err
		})
		if errors.Is(err, store.ErrNotFound) {
			return nil // its schema never came: ingest has said so
		}
		if err != nil {
			return err
		}
		p.remember(schemaKey{dev, block.Schema}, schema)
	}
	rows, err := block.Samples(schema)
	if err != nil {
		return err
	}
	for i := range rows {
		r := p.live.Take(dev.tenant, dev.device, &rows[i])
		if !r.Changed {
			continue
		}
		at := b.From.Add(time.Duration(rows[i].Mono-block.Mono) * time.Millisecond)
		if err := p.changed(ctx, dev, b.Home, r, &rows[i], b.From, at); err != nil {
			return err
		}
	}
	return nil
}

// changed writes that a risk has risen or is over.
func (p *predictor) changed(ctx context.Context, dev deviceKey, home string, r risk.Risk, s *protocol.Sample, from, at time.Time) error {
	e := cloud.Entry{
		ID: protocol.EntryID(cloud.NewID()), Home: home, At: at, Kind: cloud.KindRiskRaised,
		Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: dev.device}}, Actor: cloud.Ref{Type: cloud.RefService, ID: "predict"},
		Risk: &protocol.Risk{Model: p.model.ID(), Probability: r.Probability, HorizonS: int64(p.model.Horizon), Reasons: []protocol.Reason{}},
	}
	if !r.High {
		ours := p.raised[dev]
		delete(p.raised, dev)
		if ours == "" {
			return nil // the device says so itself
		}
		e.Kind, e.Because = cloud.KindRiskCleared, []protocol.EntryID{ours}
	}
	for _, reason := range r.Reasons[:r.N] {
		out := protocol.Reason{Feature: reason.Signal, Value: finite(reason.Value), Normal: finite(reason.Usual), Share: reason.Share}
		if m, ok := p.behind(reason.Signal, s); ok && r.High {
			out.Instance = m.Instance
			e.Evidence = append(e.Evidence, protocol.Evidence{Metric: m.Name, Instance: m.Instance, From: from.UnixMilli(), To: at.UnixMilli()})
		}
		e.Risk.Reasons = append(e.Risk.Reasons, out)
	}
	own := false
	err := p.db.Update(ctx, dev.tenant, func(tx store.Tx) error {
		own = false
		if r.High {
			// Two voices for one fault would make two entries: a device that scores itself is faster.
			atRisk, err := p.remedy.AtRisk(tx, home, dev.device)
			if own = atRisk; err != nil || atRisk {
				return err
			}
		}
		return p.timeline.Append(tx, e)
	})
	if err == nil && r.High {
		p.raised[dev] = e.ID
		if own {
			p.raised[dev] = ""
		}
	}
	return err
}

// behind finds the metric of a sample that a signal of the model is made of.
func (p *predictor) behind(signal string, s *protocol.Sample) (protocol.Metric, bool) {
	names := []string{signal}
	if at := p.model.Input.Index(signal); at >= 0 && len(p.model.Input.Signals[at].Metrics) > 0 {
		names = p.model.Input.Signals[at].Metrics
	}
	for _, name := range names {
		name, _, _ = strings.Cut(name, "{")
		for i, m := range s.Schema.Metrics {
			if m.Name == name && !math.IsNaN(s.Values[i]) {
				return m, true
			}
		}
	}
	return protocol.Metric{}, false
}

func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
