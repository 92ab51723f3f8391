package assist

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

// diagnoseWithin bounds one diagnosis: a traceroute through silent hops takes longest.
const diagnoseWithin = 90 * time.Second

// request is what the browser asks.
type request struct {
	ID      string                     `json:"id"`
	Do      string                     `json:"do"` // "diagnose"
	Request *protocol.DiagnosisRequest `json:"request,omitempty"`
}

// reply is what it gets.
type reply struct {
	ID     string              `json:"id,omitempty"`
	Step   *protocol.Step      `json:"step,omitempty"`
	Result *protocol.Diagnosis `json:"result,omitempty"`
	Error  string              `json:"error,omitempty"`
}

// liveMetrics is one reading of all metrics that have a value.
type liveMetrics struct {
	At     int64   `json:"at"` // milliseconds since 1970
	Values []value `json:"values"`
}

type value struct {
	Name     string  `json:"name"`
	Instance string  `json:"instance,omitempty"`
	Value    float64 `json:"value"`
}

// desk answers the browser's requests, one diagnosis at a time, within what the customer agreed to.
type desk struct {
	session string
	allow   []string
	hub     hub
	peer    *peer
	tell    func(agent.FromAssist)
	log     *slog.Logger

	mu      sync.Mutex
	running context.CancelFunc // of the diagnosis under way; nil when none is
	done    sync.WaitGroup
}

// ask takes one message from the browser.
func (d *desk) ask(ctx context.Context, message []byte) {
	var r request
	if err := json.Unmarshal(message, &r); err != nil {
		d.peer.send(reply{Error: "not understood"})
		return
	}
	switch {
	case r.Do != "diagnose" || r.Request == nil:
		d.peer.send(reply{ID: r.ID, Error: "unknown request " + r.Do})
	case !slices.Contains(d.allow, "diagnose"):
		d.peer.send(reply{ID: r.ID, Error: "the customer has not agreed to diagnose"})
	default:
		d.diagnose(ctx, r)
	}
}

func (d *desk) diagnose(ctx context.Context, r request) {
	ctx, cancel := context.WithTimeout(ctx, diagnoseWithin)
	d.mu.Lock()
	busy := d.running != nil
	if !busy {
		d.running = cancel
	}
	d.mu.Unlock()
	if busy {
		cancel()
		d.peer.send(reply{ID: r.ID, Error: "another diagnosis is running"})
		return
	}
	d.done.Go(func() {
		defer func() {
			cancel()
			d.mu.Lock()
			d.running = nil
			d.mu.Unlock()
		}()
		result, err := d.hub.Diagnose(ctx, *r.Request, func(s protocol.Step) { d.peer.send(reply{ID: r.ID, Step: &s}) })
		if err != nil {
			d.log.Info("diagnosis failed", "kind", r.Request.Kind, "err", err)
			d.act(map[string]string{"do": "diagnose", "kind": r.Request.Kind, "outcome": "failed"}, nil)
			d.peer.send(reply{ID: r.ID, Error: err.Error()})
			return
		}
		d.act(map[string]string{"do": "diagnose", "kind": r.Request.Kind, "outcome": "done"}, &result)
		d.peer.send(reply{ID: r.ID, Result: &result})
	})
}

// act puts what was done inside the session on the timeline.
func (d *desk) act(args map[string]string, result *protocol.Diagnosis) {
	args["session"] = d.session
	d.tell(agent.FromAssist{Event: &protocol.Event{
		Version: protocol.Version, Kind: protocol.EventSessionAction, Args: args, Diagnosis: result,
	}})
}

// metrics sends one reading, when that was agreed to and somebody is there.
func (d *desk) metrics(ctx context.Context) {
	if !slices.Contains(d.allow, "metrics") || !d.peer.there() {
		return
	}
	sample, err := d.hub.Sample(ctx)
	if err != nil {
		d.log.Info("live metrics not read", "err", err)
		return
	}
	live := liveMetrics{At: sample.Wall}
	for i, m := range sample.Schema.Metrics {
		if v := sample.Values[i]; !math.IsNaN(v) && !math.IsInf(v, 0) {
			live.Values = append(live.Values, value{m.Name, m.Instance, v})
		}
	}
	d.peer.send(map[string]liveMetrics{"metrics": live})
}

// stop cancels what is running and waits for it.
func (d *desk) stop() {
	d.mu.Lock()
	if d.running != nil {
		d.running()
	}
	d.mu.Unlock()
	d.done.Wait()
}
