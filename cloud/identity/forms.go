package identity

import (
	"errors"
	"net/mail"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// Phone brings a number in any notation to E.164 ("+886912345678"). One without a country code is taken
// to be of region, an ISO 3166 code such as "TW".
func Phone(raw, region string) (string, error) {
	n, err := phonenumbers.Parse(raw, region)
	if err != nil {
		return "", errors.New("not a phone number; write it with its country code, like +44 20 7946 0000")
	}
	if !phonenumbers.IsPossibleNumber(n) {
		return "", errors.New("no phone number has this many digits")
	}
	return phonenumbers.Format(n, phonenumbers.E164), nil
}

// Email brings an address to lower case. The part before the @ is case-sensitive by RFC 5321 and by no
// provider.
func Email(raw string) (string, error) {
	raw = strings.TrimSpace(raw)
	a, err := mail.ParseAddress(raw)
	if err != nil || a.Address != raw || len(raw) > 254 {
		return "", errors.New("not an e-mail address")
	}
	return strings.ToLower(raw), nil
}

// Account checks the id of an account in the vendor's app; it is compared as it is.
func Account(raw string) (string, error) {
	raw = strings.TrimSpace(raw)
	if raw == "" || len(raw) > 128 || strings.ContainsFunc(raw, func(r rune) bool { return r < ' ' }) {
		return "", errors.New("an account id has 1 to 128 bytes and no control characters")
	}
	return raw, nil
}

// Identifier brings what a channel gave as a sender to the form in which it is looked up. The form of a
// sender that cannot be read is the sender itself: a call with a withheld number is a contact too.
func Identifier(channel, raw, region string) string {
	switch channel {
	case "phone":
		if p, err := Phone(raw, region); err == nil {
			return p
		}
	case "email":
		if e, err := Email(raw); err == nil {
			return e
		}
	}
	return strings.TrimSpace(raw)
}
