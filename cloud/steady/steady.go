// Package steady tells a clock that runs from one that was set to another age.
//
// Timers that fire years too early delete what is to be kept, and records dated years ahead hide what is
// new. So while the wall clock is more than Most away from where it should be by the monotonic one, it is
// not believed: nothing is taken in and no timer fires, and devices keep what they have. A clock that stays
// there for Hold is believed again, since somebody may have set right one that was always wrong.
//
// The last believed time is kept in a file, so that a start at a wrong time is a step too.
package steady

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// Most is how far the clock may step: further than summer time, zones and NTP, less than any retention.
	Most = 24 * time.Hour
	// Off is how much later than the last believed time a start may be.
	Off = 30 * 24 * time.Hour
	// Hold is how long a step must last until it is believed.
	Hold = time.Hour
	// keep is how often the believed time is written down.
	keep = time.Minute
)

// Options configures a Clock. Path is required.
type Options struct {
	Path    string               // of the file that keeps the last believed time, in seconds since 1970
	Wall    func() time.Time     // nil means time.Now
	Elapsed func() time.Duration // monotonic time since some fixed moment; nil means that of time.Now
	Logger  *slog.Logger         // nil discards
}

// Clock watches the wall clock. It is safe for concurrent use.
type Clock struct {
	opts Options

	mu      sync.Mutex
	base    time.Time     // where the wall clock should be at elapsed 0
	step    time.Duration // how far away it is from there, and since when; 0 when it is not
	since   time.Duration
	written time.Duration // when the file was
}

// New reads the file, if there is one.
func New(opts Options) (*Clock, error) {
	if opts.Wall == nil {
		opts.Wall = time.Now
	}
	if opts.Elapsed == nil {
		start := time.Now()
		opts.Elapsed = func() time.Duration { return time.Since(start) }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Clock{opts: opts, written: opts.Elapsed() - keep}
	wall := opts.Wall().Round(0)
	c.base = wall.Add(-opts.Elapsed())
	b, err := os.ReadFile(opts.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("last believed time: %w", err)
	}
	s, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return c, nil // a power cut may have left it empty
	}
	if last := time.Unix(s, 0); wall.Before(last.Add(-Most)) || wall.After(last.Add(Off)) {
		c.base = last.Add(-opts.Elapsed())
	}
	return c, nil
}

// Steady tells whether the wall clock is to be believed.
func (c *Clock) Steady() bool {
	_, ok := c.Now()
	return ok
}

// Now returns what the wall clock shows, which is to be believed; or, with false, where it should be. Who
// asks for both at once cannot be caught by a step in between.
func (c *Clock) Now() (now time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, elapsed := c.opts.Wall().Round(0), c.opts.Elapsed()
	step := wall.Sub(c.base.Add(elapsed))
	switch {
	case step.Abs() <= Most:
		if c.step != 0 {
			c.opts.Logger.Warn("clock is right again", "off", c.step)
		}
	case c.step == 0 || (step-c.step).Abs() > Most:
		c.step, c.since = step, elapsed
		c.opts.Logger.Error("clock stepped and is not believed: nothing is taken in until it is right, or has stayed so", "off", step, "for", Hold)
		return c.base.Add(elapsed), false
	case elapsed-c.since < Hold:
		return c.base.Add(elapsed), false
	default:
		c.opts.Logger.Warn("clock is believed", "off", step)
	}
	c.base, c.step = wall.Add(-elapsed), 0
	if elapsed-c.written >= keep {
		c.written = elapsed
		if err := c.write(wall); err != nil {
			c.opts.Logger.Warn("time not kept", "error", err)
		}
	}
	return wall, true
}

// write replaces the file. It need not survive a power cut: an older time, or none, does as well.
func (c *Clock) write(wall time.Time) error {
	fresh := filepath.Join(filepath.Dir(c.opts.Path), "."+filepath.Base(c.opts.Path))
	if err := os.WriteFile(fresh, strconv.AppendInt(nil, wall.Unix(), 10), 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, c.opts.Path)
}
