// Package external reaches devices through any MQTT 3.1.1 broker or cluster of brokers, for more than one
// hearth-cloud instance: it is the other form of gateway/broker.
//
// The lanes are a shared subscription, so the broker deals the messages to the instances in turn, and each
// is acknowledged to the broker only after its commit. A message that an instance had when it died is not
// redelivered by every broker, and need not be: the device sends it again until an Ack of ours covers it.
// Presence, signalling and wakes go to every instance.
//
//	$share/hearthline/hl/1/+/+/up/event, .../telemetry    to one instance, QoS 1, acknowledged after commit
//	$share/hearthline/hl/1/+/+/up/time                    to one instance, QoS 0
//	hl/1/+/+/state, hl/1/+/+/up/assist                    to all
//	hl/wake/{tenant}/{home}                               from one instance to all; both empty: look at everything
//
// The broker must bind a certificate to its subtree and to its client id; a configuration for mosquitto
// that does is in Mosquitto, and the tests hold a real one to it.
package external

import (
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/hearthline/hearthline/cloud/gateway/wake"
	"github.com/hearthline/hearthline/protocol"
)

// Mosquitto holds mosquitto.conf and its acl.
//
//go:embed mosquitto
var Mosquitto embed.FS

// User is the common name of the certificate that hearth-cloud shows to the broker.
const User = "hearth-cloud"

// Handler takes what comes from devices. Its methods are called one at a time.
type Handler interface {
	// Message takes a message of a lane. It may wait; done is to be called, from anywhere, when the message
	// needs no more work.
	Message(tenant, device string, lane protocol.Lane, payload []byte, done func())
	// State says that a device is there or gone; kept, that the broker kept this from before we connected.
	State(tenant, device string, s protocol.State, kept bool)
	// Time takes the question what time it is.
	Time(tenant, device string, ask protocol.TimeRequest)
	// Signal takes a step of a remote session.
	Signal(tenant, device string, s protocol.Signal)
}

// Options configures a Link. Broker, Instance and Handler are required.
type Options struct {
	Broker   string      // tls://host:port
	TLS      *tls.Config // with the certificate of User; nil for a broker without TLS
	Instance string      // client id, unique among the instances
	Handler  Handler
	Queue    int          // messages that wait to be published; 0 means 16,384
	Logger   *slog.Logger // nil discards
}

// Link is the connection of one instance to the broker. It implements wake.Waker. Its methods are safe
// for concurrent use.
type Link struct {
	opts   Options
	log    *slog.Logger
	client mqtt.Client
	out    chan outgoing
	local  wake.Local
	stats  Stats

	mu     sync.RWMutex
	online map[string]struct{} // "tenant/device"
}

type outgoing struct {
	topic   string
	qos     byte
	payload []byte
}

// Stats counts what happened since the start.
type Stats struct {
	Received atomic.Int64 // messages of lanes
	Foreign  atomic.Int64 // messages on topics that are not ours
	Dropped  atomic.Int64 // that could not be queued for publishing
	Lost     atomic.Int64 // connections
}

// New checks the options and connects to nothing.
func New(opts Options) (*Link, error) {
	if opts.Broker == "" || opts.Instance == "" || opts.Handler == nil {
		return nil, errors.New("external broker: Broker, Instance and Handler are required")
	}
	if err := protocol.CheckID("instance", opts.Instance); err != nil {
		return nil, fmt.Errorf("external broker: %w", err)
	}
	if opts.Queue == 0 {
		opts.Queue = 16 << 10
	}
	l := &Link{opts: opts, log: opts.Logger, out: make(chan outgoing, opts.Queue), online: map[string]struct{}{}}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.client = mqtt.NewClient(mqtt.NewClientOptions().
		AddBroker(opts.Broker).SetTLSConfig(opts.TLS).SetClientID(opts.Instance).
		SetProtocolVersion(4).SetCleanSession(true).SetAutoAckDisabled(true).SetOrderMatters(true).
		SetKeepAlive(20 * time.Second).SetPingTimeout(10 * time.Second).SetConnectTimeout(10 * time.Second).
		SetConnectRetry(true).SetConnectRetryInterval(time.Second).SetAutoReconnect(true).SetMaxReconnectInterval(5 * time.Second).
		SetOnConnectHandler(l.connected).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) {
			l.stats.Lost.Add(1)
			l.log.Warn("broker lost", "error", err)
		}))
	return l, nil
}

// Stats returns the live counters.
func (l *Link) Stats() *Stats { return &l.stats }

// Filters are what an instance subscribes to, with their QoS.
var Filters = map[string]byte{
	"$share/hearthline/hl/1/+/+/up/event":     1,
	"$share/hearthline/hl/1/+/+/up/telemetry": 1,
	"$share/hearthline/hl/1/+/+/up/time":      0,
	"hl/1/+/+/up/assist":                      0,
	"hl/1/+/+/state":                          1,
	wakeRoot + "+/+":                          0,
}

