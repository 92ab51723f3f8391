package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Limits of staff and sessions.
const (
	MinPassword = 12             // characters; long beats odd (NIST SP 800-63B)
	SessionIdle = 12 * time.Hour // a session that is not used for so long ends
	SessionLife = 7 * 24 * time.Hour
)

// Staff is one person of support.
type Staff struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"` // signs in with it; unique
	Role     Role      `json:"role"`
	Password string    `json:"password"` // argon2id, salt and key in base64
	Added    time.Time `json:"added"`
}

var staff = store.NewTable("staff", store.Spec[Staff]{
	Key:   store.Columns{store.Text("staff")},
	KeyOf: func(s *Staff) store.Key { return store.Key{s.ID} },
	Indexes: []store.Index[Staff]{{
		Name: "by_name",
		On:   store.Columns{store.Text("name")},
		Of:   func(s *Staff) store.Key { return store.Key{strings.ToLower(s.Name)} },
	}},
})

// Session is a person signed in at one browser. Its token is nowhere kept, only its hash: who reads the
// store cannot use what he finds.
type Session struct {
	Hash  string    `json:"hash"`
	Staff string    `json:"staff"`
	CSRF  string    `json:"csrf"`
	Begun time.Time `json:"begun"`
	Used  time.Time `json:"used"` // to the hour: not every request writes
}

var sessions = store.NewTable("sign_ins", store.Spec[Session]{
	Key:   store.Columns{store.Text("hash")},
	KeyOf: func(s *Session) store.Key { return store.Key{s.Hash} },
	Indexes: []store.Index[Session]{{
		Name: "by_staff",
		On:   store.Columns{store.Text("staff")},
		Of:   func(s *Session) store.Key { return store.Key{s.Staff} },
	}},
})

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{staff, sessions} }

// ErrSignIn is returned for a wrong name and a wrong password alike.
var ErrSignIn = cloud.Errorf(cloud.CodeUnauthorized, "wrong name or password")

// errSession is returned for a session that is not there, or no longer.
var errSession = cloud.Errorf(cloud.CodeUnauthorized, "sign in first")

// AddStaff checks and writes a new person. The password is given in clear and kept as a hash.
func AddStaff(tx store.Tx, name string, role Role, password string, now time.Time) (Staff, error) {
	s := Staff{ID: cloud.NewID(), Name: strings.TrimSpace(name), Role: role, Added: now.UTC()}
	if s.Name == "" || len(s.Name) > protocol.MaxID {
		return s, cloud.Invalid("name", "want 1 to %d bytes, got %d", protocol.MaxID, len(s.Name))
	}
	if role != RoleAdmin && role != RoleSupport && role != RoleViewer {
		return s, cloud.Invalid("role", "want %s, %s or %s", RoleAdmin, RoleSupport, RoleViewer)
	}
	if _, err := byName(tx, s.Name); err == nil {
		return s, cloud.Errorf(cloud.CodeConflict, "there is somebody with this name")
	} else if !errors.Is(err, store.ErrNotFound) {
		return s, err
	}
	var err error
	if s.Password, err = hash(password); err != nil {
		return s, err
	}
	return s, staff.Insert(tx, &s)
}

// First makes the first admin, when there is nobody yet, with a new password that it returns once; ok is
// false when somebody is there.
func First(tx store.Tx, now time.Time) (name, password string, ok bool, err error) {
	for _, err := range staff.Scan(tx, store.Range{Limit: 1}) {
		return "", "", false, err
	}
	password = rand.Text()[:20] // 100 bits
	_, err = AddStaff(tx, "admin", RoleAdmin, password, now)
	return "admin", password, err == nil, err
}

// Who returns a person, or store.ErrNotFound.
func Who(tx store.Tx, id string) (Staff, error) { return staff.Get(tx, id) }

func byName(tx store.Tx, name string) (Staff, error) {
	for s, err := range staff.Scan(tx, store.Range{Index: "by_name", Prefix: store.Key{strings.ToLower(name)}, Limit: 1}) {
		return s, err
	}
	return Staff{}, store.ErrNotFound
}

