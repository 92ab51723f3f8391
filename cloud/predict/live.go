package predict

import (
	"math"
	"sync"

	"github.com/hearthline/hearthline/protocol"
	"github.com/hearthline/hearthline/protocol/risk"
)

// LiveOptions configures a Live. Model is required.
type LiveOptions struct {
	Model    *risk.Model
	Baseline []byte // what is taken as usual for a device that was never heard (risk.Observer.Export); nil: nothing
	// MaxDevices bounds the memory, about 1 kB a device; 0 means 200,000. Beyond it, a new device takes the
	// place of any other, which begins anew when it is heard again.
	MaxDevices int
}

// Live predicts the faults of devices from the telemetry that arrives, with the same model and the same arithmetic
// as a hub. It is safe for concurrent use.
type Live struct {
	opts LiveOptions
	mu   sync.Mutex
	devs map[[2]string]*watched
}

type watched struct {
	o       *risk.Observer
	schema  *protocol.Schema
	handles []int
	epoch   float64 // added to the device's clock, so that a restart of its agent does not turn time back
	at      float64
	mono    int64
}

// NewLive returns a Live that has heard nothing.
func NewLive(opts LiveOptions) (*Live, error) {
	if opts.MaxDevices == 0 {
		opts.MaxDevices = 200_000
	}
	if opts.Baseline != nil {
		if _, err := opts.Model.Restore(opts.Baseline, 0); err != nil {
			return nil, err
		}
	}
	return &Live{opts: opts, devs: map[[2]string]*watched{}}, nil
}

// Take scores a device's next sample. Samples of a device come in order of time; an older one than the last changes
// nothing but is scored.
func (l *Live) Take(tenant, device string, s *protocol.Sample) risk.Risk {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := [2]string{tenant, device}
	w := l.devs[key]
	if w == nil {
		l.makeRoom()
		w = &watched{o: risk.NewObserver(l.opts.Model), epoch: -float64(s.Mono) / 1000, mono: s.Mono}
		if l.opts.Baseline != nil {
			_ = w.o.Restore(l.opts.Baseline, 0) // NewLive has tried it
		}
		l.devs[key] = w
	}
	if s.Schema != w.schema {
		w.schema, w.handles = s.Schema, w.handles[:0]
		for _, m := range s.Schema.Metrics {
			w.handles = append(w.handles, w.o.Bind(m.String()))
		}
	}
	if s.Mono < w.mono {
		w.epoch = w.at + 1 - float64(s.Mono)/1000 // its agent has started anew
	}
	w.mono = s.Mono
	w.at = math.Max(w.at, w.epoch+float64(s.Mono)/1000)
	for i, h := range w.handles {
		if i < len(s.Values) {
			w.o.Put(h, s.Values[i])
		}
	}
	return w.o.Tick(w.at)
}

// makeRoom forgets one device when there are too many.
func (l *Live) makeRoom() {
	if len(l.devs) < l.opts.MaxDevices {
		return
	}
	for k := range l.devs { // any: an exact order would cost more than a device that has to learn anew
		delete(l.devs, k)
		return
	}
}
