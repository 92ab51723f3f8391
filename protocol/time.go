package protocol

import "fmt"

// A device's own clock may be wrong by years, so the cloud tells it the time, over a broker that neither of
// them trusts:
//
//	device                                    cloud
//	  |<-------------- down/time, empty --------|   offer: an older agent ignores it, an older cloud makes none
//	  |--- up/time, TimeRequest{nonce} -------->|   the device notes when it asked
//	  |<-- down/time, signed Time{nonce, now} --|   the device takes it that it was now when it asked
//
// So the device's clock is never behind, however long the way, and ahead by the way to the cloud at most. The
// nonce makes an answer worthless for any other question, and one that comes late is refused.

// TimeNonce is the length of a nonce in bytes.
const TimeNonce = 16

// TimeRequest asks the cloud what time it is.
type TimeRequest struct {
	Version uint64 `cbor:"0,keyasint"`
	Nonce   []byte `cbor:"1,keyasint"` // TimeNonce random bytes, new for every question
}

// Time is the cloud's answer, signed under PurposeTime.
type Time struct {
	Version uint64 `cbor:"0,keyasint"`
	Tenant  string `cbor:"1,keyasint"` // who asked
	Device  string `cbor:"2,keyasint"`
	Nonce   []byte `cbor:"3,keyasint"` // of the question
	Now     int64  `cbor:"4,keyasint"` // milliseconds since 1970 by the cloud's clock
}

func (r *TimeRequest) check() error {
	if err := checkVersion("time request", r.Version); err != nil {
		return err
	}
	return checkNonce(r.Nonce)
}

func (t *Time) check() error {
	if err := checkVersion("time", t.Version); err != nil {
		return err
	}
	for _, f := range []struct{ field, id string }{{"tenant", t.Tenant}, {"device", t.Device}} {
		if err := CheckID(f.field, f.id); err != nil {
			return err
		}
	}
	return checkNonce(t.Nonce)
}

func checkNonce(nonce []byte) error {
	if len(nonce) != TimeNonce {
		return fmt.Errorf("%w: nonce of %d bytes, want %d", ErrInvalid, len(nonce), TimeNonce)
	}
	return nil
}