// Check returns the person of a name and password, or ErrSignIn. It takes the same time for a name that
// does not exist. It only reads, so run it outside of Update: the hash takes long on purpose.
func Check(tx store.Tx, name, password string) (Staff, error) {
	s, err := byName(tx, strings.TrimSpace(name))
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalid) {
		verify(nobody, password)
		return s, ErrSignIn
	}
	if err != nil {
		return s, err
	}
	if !verify(s.Password, password) {
		return s, ErrSignIn
	}
	return s, nil
}

// Begin writes a new session and returns its token.
func Begin(tx store.Tx, s Staff, now time.Time) (token string, _ Session, err error) {
	token = rand.Text() + rand.Text()
	ses := Session{Hash: tokenHash(token), Staff: s.ID, CSRF: rand.Text(), Begun: now.UTC(), Used: now.UTC()}
	return token, ses, sessions.Put(tx, &ses)
}

// Resume returns the session of a token and its person; stale says that Renew should be called.
func Resume(tx store.Tx, token string, now time.Time) (ses Session, s Staff, stale bool, err error) {
	if len(token) > 256 {
		return ses, s, false, errSession
	}
	ses, err = sessions.Get(tx, tokenHash(token))
	if errors.Is(err, store.ErrNotFound) || err == nil && (now.Sub(ses.Used) > SessionIdle || now.Sub(ses.Begun) > SessionLife) {
		return ses, s, false, errSession
	}
	if err != nil {
		return ses, s, false, err
	}
	s, err = staff.Get(tx, ses.Staff)
	if errors.Is(err, store.ErrNotFound) {
		return ses, s, false, errSession
	}
	return ses, s, now.Sub(ses.Used) > time.Hour, err
}

// Renew records that a session is in use.
func Renew(tx store.Tx, ses Session, now time.Time) error {
	ses.Used = now.UTC()
	return sessions.Put(tx, &ses)
}

// End ends the session of a token; one that is over already is no error.
func End(tx store.Tx, token string) error {
	err := sessions.Delete(tx, tokenHash(token))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// SetPassword changes a person's password and ends all other sessions but the one to keep.
func SetPassword(tx store.Tx, id, password, keep string) error {
	s, err := staff.Get(tx, id)
	if err != nil {
		return err
	}
	if s.Password, err = hash(password); err != nil {
		return err
	}
	var over []string
	for ses, err := range sessions.Scan(tx, store.Range{Index: "by_staff", Prefix: store.Key{id}}) {
		if err != nil {
			return err
		}
		if ses.Hash != keep {
			over = append(over, ses.Hash)
		}
	}
	for _, h := range over {
		if err := sessions.Delete(tx, h); err != nil {
			return err
		}
	}
	return staff.Put(tx, &s)
}

func tokenHash(token string) string {
	h := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// The cost of argon2id as OWASP recommends it: 19 MiB, two passes, one lane.
const (
	argonTime, argonKiB, argonLanes = 2, 19 << 10, 1
	saltLen, keyLen                 = 16, 32
)

// nobody is the hash that a name which does not exist is checked against.
var nobody = base64.RawStdEncoding.EncodeToString(make([]byte, saltLen+keyLen))

func hash(password string) (string, error) {
	if n := len([]rune(password)); n < MinPassword || n > 256 {
		return "", cloud.Invalid("password", "want %d to 256 characters, got %d", MinPassword, n)
	}
	b := make([]byte, saltLen, saltLen+keyLen)
	rand.Read(b)
	b = append(b, argon2.IDKey([]byte(password), b, argonTime, argonKiB, argonLanes, keyLen)...)
	return base64.RawStdEncoding.EncodeToString(b), nil
}

func verify(stored, password string) bool {
	b, err := base64.RawStdEncoding.DecodeString(stored)
	if err != nil || len(b) != saltLen+keyLen {
		return false
	}
	key := argon2.IDKey([]byte(password), b[:saltLen], argonTime, argonKiB, argonLanes, keyLen)
	return subtle.ConstantTimeCompare(key, b[saltLen:]) == 1
}

// MustBe returns an error of CodeForbidden unless a role is in a group.
func MustBe(g Group, r Role) error {
	for _, m := range members[g] {
		if m == r {
			return nil
		}
	}
	return cloud.Errorf(cloud.CodeForbidden, "%s", fmt.Sprintf("this is for %s; your role is %s", g, r))
}
