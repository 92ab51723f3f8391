package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/hearthline/hearthline/cloud/httpapi"
	"github.com/hearthline/hearthline/cmd/hearth-lab/chaos"
	"github.com/hearthline/hearthline/cmd/hearth-lab/fleet"
	"github.com/hearthline/hearthline/cmd/hearth-lab/person"
	"github.com/hearthline/hearthline/protocol"
)

const (
	liveEvents = 250              // of each kind
	liveWithin = 10 * time.Second // until each must have been shown; below httpapi.LookAgain, so that a wake brought it
	caughtUp   = httpapi.LookAgain
)

// Live is how long what happened took to every instance's screens: the slowest of the three counts.
type Live struct {
	Published  Passage `json:"device_publish"`   // from the device's PUBLISH
	Written    Passage `json:"written_on_a"`     // from sending the HTTP request, whose commit lies within
	AfterBreak float64 `json:"after_restart_ms"` // what was committed without a broker, from when it listened again
}

// Passage has times in milliseconds.
type Passage struct {
	Events int        `json:"events"`
	Told   [3]float64 `json:"told_p50_p95_p99_ms"`  // the event is on the stream
	Shown  [3]float64 `json:"shown_p50_p95_p99_ms"` // and the page that was then asked for has come
}

func (l Live) String() string {
	var b strings.Builder
	b.WriteString("live screens, the last of three instances, under the fleet's load (p50 p95 p99, ms)\n")
	line := func(name string, p Passage) {
		fmt.Fprintf(&b, "  %-22s  told %.0f %.0f %.0f  shown %.0f %.0f %.0f  of %d events\n", name, p.Told[0], p.Told[1], p.Told[2], p.Shown[0], p.Shown[1], p.Shown[2], p.Events)
	}
	line("a device publishes", l.Published)
	line("written over HTTP on a", l.Written)
	fmt.Fprintf(&b, "  committed while the broker was gone: shown %.1f s after it was back\n", l.AfterBreak/1000)
	return b.String()
}

// screen is a person who watches the home of the measurement through one instance.
type screen struct {
	name  string
	who   *person.Person
	home  string
	told  chan time.Time // when the stream said that something changed
	ended chan error
}

// sight is when a screen was told of an entry and when it had it.
type sight struct{ told, shown time.Time }

