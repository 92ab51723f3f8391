// Package command sends signed commands to devices until they answer.
//
// Send writes the command and a job in the transaction that decides on it. The job publishes the command
// and comes back, a little later each time, until an event of the device names the command or it expires.
// The broker's PUBACK plays no part: a command is done when its device says so on the timeline.
//
//	Send -> waiting -> published, again and again -> answered by an event
//	                                              -> expired: entry "command.expired"
package command

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Queue is where commands wait to be published; its handler is Sender.Deliver.
const Queue = "command"

// Life is how long a command is valid when its sender does not say.
const Life = 10 * time.Minute

// The pauses between publishes of one command: a device that was away is reached soon after it is back,
// since Came publishes at once.
const (
	firstPause = 5 * time.Second
	maxPause   = time.Minute
)

// command is one command and what became of it.
type command struct {
	Home     string             `json:"home"`
	Device   string             `json:"device"`
	ID       string             `json:"id"`
	Counter  uint64             `json:"counter"`
	Plan     string             `json:"plan"`
	Issued   time.Time          `json:"issued"`
	Expires  time.Time          `json:"expires"`
	Signed   []byte             `json:"signed"`
	Because  []protocol.EntryID `json:"because"`
	State    string             `json:"state"`            // "waiting", "answered" or "expired"
	Sent     *time.Time         `json:"sent,omitempty"`   // first publish
	Answer   protocol.EntryID   `json:"answer,omitempty"` // the entry that answered it first
	Answered *time.Time         `json:"answered,omitempty"`
}

const (
	waiting  = "waiting"
	answered = "answered"
	expired  = "expired"
)

var commands = store.NewTable("commands", store.Spec[command]{
	Key:   store.Columns{store.Text("home"), store.Text("device"), store.Text("command")},
	KeyOf: func(c *command) store.Key { return store.Key{c.Home, c.Device, c.ID} },
	Indexes: []store.Index[command]{{
		Name: "by_waiting",
		On:   store.Columns{store.Text("home"), store.Text("device"), store.Int("counter")},
		Of: func(c *command) store.Key {
			if c.State != waiting {
				return nil
			}
			return store.Key{c.Home, c.Device, c.Counter}
		},
	}},
})

// counter is the last counter that was given out for a device.
type counter struct {
	Home   string `json:"home"`
	Device string `json:"device"`
	Last   uint64 `json:"last"`
}

var counters = store.NewTable("command_counters", store.Spec[counter]{
	Key:   store.Columns{store.Text("home"), store.Text("device")},
	KeyOf: func(c *counter) store.Key { return store.Key{c.Home, c.Device} },
})

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{commands, counters} }

// Timeline appends an entry.
type Timeline interface {
	Append(tx store.Tx, e cloud.Entry) error
}

// Options configures a Sender. All but Clock are required.
type Options struct {
	DB       store.DB
	Key      crypto.Signer // Ed25519; devices learn its public half when they enrol
	Timeline Timeline
	// Publish hands a signed command to the broker; false when the device is known not to be there.
	Publish func(ctx context.Context, tenant, device string, signed []byte) bool
	Clock   func() time.Time // nil means time.Now
}

// Sender sends commands. It is safe for concurrent use.
type Sender struct {
	opts Options
	now  func() time.Time
}

// New checks the options.
func New(opts Options) (*Sender, error) {
	if opts.DB == nil || opts.Key == nil || opts.Timeline == nil || opts.Publish == nil {
		return nil, errors.New("command: DB, Key, Timeline and Publish are required")
	}
	s := &Sender{opts: opts, now: opts.Clock}
	if s.now == nil {
		s.now = time.Now
	}
	return s, nil
}

// job is the payload of a job.
type job struct {
	Home   string `json:"home"`
	Device string `json:"device"`
	ID     string `json:"id"`
	Try    int    `json:"try"`
}

func enqueue(tx store.Tx, j job, due time.Time) error {
	payload, err := json.Marshal(j)
	if err != nil {
		return err
	}
	id := j.Device + "/" + j.ID + "/" + strconv.Itoa(j.Try)
	return store.Enqueue(tx, store.Job{Queue: Queue, ID: id, Payload: payload, Due: due})
}

