// Package session starts hearth-assist for one remote session and stands between it and the cloud: WebRTC
// costs megabytes and goroutines, so it lives in a process of its own that is gone with the session.
//
//	cloud ── down/assist ──▶ session ── lines of JSON on stdin  ──▶ hearth-assist ── WebRTC ── browser
//	      ◀── up/assist ────         ◀─ lines of JSON on stdout ──
//
// How long a session may last is settled when it starts: until its end by Options.Now, and no longer than from
// the command's issue to its end, which a clock that is behind cannot stretch. From there it is a timer, which
// no step of the clock moves; the assist process has one, and is killed soon after when it does not end.
package session

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
	"golang.org/x/sys/unix"
)

// ErrBusy is returned while another session runs: a home has one at a time.
var ErrBusy = errors.New("another remote session is running")

// ErrUnavailable is returned when no assist program is configured.
var ErrUnavailable = errors.New("this device has no assist program")

// Options configures a Starter. Now, Log and Send are required.
type Options struct {
	Now     func() time.Time           // the time by which sessions end (see agent.Clock)
	Command []string                   // program and arguments of hearth-assist; empty: no sessions on this device
	Log     agent.Log                  // takes the session's events
	Send    func(protocol.Signal) bool // publishes on up/assist
	Logger  *slog.Logger               // nil means discard
}

// Starter runs at most one session at a time. It is safe for concurrent use.
type Starter struct {
	opts    Options
	mu      sync.Mutex
	current *running
}

type running struct {
	id     string
	lines  chan agent.ToAssist
	ending chan struct{} // closed by the first End
	once   sync.Once
}

const endGrace = 2 * time.Second // from being told to end to being killed

// New checks the options.
func New(opts Options) (*Starter, error) {
	if opts.Now == nil || opts.Log == nil || opts.Send == nil {
		return nil, errors.New("session: Now, Log and Send are required")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Starter{opts: opts}, nil
}

// Signal passes one step of set-up to the running session, if it is the one that the signal names. "end"
// ends it.
func (s *Starter) Signal(sig protocol.Signal) {
	s.mu.Lock()
	r := s.current
	s.mu.Unlock()
	if r == nil || r.id != sig.Session {
		return
	}
	line := agent.ToAssist{Signal: &sig}
	if sig.Kind == "end" {
		line = agent.ToAssist{End: sig.Body}
		if line.End == "" {
			line.End = "ended"
		}
	}
	select {
	case r.lines <- line:
	default:
		s.opts.Logger.Warn("assist does not keep up; signal dropped", "kind", sig.Kind)
	}
	if line.End != "" {
		r.once.Do(func() { close(r.ending) })
	}
}

// Run starts the session that the command asks for and returns when it is over. Its begin and end are
// events; session.started has the command's causes, everything after it has session.started.
func (s *Starter) Run(ctx context.Context, c *agent.Command) error {
	r := &running{id: c.Assist.Session, lines: make(chan agent.ToAssist, 32), ending: make(chan struct{})}
	s.mu.Lock()
	if s.current != nil {
		s.mu.Unlock()
		return ErrBusy
	}
	s.current = r
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.current = nil
		s.mu.Unlock()
	}()
	if len(s.opts.Command) == 0 {
		return ErrUnavailable
	}
	ends := time.Unix(c.Assist.EndsAt, 0)
	left := min(ends.Sub(s.opts.Now()), ends.Sub(time.Unix(c.IssuedAt, 0)))
	if left <= 0 {
		return fmt.Errorf("session %s ended at %s", r.id, ends.UTC().Format(time.RFC3339))
	}

	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), left+endGrace)
	defer cancel()
	cmd := exec.CommandContext(within, s.opts.Command[0], s.opts.Command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // with what it may have started
	cmd.WaitDelay = time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := start(cmd); err != nil {
		return fmt.Errorf("start assist: %w", err)
	}
	started, err := s.opts.Log.Event(within, &protocol.Event{
		Kind: protocol.EventSessionStarted, Because: c.Because,
		Args: map[string]string{"session": r.id, "command": c.ID},
	})
	if err != nil {
		cancel()
		return errors.Join(err, cmd.Wait())
	}
	because := []protocol.EntryID{started}

	var wg sync.WaitGroup
	over := make(chan struct{})
	wg.Go(func() {
		s.feed(ctx, r, agent.ToAssist{Start: c.Assist, LeftMS: max(left.Milliseconds(), 1)}, in, over, cancel)
	})
	reason := s.listen(within, r, out, because)
	close(over)
	cancel()
	wg.Wait()
	if err := cmd.Wait(); reason == "" {
		reason = "assist_failed"
		s.opts.Logger.Warn("assist ended without a word", "error", err)
	}
	s.opts.Send(protocol.Signal{Version: protocol.Version, Session: r.id, Kind: "end", Body: reason})
	_, err = s.opts.Log.Event(context.WithoutCancel(ctx), &protocol.Event{
		Kind: protocol.EventSessionEnded, Because: because,
		Args: map[string]string{"session": r.id, "command": c.ID, "reason": reason},
	})
	return err
}

// feed writes to the assist process until it is over. An End, or the agent stopping, gives it endGrace.
func (s *Starter) feed(ctx context.Context, r *running, start agent.ToAssist, in io.WriteCloser, over <-chan struct{}, kill func()) {
	defer in.Close()
	enc := json.NewEncoder(in)
	if enc.Encode(start) != nil {
		return
	}
	grace := time.NewTimer(time.Hour)
	defer grace.Stop()
	grace.Stop()
	ending, stopping := r.ending, ctx.Done()
	for {
		select {
		case <-over:
			return
		case line := <-r.lines:
			if enc.Encode(line) != nil {
				return
			}
		case <-ending:
			ending = nil
			grace.Reset(endGrace)
		case <-stopping:
			stopping = nil
			_ = enc.Encode(agent.ToAssist{End: "agent_stopped"})
			grace.Reset(endGrace)
		case <-grace.C:
			kill()
			return
		}
	}
}

// listen takes what the assist process says until its output ends, and returns why it ended.
func (s *Starter) listen(ctx context.Context, r *running, out io.Reader, because []protocol.EntryID) (reason string) {
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 0, 4096), agent.MaxPipeLine)
	for lines.Scan() {
		var m agent.FromAssist
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			s.opts.Logger.Warn("assist speaks nonsense", "error", err)
			continue
		}
		switch {
		case m.Signal != nil && m.Signal.Session == r.id:
			s.opts.Send(*m.Signal)
		case m.Event != nil:
			m.Event.Because = because
			if _, err := s.opts.Log.Event(ctx, m.Event); err != nil {
				s.opts.Logger.Error("event lost", "kind", string(m.Event.Kind), "error", err)
			}
		case m.Ended != "":
			reason = m.Ended
		}
	}
	return reason
}

// start starts the program with the timer slack that Linux gives to all: it inherits that of the thread that
// starts it, and a frugal agent's may have more, which would make a session stutter.
func start(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 50_000, 0, 0, 0) // ns
	return cmd.Start()
}