// screens signs in at every instance and watches until ctx ends.
func (c *cluster) screens(ctx context.Context) ([]*screen, error) {
	password, err := os.ReadFile(filepath.Join(c.dir, "password"))
	if err != nil {
		return nil, err
	}
	var all []*screen
	for _, i := range c.instances {
		s := &screen{name: i.name, home: "home-" + strconv.Itoa(c.devices+1), told: make(chan time.Time, 64), ended: make(chan error, 1)}
		if s.who, err = person.New("http://" + i.http); err != nil {
			return nil, err
		}
		if err := s.who.SignIn(ctx, "admin", strings.TrimSpace(string(password))); err != nil {
			return nil, err
		}
		go func() {
			s.ended <- s.who.Watch(ctx, "/v1/homes/"+s.home+"/events", func(string, string) error {
				select {
				case s.told <- time.Now():
				default: // so many wait that nobody looks
				}
				return nil
			})
		}()
		if _, err := s.next(ctx); err != nil { // the stream stands
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func (s *screen) next(ctx context.Context) (told time.Time, err error) {
	select {
	case told = <-s.told:
	case err = <-s.ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return told, err
}

// forget takes what the streams have said so far as seen.
func forget(screens []*screen) {
	for _, s := range screens {
		for len(s.told) > 0 {
			<-s.told
		}
	}
}

// shows waits until an event of the stream leads to a page with the text.
func (s *screen) shows(ctx context.Context, text string) (sight, error) {
	for {
		told, err := s.next(ctx)
		if err != nil {
			return sight{}, err
		}
		var page json.RawMessage
		if err := s.who.Get(ctx, "/v1/homes/"+s.home+"/entries", url.Values{"limit": {"10"}}, &page); err != nil {
			return sight{}, err
		}
		if bytes.Contains(page, []byte(strconv.Quote(text))) {
			return sight{told, time.Now()}, nil
		}
	}
}

// allShow waits until every screen shows the text, and returns the slowest's times.
func allShow(ctx context.Context, screens []*screen, text string, within time.Duration) (last sight, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	type result struct {
		sight
		err error
	}
	results := make(chan result)
	for _, s := range screens {
		go func() {
			seen, err := s.shows(ctx, text)
			if err != nil {
				err = fmt.Errorf("%s is not shown by instance %s within %s: %w", text, s.name, within, err)
			}
			results <- result{seen, err}
		}()
	}
	for range screens {
		r := <-results
		err = errors.Join(err, r.err)
		if r.told.After(last.told) {
			last.told = r.told
		}
		if r.shown.After(last.shown) {
			last.shown = r.shown
		}
	}
	return last, err
}

// passage lets happen one thing after the other and times how each reaches the screens.
func passage(ctx context.Context, screens []*screen, happen func(n int) (text string, err error)) (Passage, error) {
	var told, shown []time.Duration
	for n := range liveEvents {
		forget(screens)
		begun := time.Now()
		text, err := happen(n)
		if err != nil {
			return Passage{}, err
		}
		last, err := allShow(ctx, screens, text, liveWithin)
		if err != nil {
			return Passage{}, err
		}
		told, shown = append(told, last.told.Sub(begun)), append(shown, last.shown.Sub(begun))
	}
	return Passage{liveEvents, quantiles(told), quantiles(shown)}, nil
}

func quantiles(d []time.Duration) (q [3]float64) {
	slices.Sort(d)
	for i, p := range []int{50, 95, 99} {
		q[i] = float64(d[len(d)*p/100].Microseconds()) / 1000
	}
	return q
}

// watchLive measures with all instances up.
func (c *cluster) watchLive(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	screens, err := c.screens(ctx)
	if err != nil {
		return err
	}
	publish, leave, err := c.device()
	if err != nil {
		return err
	}
	defer leave()
	if c.live.Published, err = passage(ctx, screens, publish); err != nil {
		return err
	}
	note, err := screens[0].ticket(ctx)
	if err != nil {
		return err
	}
	c.live.Written, err = passage(ctx, screens, func(n int) (string, error) {
		text := "note " + strconv.Itoa(n)
		return text, note(text)
	})
	return err
}

// watchThroughRestart restarts the broker and writes on one instance while no wake can reach the others.
func (c *cluster) watchThroughRestart(ctx context.Context, pause func(time.Duration) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	screens, err := c.screens(ctx)
	if err != nil {
		return err
	}
	note, err := screens[0].ticket(ctx)
	if err != nil {
		return err
	}
	c.broker.Kill()
	err = pause(2 * time.Second)
	forget(screens)
	if err := errors.Join(err, note("nobody was woken"), c.broker.Start()); err != nil {
		return err
	}
	back := time.Now()
	last, err := allShow(ctx, screens, "nobody was woken", caughtUp)
	c.live.AfterBreak = float64(last.shown.Sub(back).Microseconds()) / 1000
	return errors.Join(err, pause(4*time.Second))
}

// ticket opens one and returns how notes are put on it.
func (s *screen) ticket(ctx context.Context) (note func(text string) error, err error) {
	var t httpapi.TicketView
	err = s.who.Post(ctx, "/v1/tickets", map[string]string{"home": s.home, "title": "Measured"}, &t)
	return func(text string) error {
		return s.who.Post(ctx, "/v1/tickets/"+t.ID+"/notes", map[string]string{"text": text}, nil)
	}, err
}

// device connects the one of the screens' home and returns how it publishes its nth event.
func (c *cluster) device() (publish func(n int) (entry string, err error), leave func(), err error) {
	name := chaos.Prefix + strconv.Itoa(c.devices+1)
	id, err := (&fleet.Lab{CA: c.authority, Tenant: chaos.Tenant, Broker: c.broker.Outer}).Identity(filepath.Join(c.dir, "screen"), name)
	if err != nil {
		return nil, nil, err
	}
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("ssl://" + id.Broker).SetTLSConfig(id.TLS()).SetClientID(name))
	if t := client.Connect(); !t.WaitTimeout(liveWithin) || t.Error() != nil {
		return nil, nil, fmt.Errorf("device %s connects: %w", name, t.Error())
	}
	begun := time.Now()
	event, err := protocol.Marshal(&protocol.Event{Version: protocol.Version, Kind: protocol.EventSymptomOver, Args: map[string]string{"metric": "lab.live"}})
	if err != nil {
		return nil, nil, err
	}
	return func(n int) (string, error) {
		sequence, mono, wall := uint64(n+1), time.Since(begun).Milliseconds(), time.Now().UnixMilli()
		payload, err := protocol.Marshal(&protocol.Batch{
			Version: protocol.Version, Epoch: 1, First: sequence, Boot: 1, SentMono: mono, SentWall: wall,
			Records: []protocol.Record{{Kind: protocol.KindEvent, Boot: 1, Mono: mono, Wall: wall, Span: 1, Body: event}},
		})
		if err != nil {
			return "", err
		}
		client.Publish(protocol.Topic(chaos.Tenant, name, protocol.UpEvent), 1, false, payload)
		return string(protocol.DeviceEntryID(name, 1, sequence)), nil
	}, func() { client.Disconnect(250) }, nil
}
