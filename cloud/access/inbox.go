package access

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/protocol"
)

// InboxLife is how long the link to an inbox works.
const InboxLife = 90 * 24 * time.Hour

// Inbox signs the tokens that open customers' inboxes. The zero Inbox opens nothing. A token says whose
// inbox it opens and until when, and is proof of it by itself; a new key makes all old ones worthless.
//
//	{tenant}.{customer}.{unix seconds, base 36}.{HMAC-SHA256 of what is before, base64url}
type Inbox struct{ key []byte }

// NewInbox returns an Inbox with a key of at least 32 random bytes.
func NewInbox(key []byte) (*Inbox, error) {
	if len(key) < 32 {
		return nil, cloud.Invalid("inbox key", "want at least 32 bytes, got %d", len(key))
	}
	return &Inbox{key}, nil
}

// errInbox is the same for every token that does not open: it gives nothing away.
var errInbox = cloud.Errorf(cloud.CodeUnauthorized, "this link does not open an inbox, or no longer; ask for a new one")

// Token returns the token of a customer's inbox and when it ends.
func (i *Inbox) Token(tenant, customer string, now time.Time) (string, time.Time, error) {
	if err := protocol.CheckID("customer", customer); err != nil {
		return "", time.Time{}, err
	}
	ends := now.Add(InboxLife).UTC().Truncate(time.Second)
	head := tenant + "." + customer + "." + strconv.FormatInt(ends.Unix(), 36)
	return head + "." + i.sign("token", head), ends, nil
}

// Open returns whose inbox a token opens.
func (i *Inbox) Open(token string, now time.Time) (tenant, customer string, err error) {
	at := strings.LastIndexByte(token, '.')
	if at < 0 || len(i.key) == 0 || !hmac.Equal([]byte(token[at+1:]), []byte(i.sign("token", token[:at]))) {
		return "", "", errInbox
	}
	parts := strings.Split(token[:at], ".")
	if len(parts) != 3 {
		return "", "", errInbox
	}
	ends, err := strconv.ParseInt(parts[2], 36, 64)
	if err != nil || now.Unix() >= ends {
		return "", "", errInbox
	}
	return parts[0], parts[1], nil
}

// CSRF returns what a page that was opened with this token must send along when it changes something.
func (i *Inbox) CSRF(token string) string { return i.sign("csrf", token) }

func (i *Inbox) sign(purpose, what string) string {
	m := hmac.New(sha256.New, i.key)
	m.Write([]byte(purpose + "\x00" + what))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}
