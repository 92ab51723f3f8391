package remedy_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/remedy"
	"github.com/hearthline/hearthline/protocol"
)

// hub answers checks from a list, the last for ever, and may fail to undo.
type hub struct {
	checks  []bool
	applied []string
	broken  bool // undo fails
}

func (h *hub) Undo(context.Context, protocol.Action) (protocol.Action, error) {
	return protocol.Action{Kind: "undo"}, nil
}

func (h *hub) Apply(_ context.Context, a protocol.Action) error {
	h.applied = append(h.applied, a.Kind)
	if h.broken && a.Kind == "undo" {
		return errors.New("stuck")
	}
	return nil
}

func (h *hub) Check(context.Context, protocol.Check) (bool, error) {
	ok := h.checks[0]
	if len(h.checks) > 1 {
		h.checks = h.checks[1:]
	}
	return ok, nil
}

// journal is an agent.Journal in memory.
type journal struct {
	note   []byte
	events []*protocol.Event
}

func (j *journal) Event(ctx context.Context, e *protocol.Event) (protocol.EntryID, error) {
	j.events = append(j.events, e)
	return protocol.DeviceEntryID("hub-1", 1, uint64(len(j.events))), nil
}

func (j *journal) EventNote(ctx context.Context, e *protocol.Event, _ string, value func(protocol.EntryID) []byte) (protocol.EntryID, error) {
	id, err := j.Event(ctx, e)
	j.note = value(id)
	return id, err
}

func (j *journal) Telemetry(protocol.Kind, []byte) error             { return nil }
func (j *journal) SetNote(_ string, b []byte) error                  { j.note = b; return nil }
func (j *journal) Note(string) ([]byte, error)                       { return j.note, nil }
func (j *journal) WaitAcked(context.Context, protocol.EntryID) error { return nil }
func (j *journal) last() protocol.EventKind                          { return j.events[len(j.events)-1].Kind }

func command() *agent.Command {
	return &agent.Command{Command: protocol.Command{ID: "c"}, Allowed: protocol.Plan{
		ID: "p", Verb: protocol.VerbFix,
		Action: protocol.Action{Kind: "do"}, Checks: []protocol.Check{{Metric: "m"}}, WithinS: 10,
	}}
}

func TestALuckyMeasurementDoesNotKeepAFix(t *testing.T) {
	for name, c := range map[string]struct {
		checks []bool
		want   protocol.EventKind
	}{
		"it holds":                   {[]bool{true}, protocol.EventFixVerified},
		"it holds after a while":     {[]bool{false, false, true}, protocol.EventFixVerified},
		"it never holds":             {[]bool{false}, protocol.EventFixRolledBack},
		"it holds twice, by luck":    {[]bool{true, true, false}, protocol.EventFixRolledBack},
		"it holds now and then":      {[]bool{true, false, true, true, false, true, false, true, false, false}, protocol.EventFixRolledBack},
		"luck first, and then right": {[]bool{true, false, true}, protocol.EventFixVerified},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, j := &hub{checks: c.checks}, &journal{}
				r, err := remedy.New(remedy.Options{Hub: h, Journal: j})
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Fix(t.Context(), command()); err != nil {
					t.Fatal(err)
				}
				undone := h.applied[len(h.applied)-1] == "undo"
				if j.last() != c.want || undone != (c.want == protocol.EventFixRolledBack) || j.note != nil {
					t.Errorf("%s, applied %v, note %q", j.last(), h.applied, j.note)
				}
			})
		})
	}
}

func TestWhatCannotBeUndoneIsSaidOnceAndTriedAgainAtEveryStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := &hub{checks: []bool{false}, broken: true}, &journal{}
		r, err := remedy.New(remedy.Options{Hub: h, Journal: j})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Fix(t.Context(), command()); err == nil || j.last() != protocol.EventFixFailed || j.note == nil {
			t.Fatalf("%v, %s, note %q", err, j.last(), j.note)
		}
		said := len(j.events)
		if err := r.Recover(t.Context()); err == nil || len(j.events) != said || j.note == nil {
			t.Errorf("%v, %d events after %d", err, len(j.events), said)
		}
		h.broken = false
		if err := r.Recover(t.Context()); err != nil || j.last() != protocol.EventFixRolledBack || j.note != nil {
			t.Errorf("%v, %s, note %q", err, j.last(), j.note)
		}
	})
}
