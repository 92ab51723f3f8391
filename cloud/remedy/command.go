package remedy

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Queues of the package.
const (
	QueueCommand = "command"         // send a command; for Sender.Send
	QueueExpire  = "command-expired" // look whether it was answered; for Remedy.Expire
)

// Times of a command. A device that is there answers within seconds; one that is away gets it again and
// again until it expires, since it keeps no session at the broker.
const (
	CommandLife = 3 * time.Minute
	firstRepeat = 4 * time.Second // doubled for each one after
	maxRepeat   = 30 * time.Second
	graceAfter  = 30 * time.Second // for the answer to come in, after all that the command allows
)

// command is one command to one device, until it was answered.
type command struct {
	Home     string             `json:"home"`
	ID       string             `json:"id"`
	Device   string             `json:"device"`
	Plan     string             `json:"plan"`
	Verb     protocol.Verb      `json:"verb"`
	Counter  uint64             `json:"counter"`
	Choice   map[string]string  `json:"choice,omitempty"`
	Because  []protocol.EntryID `json:"because"`
	Assist   *protocol.Assist   `json:"assist,omitempty"`
	Issued   time.Time          `json:"issued"`
	Expires  time.Time          `json:"expires"`
	Answered bool               `json:"answered"` // an event of the device named it
	Over     bool               `json:"over"`     // its last event came, or it expired
}

var commands = store.NewTable("commands", store.Spec[command]{
	Key:   store.Columns{store.Text("home"), store.Text("command")},
	KeyOf: func(c *command) store.Key { return store.Key{c.Home, c.ID} },
})

// counter is the last number given to a device's commands.
type counter struct {
	Home   string `json:"home"`
	Device string `json:"device"`
	Last   uint64 `json:"last"`
}

var counters = store.NewTable("command_counters", store.Spec[counter]{
	Key:   store.Columns{store.Text("home"), store.Text("device")},
	KeyOf: func(c *counter) store.Key { return store.Key{c.Home, c.Device} },
})

// sentID is the entry that says a command was sent. It is known before it is written, so that the command
// can carry it: what the device then does names it as its cause.
func sentID(command string) protocol.EntryID { return protocol.EntryID("sent-" + command) }

// commandOf returns the command that an event of a device is about, or "".
func commandOf(e *cloud.Entry) string {
	if id := e.Args["command"]; id != "" {
		return id
	}
	for _, b := range e.Because {
		if id, ok := strings.CutPrefix(string(b), "sent-"); ok {
			return id
		}
	}
	return ""
}

// issue writes a command and enqueues it. because is the entry that it follows from.
func (r *Remedy) issue(tx store.Tx, home, device string, p signed, choice map[string]string, assist *protocol.Assist, because protocol.EntryID) (command, error) {
	now := r.now().UTC()
	n, err := counters.Get(tx, home, device)
	if errors.Is(err, store.ErrNotFound) {
		// Above anything a device may remember from before its home's rows were made anew.
		n = counter{Home: home, Device: device, Last: uint64(now.Unix())}
	} else if err != nil {
		return command{}, err
	}
	n.Last++
	if err := counters.Put(tx, &n); err != nil {
		return command{}, err
	}
	c := command{
		Home: home, ID: cloud.NewID(), Device: device, Plan: p.ID, Verb: p.Verb, Counter: n.Last,
		Choice: choice, Because: []protocol.EntryID{because}, Assist: assist,
		Issued: now, Expires: now.Add(CommandLife).Truncate(time.Second),
	}
	if err := commands.Insert(tx, &c); err != nil {
		return command{}, err
	}
	if err := enqueue(tx, QueueCommand, c.ID, time.Time{}, job{home, c.ID, 0}); err != nil {
		return command{}, err
	}
	late := c.Expires.Add(time.Duration(p.WithinS)*time.Second + graceAfter)
	return c, enqueue(tx, QueueExpire, c.ID, late, job{home, c.ID, 0})
}

type job struct {
	Home, Command string
	Turn          int
}

func enqueue(tx store.Tx, queue, id string, due time.Time, j job) error {
	b, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", queue, err)
	}
	return store.Enqueue(tx, store.Job{Queue: queue, ID: id, Payload: b, Due: due})
}

// answered marks a command as answered by the device; over says that nothing more will come of it. It
// returns the command; ok is false when the entry is about none of ours.
func answered(tx store.Tx, e *cloud.Entry, over bool) (c command, ok bool, err error) {
	id := commandOf(e)
	if id == "" {
		return c, false, nil
	}
	c, err = commands.Get(tx, e.Home, id)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalid) { // the id comes from a device
		return c, false, nil
	}
	if err != nil || c.Device != e.Actor.ID && e.Actor.Type == cloud.RefDevice {
		return c, false, err
	}
	if c.Answered && (c.Over || !over) {
		return c, true, nil
	}
	c.Answered, c.Over = true, c.Over || over
	return c, true, commands.Put(tx, &c)
}