// Send signs and keeps a command for a device of a home, to be published once tx is committed. The caller
// gives Device, Plan, and where it likes ID, Choice, Because, Assist and ExpiresAt; Send fills in the rest,
// an ID included, and returns it whole. planID names the plan for people.
func (s *Sender) Send(tx store.Tx, home, planID string, c protocol.Command) (protocol.Command, error) {
	now := s.now().UTC()
	n, err := counters.Get(tx, home, c.Device)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return c, err
	}
	// Not 1, 2, 3: a device that knows a higher counter than a restored backup must still be reachable.
	n = counter{Home: home, Device: c.Device, Last: max(n.Last+1, uint64(now.UnixMilli()))}
	if err := counters.Put(tx, &n); err != nil {
		return c, err
	}
	c.Version, c.Tenant, c.Counter, c.IssuedAt = protocol.Version, tx.Tenant(), n.Last, now.Unix()
	if c.ID == "" {
		c.ID = cloud.NewID()
	}
	if c.ExpiresAt == 0 {
		c.ExpiresAt = now.Add(Life).Unix()
	}
	payload, err := protocol.Marshal(&c)
	if err != nil {
		return c, err
	}
	if err := protocol.Unmarshal(payload, new(protocol.Command)); err != nil {
		return c, fmt.Errorf("send command %s: %w", c.ID, err)
	}
	signed, err := protocol.Sign(protocol.PurposeCommand, payload, s.opts.Key)
	if err != nil {
		return c, err
	}
	row := command{
		Home: home, Device: c.Device, ID: c.ID, Counter: c.Counter, Plan: planID,
		Issued: now, Expires: time.Unix(c.ExpiresAt, 0).UTC(), Signed: signed, Because: c.Because, State: waiting,
	}
	if err := commands.Insert(tx, &row); err != nil {
		return c, fmt.Errorf("send command %s: %w", c.ID, err)
	}
	return c, enqueue(tx, job{home, c.Device, c.ID, 0}, time.Time{})
}

// Answered is called in the transaction that commits an event of a device which names a command. The
// first such event ends the sending; a command that nobody here sent is none of our business.
func (s *Sender) Answered(tx store.Tx, home, device, id string, by protocol.EntryID) error {
	if protocol.CheckID("command", id) != nil {
		return nil
	}
	c, err := commands.Get(tx, home, device, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || c.State == answered {
		return err
	}
	now := s.now().UTC()
	c.State, c.Answer, c.Answered = answered, by, &now
	return commands.Put(tx, &c)
}

// Deliver is the handler of Queue: one publish, and the next one scheduled.
func (s *Sender) Deliver(ctx context.Context, j store.Job) error {
	var at job
	if err := json.Unmarshal(j.Payload, &at); err != nil {
		return fmt.Errorf("deliver command: payload: %w", err)
	}
	var c command
	err := s.opts.DB.View(ctx, j.Tenant, func(tx store.Tx) (err error) {
		c, err = commands.Get(tx, at.Home, at.Device, at.ID)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil // its home was erased
	}
	if err != nil {
		return err
	}
	sent := c.State == waiting && s.now().Before(c.Expires) && s.opts.Publish(ctx, j.Tenant, c.Device, c.Signed)
	return s.opts.DB.Update(ctx, j.Tenant, func(tx store.Tx) error {
		return s.settle(tx, at, sent)
	})
}

// settle records a publish, or the end, and schedules the next publish.
func (s *Sender) settle(tx store.Tx, at job, sent bool) error {
	c, err := commands.Get(tx, at.Home, at.Device, at.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now := s.now().UTC()
	if sent && c.Sent == nil {
		c.Sent = &now
		if err := commands.Put(tx, &c); err != nil {
			return err
		}
		if err := s.opts.Timeline.Append(tx, s.entry(&c, cloud.KindCommandSent, now)); err != nil {
			return err
		}
	}
	if c.State != waiting {
		return nil
	}
	if !now.Before(c.Expires) {
		c.State = expired
		if err := commands.Put(tx, &c); err != nil {
			return err
		}
		return s.opts.Timeline.Append(tx, s.entry(&c, cloud.KindCommandExpired, now))
	}
	pause := min(firstPause<<min(at.Try, 10), maxPause)
	at.Try++
	due := now.Add(pause)
	if due.After(c.Expires) {
		due = c.Expires
	}
	return enqueue(tx, at, due)
}

func (s *Sender) entry(c *command, kind cloud.Kind, at time.Time) cloud.Entry {
	return cloud.Entry{
		Home: c.Home, At: at, Kind: kind,
		Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: c.Device}, {Type: cloud.RefCommand, ID: c.ID}},
		Actor:    cloud.Ref{Type: cloud.RefService, ID: "gateway"},
		Args:     map[string]string{"command": c.ID, "plan": c.Plan},
		Because:  c.Because,
	}
}

// Came publishes what waits for a device that has just connected, oldest first, so that it need not wait
// for the next turn.
func (s *Sender) Came(ctx context.Context, tenant, home, device string) error {
	const atMost = 16
	var signed [][]byte
	err := s.opts.DB.View(ctx, tenant, func(tx store.Tx) error {
		for c, err := range commands.Scan(tx, store.Range{Index: "by_waiting", Prefix: store.Key{home, device}, Limit: atMost}) {
			if err != nil {
				return err
			}
			if s.now().Before(c.Expires) {
				signed = append(signed, c.Signed)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("commands that wait for a device: %w", err)
	}
	for _, b := range signed {
		s.opts.Publish(ctx, tenant, device, b)
	}
	return nil
}
