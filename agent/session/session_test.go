package session_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/session"
	"github.com/hearthline/hearthline/protocol"
)

// TestMain also is the assist program, of the kind that the last argument names.
func TestMain(m *testing.M) {
	if os.Getenv("HEARTH_TEST_ASSIST") != "" {
		assist(os.Args[len(os.Args)-1])
		return
	}
	goleak.VerifyTestMain(m)
}

// assist says how long it may last. Then it echoes signals and ends when told, unless it is of a bad kind.
func assist(kind string) {
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for in.Scan() {
		var m agent.ToAssist
		if err := json.Unmarshal(in.Bytes(), &m); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		switch {
		case kind == "mute":
			os.Exit(3)
		case kind == "nonsense":
			fmt.Println("Hello, world!")
			kind = ""
		case kind == "endless":
			fmt.Println(strings.Repeat("x", agent.MaxPipeLine+1))
			kind = "deaf"
		}
		switch {
		case m.Start != nil:
			_ = out.Encode(agent.FromAssist{Event: &protocol.Event{
				Kind: protocol.EventSessionAction, Because: []protocol.EntryID{"its own idea"},
				Args: map[string]string{"session": m.Start.Session, "left_ms": strconv.FormatInt(m.LeftMS, 10)},
			}})
		case kind == "deaf":
		case m.Signal != nil:
			_ = out.Encode(agent.FromAssist{Signal: &protocol.Signal{Version: 1, Session: "another", Kind: "answer"}})
			_ = out.Encode(agent.FromAssist{Signal: &protocol.Signal{Version: 1, Session: m.Signal.Session, Kind: "answer", Body: m.Signal.Body}})
		case m.End != "":
			_ = out.Encode(agent.FromAssist{Ended: m.End})
			return
		}
	}
	if kind == "deaf" {
		select {} // not even the end of its input ends it
	}
}

// world is a starter with what surrounds it.
type world struct {
	t       *testing.T
	starter *session.Starter
	events  chan *protocol.Event
	signals chan protocol.Signal
	now     time.Time // by the agent's clock; zero: the true time
	full    error     // of the log
}

func (w *world) Event(_ context.Context, e *protocol.Event) (protocol.EntryID, error) {
	if w.full != nil {
		return "", w.full
	}
	w.events <- e
	return protocol.EntryID("entry-of-" + e.Kind), nil
}

func (w *world) Telemetry(protocol.Kind, []byte) error { return nil }