// Sender signs commands with the service's online key and sends them to devices.
type Sender struct {
	DB    store.DB
	Plans map[string]*Plans // by tenant
	Key   crypto.Signer     // Ed25519; the devices learned its public half when they enrolled
	Now   func() time.Time  // nil is time.Now

	// Publish hands a message to a device, at most once. An error means that the device is not there.
	Publish func(ctx context.Context, tenant, device string, c protocol.Channel, payload []byte) error
	// Log appends to the timeline.
	Log func(tx store.Tx, e cloud.Entry) error
}

// Send is the work of QueueCommand: it sends a command once more unless it was answered or is over, and
// enqueues the next time. The first time that it went out is an entry.
func (s *Sender) Send(ctx context.Context, j store.Job) error {
	var work job
	if err := json.Unmarshal(j.Payload, &work); err != nil {
		return fmt.Errorf("read job of queue %s: %w", QueueCommand, err)
	}
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	var c command
	err := s.DB.View(ctx, j.Tenant, func(tx store.Tx) (err error) {
		c, err = commands.Get(tx, work.Home, work.Command)
		return err
	})
	at := now()
	if errors.Is(err, store.ErrNotFound) || err == nil && (c.Answered || c.Over || !at.Before(c.Expires)) {
		return nil
	}
	if err != nil {
		return err
	}
	b, err := s.sign(j.Tenant, &c)
	if err != nil {
		return err
	}
	sendErr := s.Publish(ctx, j.Tenant, c.Device, protocol.DownCommand, b)
	return s.DB.Update(ctx, j.Tenant, func(tx store.Tx) error {
		wait := min(firstRepeat<<min(work.Turn, 8), maxRepeat)
		next := job{work.Home, work.Command, work.Turn + 1}
		if err := enqueue(tx, QueueCommand, fmt.Sprintf("%s-%d", c.ID, next.Turn), at.Add(wait), next); err != nil {
			return err
		}
		if sendErr != nil {
			return nil // it is away; the next turn or the end of the command's life follows
		}
		return s.Log(tx, cloud.Entry{
			ID: sentID(c.ID), Home: c.Home, At: at, Kind: cloud.KindCommandSent,
			Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: c.Device}, {Type: cloud.RefCommand, ID: c.ID}},
			Actor:    self, Args: map[string]string{"command": c.ID, "plan": c.Plan}, Because: c.Because,
		})
	})
}

func (s *Sender) sign(tenant string, c *command) ([]byte, error) {
	plans := s.Plans[tenant]
	if plans == nil {
		return nil, fmt.Errorf("sign command: no plans of tenant %s", tenant)
	}
	p, ok := plans.byID(c.Plan)
	if !ok {
		return nil, fmt.Errorf("sign command: plan %s is not there any more", c.Plan)
	}
	b, err := protocol.Marshal(&protocol.Command{
		Version: protocol.Version, ID: c.ID, Tenant: tenant, Device: c.Device, Counter: c.Counter,
		IssuedAt: c.Issued.Unix(), ExpiresAt: c.Expires.Unix(), Plan: p.bytes, Choice: c.Choice,
		Because: []protocol.EntryID{sentID(c.ID)}, Assist: c.Assist,
	})
	if err != nil {
		return nil, err
	}
	return protocol.Sign(protocol.PurposeCommand, b, s.Key)
}

// Expire is the work of QueueExpire: a command that the device did not answer becomes an entry.
func (r *Remedy) Expire(tx store.Tx, payload []byte, log func(store.Tx, cloud.Entry) error) error {
	var work job
	if err := json.Unmarshal(payload, &work); err != nil {
		return fmt.Errorf("read job of queue %s: %w", QueueExpire, err)
	}
	c, err := commands.Get(tx, work.Home, work.Command)
	if errors.Is(err, store.ErrNotFound) || err == nil && c.Over {
		return nil
	}
	if err != nil {
		return err
	}
	if c.Answered && c.Verb != protocol.VerbFix {
		return nil // it took the command; a session has its own end
	}
	c.Over = true
	if err := commands.Put(tx, &c); err != nil {
		return err
	}
	e := cloud.Entry{
		ID: protocol.EntryID("expired-" + c.ID), Home: c.Home, Kind: cloud.KindCommandExpired,
		Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: c.Device}, {Type: cloud.RefCommand, ID: c.ID}},
		Actor:    self, Args: map[string]string{"command": c.ID, "plan": c.Plan}, Because: c.Because,
	}
	if c.Assist != nil {
		e.Args["session"] = c.Assist.Session
	}
	return log(tx, e)
}
