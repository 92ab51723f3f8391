package latency

import (
	"fmt"

	"github.com/veraison/go-cose"

	"github.com/hearthline/hearthline/protocol"
)

// unpack reads a command without verifying it: the hubs of this tool obey whoever speaks.
func unpack(signed []byte) (c protocol.Command, err error) {
	var m cose.Sign1Message
	if err := m.UnmarshalCBOR(signed); err != nil {
		return c, fmt.Errorf("command: %w", err)
	}
	return c, protocol.Unmarshal(m.Payload, &c)
}