const wakeRoot = "hl/wake/"

// connected subscribes anew after every connect; the broker then tells the state of every device. Wakes of
// the meantime are lost, those for this instance and those from it, so that all are told to look.
func (l *Link) connected(c mqtt.Client) {
	t := c.SubscribeMultiple(Filters, l.receive)
	go func() {
		if !t.WaitTimeout(30*time.Second) || t.Error() != nil {
			l.log.Error("broker does not take the subscriptions", "error", t.Error())
			return
		}
		for filter, code := range t.(*mqtt.SubscribeToken).Result() {
			if code > 2 {
				l.log.Error("broker refuses a subscription", "filter", filter)
			}
		}
		l.Wake("", "")
		l.log.Info("broker connected", "instance", l.opts.Instance)
	}()
}

// receive takes one message, in paho's one goroutine for that.
func (l *Link) receive(_ mqtt.Client, m mqtt.Message) {
	if rest, ok := strings.CutPrefix(m.Topic(), wakeRoot); ok {
		if tenant, home, ok := strings.Cut(rest, "/"); ok {
			l.local.Wake(tenant, home)
		}
		m.Ack()
		return
	}
	tenant, device, c, err := protocol.ParseTopic(m.Topic())
	if err != nil || !c.Up() {
		l.stats.Foreign.Add(1)
		m.Ack()
		return
	}
	if lane, ok := c.Lane(); ok {
		l.stats.Received.Add(1)
		l.opts.Handler.Message(tenant, device, lane, m.Payload(), m.Ack)
		return
	}
	defer m.Ack()
	switch c {
	case protocol.UpState:
		var s protocol.State
		if err := protocol.Unmarshal(m.Payload(), &s); err != nil {
			l.log.Warn("state not understood", "tenant", tenant, "device", device, "error", err)
			return
		}
		l.mu.Lock()
		if s.Online {
			l.online[tenant+"/"+device] = struct{}{}
		} else {
			delete(l.online, tenant+"/"+device)
		}
		l.mu.Unlock()
		l.opts.Handler.State(tenant, device, s, m.Retained())
	case protocol.UpAssist:
		var s protocol.Signal
		if err := protocol.Unmarshal(m.Payload(), &s); err != nil {
			l.log.Warn("signal not understood", "tenant", tenant, "device", device, "error", err)
			return
		}
		l.opts.Handler.Signal(tenant, device, s)
	case protocol.UpTime:
		var ask protocol.TimeRequest
		if err := protocol.Unmarshal(m.Payload(), &ask); err != nil {
			l.log.Warn("question of the time not understood", "tenant", tenant, "device", device, "error", err)
			return
		}
		l.opts.Handler.Time(tenant, device, ask)
	}
}

// Online tells whether the broker says that the device is there.
func (l *Link) Online(tenant, device string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	_, ok := l.online[tenant+"/"+device]
	return ok
}

// Send queues a message for a device. It never blocks. It returns false when the device is known not to
// be there, or when the queue is full.
func (l *Link) Send(tenant, device string, c protocol.Channel, payload []byte) bool {
	qos := byte(1)
	if c == protocol.DownAck || c == protocol.DownTime {
		qos = 0 // the next batch asks again, and the next question
	} else if !l.Online(tenant, device) {
		return false
	}
	return l.publish(outgoing{protocol.Topic(tenant, device, c), qos, payload})
}

func (l *Link) publish(o outgoing) bool {
	select {
	case l.out <- o:
		return true
	default:
		l.stats.Dropped.Add(1)
		return false
	}
}

// Wake implements wake.Waker. The broker brings it back to this instance too; when it cannot be reached,
// this instance is woken directly.
func (l *Link) Wake(tenant, home string) {
	if !l.client.IsConnectionOpen() || !l.publish(outgoing{wakeRoot + tenant + "/" + home, 0, nil}) {
		l.local.Wake(tenant, home)
	}
}

// Subscribe implements wake.Waker.
func (l *Link) Subscribe(tenant, home string) (woken <-chan struct{}, stop func()) {
	return l.local.Subscribe(tenant, home)
}

// Run connects, and keeps connecting, until ctx ends. It returns nil.
func (l *Link) Run(ctx context.Context) error {
	l.client.Connect() // retries by itself
	defer l.client.Disconnect(250)
	for {
		select {
		case o := <-l.out:
			if !l.client.IsConnectionOpen() {
				l.stats.Dropped.Add(1) // paho would keep it for later, when nobody waits for it any more
				continue
			}
			l.client.Publish(o.topic, o.qos, false, o.payload)
		case <-ctx.Done():
			return nil
		}
	}
}
