package gateway

import (
	"github.com/hearthline/hearthline/protocol"
)

// offerTime says that a device may ask what time it is (see protocol.Time). One that was not offered it does
// not ask: an older cloud would close the connection.
func (g *Gateway) offerTime(tenant, device string) {
	g.send(tenant, device, protocol.DownTime, nil)
}

// tellTime answers, unless our own clock is not to be believed: the device asks again.
func (g *Gateway) tellTime(tenant, device string, ask protocol.TimeRequest) {
	now, ok := g.now(), true
	if g.opts.Believed != nil {
		now, ok = g.opts.Believed()
	}
	if !ok {
		return
	}
	b, err := protocol.Marshal(&protocol.Time{Version: protocol.Version, Tenant: tenant, Device: device, Nonce: ask.Nonce, Now: now.UnixMilli()})
	if err == nil {
		b, err = protocol.Sign(protocol.PurposeTime, b, g.key)
	}
	if err != nil {
		g.log.Error("time not told", "error", err)
		return
	}
	g.send(tenant, device, protocol.DownTime, b)
}