func newWorld(t *testing.T, program ...string) *world {
	t.Helper()
	w := &world{t: t, events: make(chan *protocol.Event, 16), signals: make(chan protocol.Signal, 16)}
	var err error
	w.starter, err = session.New(session.Options{
		Command: program, Log: w,
		Now: func() time.Time {
			if w.now.IsZero() {
				return time.Now()
			}
			return w.now
		},
		Send: func(s protocol.Signal) bool {
			w.signals <- s
			return true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// assistProgram starts this binary as an assist program.
func assistProgram(t *testing.T, kind string) []string {
	t.Setenv("HEARTH_TEST_ASSIST", "1")
	return []string{os.Args[0], kind}
}

// until is a command for a session that was issued now and lasts for so long.
func until(d time.Duration) *agent.Command {
	now := time.Now()
	return &agent.Command{Command: protocol.Command{
		ID: "cmd-1", IssuedAt: now.Unix(), Because: []protocol.EntryID{"consent"},
		Assist: &protocol.Assist{Session: "s1", EndsAt: now.Add(d).Unix()},
	}}
}

// run runs a session until the returned function has waited for its end.
func (w *world) run(ctx context.Context, c *agent.Command) (ended func() error) {
	done := make(chan error, 1)
	go func() { done <- w.starter.Run(ctx, c) }()
	return func() error {
		w.t.Helper()
		select {
		case err := <-done:
			return err
		case <-time.After(20 * time.Second):
			w.t.Fatal("the session does not end")
			return nil
		}
	}
}

// event waits for the next event.
func (w *world) event(kind protocol.EventKind, because protocol.EntryID, args map[string]string) {
	w.t.Helper()
	select {
	case e := <-w.events:
		if e.Kind != kind || len(e.Because) != 1 || e.Because[0] != because {
			w.t.Errorf("%s because of %v, want %s because of %s", e.Kind, e.Because, kind, because)
		}
		for k, v := range args {
			if e.Args[k] != v {
				w.t.Errorf("%s: %s is %q, want %q", kind, k, e.Args[k], v)
			}
		}
	case <-time.After(20 * time.Second):
		w.t.Fatalf("no %s", kind)
	}
}

const startedID = protocol.EntryID("entry-of-" + protocol.EventSessionStarted)

// begun waits until the assist process is at work.
func (w *world) begun() {
	w.t.Helper()
	w.event(protocol.EventSessionStarted, "consent", map[string]string{"session": "s1", "command": "cmd-1"})
	w.event(protocol.EventSessionAction, startedID, map[string]string{"session": "s1"})
}

// over checks what is said of the end.
func (w *world) over(err error, reason string) {
	w.t.Helper()
	if err != nil {
		w.t.Error(err)
	}
	w.event(protocol.EventSessionEnded, startedID, map[string]string{"session": "s1", "command": "cmd-1", "reason": reason})
	if s := <-w.signals; s.Session != "s1" || s.Kind != "end" || s.Body != reason {
		w.t.Errorf("the browser is told %+v, want the end: %s", s, reason)
	}
	if n := len(w.events) + len(w.signals); n != 0 {
		w.t.Errorf("%d more events and signals", n)
	}
}

func TestSignalsOfTheSessionPassBothWaysAndAnEndEndsIt(t *testing.T) {
	w := newWorld(t, assistProgram(t, "good")...)
	ended := w.run(t.Context(), until(time.Minute))
	w.begun()
	w.starter.Signal(protocol.Signal{Session: "another", Kind: "end"})
	w.starter.Signal(protocol.Signal{Session: "s1", Kind: "offer", Body: "sdp"})
	if s := <-w.signals; s != (protocol.Signal{Version: 1, Session: "s1", Kind: "answer", Body: "sdp"}) {
		t.Errorf("answered %+v", s)
	}
	w.starter.Signal(protocol.Signal{Session: "s1", Kind: "end", Body: "withdrawn"})
	w.over(ended(), "withdrawn")
	w.starter.Signal(protocol.Signal{Session: "s1", Kind: "end"}) // of a session that is over
}

func TestThereIsOneSessionAtATime(t *testing.T) {
	w := newWorld(t, assistProgram(t, "good")...)
	for range 2 { // after one is over there may be another
		ended := w.run(t.Context(), until(time.Minute))
		w.begun()
		second := until(time.Minute)
		second.Assist.Session = "s2"
		if err := w.starter.Run(t.Context(), second); !errors.Is(err, session.ErrBusy) {
			t.Errorf("a second session: %v", err)
		}
		w.starter.Signal(protocol.Signal{Session: "s2", Kind: "end"}) // must not end the first
		w.starter.Signal(protocol.Signal{Session: "s1", Kind: "end"})
		w.over(ended(), "ended")
	}
}

func TestASessionThatCannotStartIsAnErrorAndLeavesNoTrace(t *testing.T) {
	full := errors.New("disk full")
	for _, c := range []struct {
		name    string
		program []string
		lasts   time.Duration
		log     error
		want    error
	}{
		{name: "no program", lasts: time.Minute, want: session.ErrUnavailable},
		{name: "a program that is not there", program: []string{"/nowhere/hearth-assist"}, lasts: time.Minute, want: os.ErrNotExist},
		{name: "an end that has passed", program: []string{"/nowhere/hearth-assist"}, lasts: -time.Second},
		{name: "a start that cannot be recorded", program: assistProgram(t, "deaf"), lasts: time.Minute, log: full, want: full},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.program...)
			w.full = c.log
			for range 2 { // the first must not leave the place taken
				err := w.run(t.Context(), until(c.lasts))()
				if err == nil || errors.Is(err, session.ErrBusy) || (c.want != nil && !errors.Is(err, c.want)) {
					t.Errorf("%v, want %v", err, c.want)
				}
			}
			if n := len(w.events) + len(w.signals); n != 0 {
				t.Errorf("%d events and signals of a session that never was", n)
			}
		})
	}
}

func TestAnAssistProcessThatDoesNotEndIsKilledAfterAGrace(t *testing.T) {
	for name, end := range map[string]func(w *world, stop func()){
		"told by the cloud": func(w *world, _ func()) {
			w.starter.Signal(protocol.Signal{Session: "s1", Kind: "end"})
			w.starter.Signal(protocol.Signal{Session: "s1", Kind: "end"}) // does not prolong its life
		},
		"the agent stops": func(_ *world, stop func()) { stop() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, assistProgram(t, "deaf")...)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			ended := w.run(ctx, until(time.Hour))
			w.begun()
			begin := time.Now()
			end(w, stop)
			err := ended()
			if took := time.Since(begin); took < 1900*time.Millisecond || took > 5*time.Second {
				t.Errorf("killed after %s", took)
			}
			w.over(err, "assist_failed")
		})
	}
}

