package app

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/access"
)

func TestNothingButSignInAndHealthAnswersWithoutCredentials(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	open := []string{"GET /healthz", "POST /v1/sign-in", "POST /v1/inbox/open"}
	doc := b.want(200, "GET", "/openapi.json", nil)
	n := 0
	for path, ops := range doc.body["paths"].(map[string]any) {
		for method := range ops.(map[string]any) {
			method = strings.ToUpper(method)
			if slices.Contains(open, method+" "+path) {
				continue
			}
			n++
			concrete := path
			for strings.Contains(concrete, "{") {
				i, j := strings.IndexByte(concrete, '{'), strings.IndexByte(concrete, '}')
				concrete = concrete[:i] + home + concrete[j+1:]
			}
			if a := b.do(method, concrete, map[string]any{}); a.status != 401 || a.body["code"] != "unauthorized" {
				t.Errorf("%s %s answers %d %v to nobody", method, path, a.status, a.body)
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d operations were tried", n)
	}
	b.want(200, "GET", "/healthz", nil)
}

func TestAPersonWithACookieMustSendTheCSRFToken(t *testing.T) {
	w := newWorld(t)
	b := w.staff()
	token := b.csrf
	for _, wrong := range []string{"", "x" + token[1:]} {
		b.csrf = wrong
		if a := b.do("POST", "/v1/homes", map[string]any{"name": "n"}); a.status != 403 {
			t.Errorf("with token %q: got %d %v", wrong, a.status, a.body)
		}
	}
	b.csrf = token
	b.want(200, "POST", "/v1/homes", map[string]any{"name": "n"})
}

func TestAWrongPasswordIsRefusedAndGuessingIsSlowedDown(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	var last int
	for range 12 {
		a := b.do("POST", "/v1/sign-in", map[string]string{"name": "admin", "password": "wrong wrong wrong"})
		if last = a.status; last == 429 {
			break
		}
		if last != 401 {
			t.Fatalf("got %d %v", a.status, a.body)
		}
	}
	if last != 429 {
		t.Error("twelve guesses in a row were all answered")
	}
}

func TestRolesBoundWhatStaffMayDo(t *testing.T) {
	w := newWorld(t)
	admin := w.staff()
	for _, role := range []string{"viewer", "support"} {
		admin.want(200, "POST", "/v1/staff", map[string]string{"name": role, "role": role, "password": "a long password"})
	}
	for _, c := range []struct {
		who, method, path string
		body              any
		status            int
	}{
		{"viewer", "GET", "/v1/homes/" + home, nil, 200},
		{"viewer", "POST", "/v1/tickets", map[string]string{"home": home, "title": "t"}, 403},
		{"viewer", "POST", "/v1/homes", map[string]string{"name": "n"}, 403},
		{"support", "POST", "/v1/tickets", map[string]string{"home": home, "title": "t"}, 200},
		{"support", "POST", "/v1/homes", map[string]string{"name": "n"}, 403},
		{"support", "GET", "/v1/inbox", nil, 401},
	} {
		b := w.browser()
		b.signIn(c.who, "a long password")
		if a := b.do(c.method, c.path, c.body); a.status != c.status {
			t.Errorf("%s %s %s: got %d %v, want %d", c.who, c.method, c.path, a.status, a.body, c.status)
		}
	}
}

func TestAnInboxTokenOpensOnlyItsOwnInbox(t *testing.T) {
	w := newWorld(t)
	b := w.staff()
	token := b.want(200, "POST", "/v1/customers/mei/inbox-link", nil).body["token"].(string)
	parts := strings.Split(token, ".")
	for name, bad := range map[string]string{
		"another customer": strings.Join([]string{parts[0], "eve", parts[2], parts[3]}, "."),
		"a longer life":    strings.Join([]string{parts[0], parts[1], "zzzzzz", parts[3]}, "."),
		"no signature":     strings.Join(parts[:3], "."),
		"nonsense":         "nonsense",
	} {
		if a := w.browser().do("POST", "/v1/inbox/open", map[string]string{"token": bad}); a.status != 401 {
			t.Errorf("%s: got %d %v", name, a.status, a.body)
		}
	}
	inbox, err := access.NewInbox(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	old, _, err := inbox.Token(tenant, "mei", time.Now().Add(-access.InboxLife-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := inbox.Open(old, time.Now()); cloud.CodeOf(err) != cloud.CodeUnauthorized {
		t.Errorf("a token that is over opens: %v", err)
	}
}
