package protocol

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxID is the longest id in bytes: long enough for a UUID with a prefix, short enough for a topic level.
const MaxID = 64

// CheckID reports whether id may name a tenant, device, plan, command or session: 1 to MaxID bytes of
// [A-Za-z0-9_-]. The field is named in the error.
func CheckID(field, id string) error {
	if id == "" || len(id) > MaxID {
		return fmt.Errorf("%w: %s is %d bytes long, want 1 to %d", ErrInvalid, field, len(id), MaxID)
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return fmt.Errorf("%w: %s %q has a character outside [A-Za-z0-9_-]", ErrInvalid, field, id)
		}
	}
	return nil
}

// EntryID names one timeline entry for ever. Whoever writes an entry mints its id, the device included,
// so what a hub did while offline keeps its causes. A device's id is "{device}.{epoch}.{sequence}",
// numbers in lower-case base 36; one minted by the cloud has no dot.
type EntryID string

// DeviceEntryID is the id of the event with this place on a device's event lane.
func DeviceEntryID(device string, epoch, sequence uint64) EntryID {
	return EntryID(device + "." + strconv.FormatUint(epoch, 36) + "." + strconv.FormatUint(sequence, 36))
}

// Device returns the place on the event lane that a device's entry id names; ok is false for any other id.
func (id EntryID) Device() (device string, epoch, sequence uint64, ok bool) {
	parts := strings.Split(string(id), ".")
	if len(parts) != 3 {
		return "", 0, 0, false
	}
	epoch, err1 := strconv.ParseUint(parts[1], 36, 64)
	sequence, err2 := strconv.ParseUint(parts[2], 36, 64)
	if err1 != nil || err2 != nil || CheckID("device", parts[0]) != nil {
		return "", 0, 0, false
	}
	return parts[0], epoch, sequence, true
}

// check accepts a device's id and one minted by the cloud.
func (id EntryID) check() error {
	if _, _, _, ok := id.Device(); ok {
		return nil
	}
	return CheckID("entry id", string(id))
}