func TestWhenTheAgentStopsTheSessionEndsInOrder(t *testing.T) {
	w := newWorld(t, assistProgram(t, "good")...)
	ctx, stop := context.WithCancel(t.Context())
	ended := w.run(ctx, until(time.Minute))
	w.begun()
	stop()
	w.over(ended(), "agent_stopped")
}

func TestAnAssistProcessThatEndsWithoutAWordHasFailed(t *testing.T) {
	w := newWorld(t, assistProgram(t, "mute")...)
	err := w.run(t.Context(), until(time.Minute))()
	w.event(protocol.EventSessionStarted, "consent", nil)
	w.over(err, "assist_failed")
}

func TestALineThatIsNoJSONIsPassedOver(t *testing.T) {
	w := newWorld(t, assistProgram(t, "nonsense")...)
	ended := w.run(t.Context(), until(time.Minute))
	w.begun()
	w.starter.Signal(protocol.Signal{Session: "s1", Kind: "end"})
	w.over(ended(), "ended")
}

func TestALineThatIsTooLongEndsTheSession(t *testing.T) {
	w := newWorld(t, assistProgram(t, "endless")...)
	err := w.run(t.Context(), until(time.Hour))()
	w.event(protocol.EventSessionStarted, "consent", nil)
	w.over(err, "assist_failed")
}

func TestHowLongASessionMayLastIsBoundByTheTimeItIsAndByTheLifeOfItsCommand(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		name string
		off  time.Duration // of the time that the agent goes by from the true one
		want time.Duration
	}{
		{"it is a minute later", time.Minute, 29 * time.Minute},
		{"the clock is behind by years", -20 * 365 * day, 30 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, assistProgram(t, "good")...)
			command := until(30 * time.Minute)
			w.now = time.Unix(command.IssuedAt, 0).Add(c.off)
			ended := w.run(t.Context(), command)
			w.event(protocol.EventSessionStarted, "consent", nil)
			w.event(protocol.EventSessionAction, startedID, map[string]string{"left_ms": strconv.FormatInt(c.want.Milliseconds(), 10)})
			w.starter.Signal(protocol.Signal{Session: "s1", Kind: "end"})
			w.over(ended(), "ended")
		})
	}
	t.Run("the clock is ahead by years", func(t *testing.T) {
		w := newWorld(t, assistProgram(t, "good")...)
		w.now = time.Now().Add(20 * 365 * day)
		if err := w.run(t.Context(), until(30*time.Minute))(); err == nil || len(w.events) != 0 {
			t.Errorf("%v, %d events", err, len(w.events))
		}
	})
}

func TestAnAssistProcessThatOutlivesTheSessionIsKilled(t *testing.T) {
	w := newWorld(t, assistProgram(t, "deaf")...)
	command := until(30 * time.Minute)
	w.now = time.Unix(command.Assist.EndsAt, 0).Add(-time.Second)
	begin := time.Now()
	ended := w.run(t.Context(), command)
	w.begun()
	err := ended()
	if took := time.Since(begin); took < 2900*time.Millisecond || took > 6*time.Second {
		t.Errorf("killed after %s, a second was left and two are its grace", took)
	}
	w.over(err, "assist_failed")
}

func TestOptionsAreChecked(t *testing.T) {
	whole := session.Options{Now: time.Now, Log: &world{}, Send: func(protocol.Signal) bool { return true }}
	for name, change := range map[string]func(*session.Options){
		"no Now":  func(o *session.Options) { o.Now = nil },
		"no Log":  func(o *session.Options) { o.Log = nil },
		"no Send": func(o *session.Options) { o.Send = nil },
	} {
		o := whole
		change(&o)
		if _, err := session.New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := session.New(whole); err != nil {
		t.Error(err)
	}
}
