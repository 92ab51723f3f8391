package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

// TLSDialer connects to the present identity's broker over mutual TLS. The whole handshake must end within
// timeout.
func TLSDialer(present func() *agent.Identity, timeout time.Duration) func(context.Context) (net.Conn, error) {
	var of *agent.Identity
	var config *tls.Config
	return func(ctx context.Context) (net.Conn, error) {
		if id := present(); id != of {
			of, config = id, id.TLS()
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1) // a reconnect costs no signature
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		d := tls.Dialer{NetDialer: &net.Dialer{}, Config: config}
		return d.DialContext(ctx, "tcp", of.Broker)
	}
}

func (u *Uplink) clientOptions(ctx context.Context, kept *atomic.Pointer[keptConn], lost chan<- error, down chan<- mqtt.Message) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions()
	o.Servers = []*url.URL{{Scheme: "tls", Host: "broker"}} // named in no packet; Dial knows the address
	o.SetClientID(u.opts.Device)
	o.SetProtocolVersion(4) // MQTT 3.1.1, and no falling back to 3.1
	o.SetCleanSession(true) // commands are repeated by the cloud until an event answers them
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetStore(noStore{})
	o.SetOrderMatters(true)
	o.SetKeepAlive(0) // keptConn does it
	o.SetConnectTimeout(u.opts.KeepAlive)
	o.SetWriteTimeout(10 * time.Second)
	o.SetBinaryWill(protocol.Topic(u.opts.Tenant, u.opts.Device, protocol.UpState), u.state(false), 1, true)
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
		c, err := u.opts.Dial(ctx)
		if err != nil {
			return nil, err
		}
		kept.Store(newKeptConn(c, u.opts.KeepAlive))
		return kept.Load(), nil
	})
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		select {
		case down <- m:
		case <-ctx.Done():
		}
	})
	return o
}

func (u *Uplink) state(online bool) []byte {
	b, err := protocol.Marshal(&protocol.State{Version: protocol.Version, Online: online, Boot: u.opts.Spool.Boot(), Agent: agent.Version, Model: u.opts.Model()})
	if err != nil {
		panic(err) // plain fields
	}
	return b
}

func wait(ctx context.Context, t mqtt.Token, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errRefused = errors.New("refused by the broker")

// Classify names why a connection failed, as a message key: "captive_portal" (something else answers
// where the cloud should), "certificate" (ours or theirs is not accepted), "refused" (the broker does not
// want us), "dns", "unreachable", "timeout", "silent" (connected, but nothing is acknowledged) or "lost".
func Classify(err error) string {
	var (
		record   tls.RecordHeaderError
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		alert    tls.AlertError
		dns      *net.DNSError
		op       *net.OpError
		timeout  interface{ Timeout() bool }
	)
	switch {
	case err == nil:
		return ""
	case errors.Is(err, errSilent):
		return "silent"
	case errors.As(err, &record), errors.As(err, &unknown), errors.As(err, &hostname):
		return "captive_portal"
	case errors.As(err, &invalid), errors.As(err, &alert), strings.Contains(err.Error(), "remote error: tls"):
		return "certificate"
	case errors.Is(err, errRefused), errors.Is(err, packets.ErrorRefusedBadProtocolVersion), errors.Is(err, packets.ErrorRefusedIDRejected),
		errors.Is(err, packets.ErrorRefusedServerUnavailable), errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword), errors.Is(err, packets.ErrorRefusedNotAuthorised):
		return "refused"
	case errors.As(err, &dns):
		return "dns"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.As(err, &op) && op.Op == "dial":
		return "unreachable"
	}
	return "lost"
}

// noStore keeps nothing: the outbox does.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
