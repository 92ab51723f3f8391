package assist

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v5"

	"github.com/hearthline/hearthline/protocol"
)

// TURNOptions configures a TURN server. Listen, Public and Secret are required.
type TURNOptions struct {
	Listen     string         // "host:port", UDP and TCP
	Public     netip.Addr     // where browsers reach it, and where relayed traffic comes from
	DeviceHost string         // where devices reach it when that differs; empty means Public
	Secret     string         // shared by all instances; signs the credentials
	AllowPeers []netip.Prefix // private or special ranges that may be relayed to all the same; none by default
	Log        *slog.Logger   // nil means none
}

// TURN is a STUN and TURN server (RFC 8489, RFC 8656) for sessions only: credentials are made per
// session and expire with it, and it relays to public addresses, never into our own network.
type TURN struct {
	opts TURNOptions
}

// realm is what clients see; it has no meaning beyond that.
const realm = "hearthline"

// NewTURN validates and starts nothing.
func NewTURN(opts TURNOptions) (*TURN, error) {
	if opts.Listen == "" || !opts.Public.IsValid() || len(opts.Secret) < 16 {
		return nil, errors.New("turn: listen, public and a secret of 16 characters or more are required")
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &TURN{opts: opts}, nil
}

// Run serves until ctx is done.
func (t *TURN) Run(ctx context.Context) error {
	udp, err := net.ListenPacket("udp", t.opts.Listen)
	if err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	tcp, err := net.Listen("tcp", t.opts.Listen)
	if err != nil {
		udp.Close()
		return fmt.Errorf("turn: %w", err)
	}
	relay := &turn.RelayAddressGeneratorStatic{RelayAddress: net.IP(t.opts.Public.AsSlice()), Address: net.IP(t.opts.Public.AsSlice()).String()}
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled // its messages carry addresses of customers
	server, err := turn.NewServer(turn.ServerConfig{
		Realm:             realm,
		AuthHandler:       turn.LongTermTURNRESTAuthHandler(t.opts.Secret, quiet.NewLogger("turn")),
		LoggerFactory:     quiet,
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: udp, RelayAddressGenerator: relay, PermissionHandler: t.permit}},
		ListenerConfigs:   []turn.ListenerConfig{{Listener: tcp, RelayAddressGenerator: relay, PermissionHandler: t.permit}},
	})
	if err != nil {
		udp.Close()
		tcp.Close()
		return fmt.Errorf("turn: %w", err)
	}
	t.opts.Log.Info("turn server listens", "address", t.opts.Listen)
	<-ctx.Done()
	return server.Close()
}

// permit decides whether a client may have traffic relayed to a peer. Without it a client could reach
// every machine that this one reaches.
func (t *TURN) permit(_ net.Addr, peer net.IP) bool {
	addr, ok := netip.AddrFromSlice(peer)
	if !ok {
		return false
	}
	addr = addr.Unmap()
	for _, p := range t.opts.AllowPeers {
		if p.Contains(addr) {
			return true
		}
	}
	for _, p := range special {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

// special are the ranges of RFC 6890 and its updates that are not the public internet.
var special = func() (all []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/128", "::1/128", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32",
		"2002::/16", "fc00::/7", "fe80::/10", "ff00::/8",
	} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}()

// Servers returns how a browser and a device reach this server for one session, for at most life.
// The password is an HMAC of the expiry and the session (draft-uberti-behave-turn-rest), so any
// instance with the same secret accepts it.
func (t *TURN) Servers(session string, life time.Duration) (browser, device []protocol.ICEServer, err error) {
	user, password, err := turn.GenerateLongTermTURNRESTCredentials(t.opts.Secret, session, life)
	if err != nil {
		return nil, nil, fmt.Errorf("turn credentials: %w", err)
	}
	_, port, err := net.SplitHostPort(t.opts.Listen)
	if err != nil {
		return nil, nil, fmt.Errorf("turn listen address: %w", err)
	}
	servers := func(host string) []protocol.ICEServer {
		at := net.JoinHostPort(host, port)
		return []protocol.ICEServer{
			{URLs: []string{"stun:" + at}},
			{URLs: []string{"turn:" + at + "?transport=udp", "turn:" + at + "?transport=tcp"}, Username: user, Credential: password},
		}
	}
	public := t.opts.Public.String()
	return servers(public), servers(cmp.Or(t.opts.DeviceHost, public)), nil
}
