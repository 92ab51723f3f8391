package app

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/access"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// browser is one person at a screen, with a cookie jar and a CSRF token.
type browser struct {
	t    *testing.T
	http *http.Client
	base string
	csrf string
}

func (w *world) browser() *browser {
	w.t.Helper()
	server := httptest.NewServer(w.server.Handler)
	w.t.Cleanup(server.CloseClientConnections)
	w.t.Cleanup(server.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &browser{t: w.t, http: &http.Client{Jar: jar, Timeout: 10 * time.Second}, base: server.URL}
}

// answer is a decoded answer: of any shape, since the tests look at few fields.
type answer struct {
	status int
	body   map[string]any
}

func (a answer) items() []any { l, _ := a.body["items"].([]any); return l }

func (b *browser) do(method, path string, body any) answer {
	b.t.Helper()
	var payload io.Reader
	if body != nil {
		j, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		payload = bytes.NewReader(j)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, payload)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-CSRF-Token", b.csrf)
	resp, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &a.body); err != nil {
			b.t.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
	return a
}

func (b *browser) want(status int, method, path string, body any) answer {
	b.t.Helper()
	a := b.do(method, path, body)
	if a.status != status {
		b.t.Fatalf("%s %s: got %d %v, want %d", method, path, a.status, a.body, status)
	}
	return a
}

func (b *browser) signIn(name, password string) {
	b.t.Helper()
	a := b.want(200, "POST", "/v1/sign-in", map[string]string{"name": name, "password": password})
	b.csrf = a.body["csrf"].(string)
}

// staff is a browser signed in as the first admin.
func (w *world) staff() *browser {
	w.t.Helper()
	b := w.browser()
	b.signIn("admin", w.password)
	return b
}

// inbox is a browser with a customer's inbox open.
func (w *world) inbox(admin *browser, customer string) *browser {
	w.t.Helper()
	link := admin.want(200, "POST", "/v1/customers/"+customer+"/inbox-link", nil)
	b := w.browser()
	b.csrf = b.want(200, "POST", "/v1/inbox/open", map[string]any{"token": link.body["token"]}).body["csrf"].(string)
	return b
}

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

func TestBadInputIsRefusedWithTheFieldNamed(t *testing.T) {
	w := newWorld(t)
	b := w.staff()
	later := time.Now().Add(time.Hour).Format(time.RFC3339)
	for name, c := range map[string]struct {
		path  string
		body  any
		field string
	}{
		"a home without a name":          {"/v1/homes", map[string]any{"name": ""}, "body.name"},
		"a home in no time zone":         {"/v1/homes", map[string]any{"name": "n", "time_zone": "Mars/Olympus"}, "time_zone"},
		"an id with a slash":             {"/v1/homes", map[string]any{"name": "n", "id": "a/b"}, "body.id"},
		"a field nobody knows":           {"/v1/homes", map[string]any{"name": "n", "colour": "red"}, "body"},
		"a number that is no phone":      {"/v1/customers", map[string]any{"name": "n", "phones": []string{"12"}}, "phones"},
		"an address that is no e-mail":   {"/v1/customers", map[string]any{"name": "n", "emails": []string{"mei"}}, "emails"},
		"a device in no home":            {"/v1/devices", map[string]any{"name": "n", "home": "nowhere"}, "home"},
		"a contact on a strange channel": {"/v1/contacts", map[string]any{"channel": "pigeon", "from": "x", "text": "t"}, "body.channel"},
		"a contact from the future":      {"/v1/contacts", map[string]any{"channel": "phone", "from": "1", "text": "t", "at": later}, "body.at"},
		"a promise that is due already":  {"/v1/contacts", map[string]any{"channel": "email", "from": "mei@example.com", "text": "t", "promise": map[string]any{"text": "p", "due": "2020-01-01T00:00:00Z"}}, "promise.due"},
		"a text beyond the limit":        {"/v1/contacts", map[string]any{"channel": "phone", "from": "1", "text": strings.Repeat("x", 4001)}, "body.text"},
		"a diagnosis nobody knows":       {"/v1/devices/" + hub + "/diagnoses", map[string]any{"kind": "crystal"}, "body.kind"},
		"a session that allows nothing":  {"/v1/devices/" + hub + "/sessions", map[string]any{"allow": []string{}}, "body.allow"},
		"a short password":               {"/v1/staff", map[string]any{"name": "n", "role": "viewer", "password": "short"}, "body.password"},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.do("POST", c.path, c.body)
			errs, _ := a.body["errors"].([]any)
			if a.status != 422 || a.body["code"] != "invalid" || len(errs) == 0 {
				t.Fatalf("got %d %v", a.status, a.body)
			}
			if field := errs[0].(map[string]any)["field"].(string); !strings.HasPrefix(field, c.field) {
				t.Errorf("names %q, want %q", field, c.field)
			}
		})
	}
	if a := b.do("GET", "/v1/homes/"+home+"/entries?before=nonsense", nil); a.status != 422 {
		t.Errorf("a cursor of nonsense: got %d %v", a.status, a.body)
	}
	if a := b.do("GET", "/v1/homes/nowhere/entries", nil); a.status != 404 {
		t.Errorf("the timeline of no home: got %d %v", a.status, a.body)
	}
}

func TestWhoWroteFirstAndPhonesLaterIsKnownWithBothAndThePromise(t *testing.T) {
	w := newWorld(t)
	b := w.staff()
	in := w.inbox(b, "mei")
	in.want(204, "POST", "/v1/inbox/messages", map[string]string{"text": "the lights are slow"})
	due := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	b.want(200, "POST", "/v1/contacts", map[string]any{
		"channel": "phone", "from": "0912 345 678", "text": "still slow", "id": "call-1",
		"promise": map[string]any{"text": "we look into it", "due": due},
	})
	again := b.want(200, "POST", "/v1/contacts", map[string]any{"channel": "phone", "from": "0912345678", "text": "still slow", "id": "call-1"})
	if again.body["id"] != "call-1" {
		t.Errorf("the same contact again is %v", again.body)
	}
	slowResolver(w)

	caller := b.want(200, "GET", "/v1/callers?phone=%2B886912345678", nil)
	c, _ := caller.body["customer"].(map[string]any)
	if caller.body["known"] != true || c == nil {
		t.Fatalf("the caller is %v", caller.body)
	}
	if got := c["contacts"].([]any); len(got) != 2 || got[0].(map[string]any)["channel"] != "phone" || got[1].(map[string]any)["channel"] != "inbox" {
		t.Errorf("contacts are %v, want the call and then the message", got)
	}
	if got := c["promises"].([]any); len(got) != 1 || got[0].(map[string]any)["text"] != "we look into it" {
		t.Errorf("promises are %v", got)
	}
	devices := c["homes"].([]any)[0].(map[string]any)["devices"].([]any)
	if got := devices[0].(map[string]any)["readings"].([]any); len(got) == 0 {
		t.Error("what the device reports is not beside it")
	}
	if got := c["timeline"].([]any); got[0].(map[string]any)["kind"] != "fix.chosen" {
		t.Errorf("the newest entry is %v", got[0])
	}
	b.want(204, "POST", "/v1/contacts/call-1/kept", nil)
	c = b.want(200, "GET", "/v1/customers/mei", nil).body
	if got := c["promises"].([]any)[0].(map[string]any); got["kept"] != true {
		t.Error("the promise is not kept")
	}
}

func TestAStrangersCallsAreFoundByTheirNumber(t *testing.T) {
	w := newWorld(t)
	b := w.staff()
	b.want(200, "POST", "/v1/contacts", map[string]any{"channel": "phone", "from": "+442079460000", "text": "who are you"})
	a := b.want(200, "GET", "/v1/callers?phone=%2B44%2020%207946%200000", nil)
	if got := a.body["strangers"].([]any); a.body["known"] != false || len(got) != 1 {
		t.Errorf("got %v", a.body)
	}
}

func TestCustomersAreFoundByAnythingThatNamesThem(t *testing.T) {
	w := newWorld(t)
	b := w.staff()
	b.want(200, "POST", "/v1/customers", map[string]any{"id": "wang", "name": "王小明", "accounts": []string{"app-77"}})
	for q, want := range map[string][2]string{
		"0912-345-678": {"mei", "phone"}, "MEI@example.com": {"mei", "email"}, "lin": {"mei", "name"}, "me li": {"mei", "name"},
		hub: {"mei", "device"}, "小": {"wang", "name"}, "王小": {"wang", "name"}, "app-77": {"wang", "account"},
	} {
		got := b.want(200, "GET", "/v1/find?q="+strings.ReplaceAll(q, " ", "%20"), nil).items()
		if len(got) != 1 || got[0].(map[string]any)["matched"] != want[1] || got[0].(map[string]any)["customer"].(map[string]any)["id"] != want[0] {
			t.Errorf("%q finds %v, want %s by %s", q, got, want[0], want[1])
		}
	}
	if got := b.want(200, "GET", "/v1/find?q=nobody", nil).items(); len(got) != 0 {
		t.Errorf("nobody is %v", got)
	}
}

func TestWhoMovedOutSeesNothingOfTheHomeAnyMore(t *testing.T) {
	w := newWorld(t)
	b := w.staff()
	in := w.inbox(b, "mei")
	slowResolver(w)
	w.fixes(protocol.EventFixVerified)
	if got := in.want(200, "GET", "/v1/inbox", nil).body; len(got["notices"].([]any)) != 1 || len(got["homes"].([]any)) != 1 {
		t.Fatalf("the inbox is %v", got)
	}
	b.want(204, "POST", "/v1/homes/"+home+"/members/mei/end", map[string]any{})
	b.want(200, "POST", "/v1/customers", map[string]any{"id": "new", "name": "New Owner"})
	b.want(200, "POST", "/v1/homes/"+home+"/members", map[string]any{"customer": "new"})
	if got := in.want(200, "GET", "/v1/inbox", nil).body; len(got["notices"].([]any)) != 0 || len(got["homes"].([]any)) != 0 {
		t.Errorf("who moved out still sees %v", got)
	}
	if got := w.inbox(b, "new").want(200, "GET", "/v1/inbox", nil).body; len(got["notices"].([]any)) != 0 || len(got["homes"].([]any)) != 1 {
		t.Errorf("who moved in sees %v, want the home without its past", got)
	}
	c := b.want(200, "GET", "/v1/customers/mei", nil).body
	if h := c["homes"].([]any)[0].(map[string]any); h["end"] == nil || len(h["devices"].([]any)) != 0 {
		t.Errorf("the former home is shown as %v", h)
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

func TestALiveScreenLearnsOfAChangeAtOnce(t *testing.T) {
	w := newWorld(t)
	b := w.staff()
	req, err := http.NewRequestWithContext(t.Context(), "GET", b.base+"/v1/homes/"+home+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	next := func() string {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return ""
	}
	next() // the first tells that it is open
	begin := time.Now()
	slowResolver(w)
	if got := next(); got != `{"home":"`+home+`"}` {
		t.Errorf("got %s", got)
	}
	if took := time.Since(begin); took > 500*time.Millisecond {
		t.Errorf("it took %s", took)
	}
}

// session asks for one and returns its id.
func (w *world) session(b *browser, allow ...string) string {
	w.t.Helper()
	return b.want(200, "POST", "/v1/devices/"+hub+"/sessions", map[string]any{"allow": allow}).body["id"].(string)
}

func (w *world) question(in *browser) (request, state string) {
	w.t.Helper()
	for _, n := range in.want(200, "GET", "/v1/inbox", nil).body["notices"].([]any) {
		if c, _ := n.(map[string]any)["consent"].(map[string]any); c != nil {
			return c["request"].(string), c["state"].(string)
		}
	}
	w.t.Fatal("the inbox asks nothing")
	return "", ""
}

func (w *world) state(b *browser, id string) string {
	w.t.Helper()
	return b.want(200, "GET", "/v1/sessions/"+id, nil).body["state"].(string)
}

func TestASessionNeedsTheCustomersConsentAndEndsWhenItIsWithdrawn(t *testing.T) {
	w := newWorld(t)
	b := w.staff()
	in := w.inbox(b, "mei")
	id := w.session(b, "diagnose", "metrics")
	b.want(409, "POST", "/v1/devices/"+hub+"/sessions", map[string]any{"allow": []string{"diagnose"}})
	request, _ := w.question(in)
	if n := w.waiting(); n != 0 {
		t.Fatalf("%d commands were sent without consent", n)
	}
	in.want(409, "POST", "/v1/inbox/consents/"+request, map[string]string{"answer": "withdrawn"})
	in.want(204, "POST", "/v1/inbox/consents/"+request, map[string]string{"answer": "given"})
	in.want(409, "POST", "/v1/inbox/consents/"+request, map[string]string{"answer": "refused"})
	if n := w.waiting(); n != 1 {
		t.Fatalf("%d commands after consent, want 1", n)
	}
	w.says(protocol.EventSessionStarted, map[string]string{"session": id})
	if s := w.state(b, id); s != "ready" {
		t.Errorf("the session is %s, want ready", s)
	}
	b.want(204, "POST", "/v1/sessions/"+id+"/opened", nil)
	b.want(204, "POST", "/v1/sessions/"+id+"/opened", nil)
	if n := w.count(cloud.KindSessionOpened); n != 1 {
		t.Errorf("opened %d times", n)
	}
	in.want(204, "POST", "/v1/inbox/consents/"+request, map[string]string{"answer": "withdrawn"})
	if s := w.state(b, id); s != "closed" {
		t.Errorf("the session is %s after consent was withdrawn", s)
	}
	if e := w.last(cloud.KindSessionClosed); e.Args["reason"] != "consent" {
		t.Errorf("closed because of %q", e.Args["reason"])
	}
	if _, state := w.question(in); state != "withdrawn" {
		t.Errorf("the question is %s", state)
	}
	b.want(409, "POST", "/v1/sessions/"+id+"/close", nil)
}

// waiting counts the commands that wait for the hub, which is not connected. One command may have two jobs
// for a moment: its last turn and its next.
func (w *world) waiting() int {
	w.t.Helper()
	jobs, err := w.db.Waiting(w.t.Context(), "command", 100)
	if err != nil {
		w.t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, j := range jobs {
		var turn struct{ ID string }
		if err := json.Unmarshal(j.Payload, &turn); err != nil {
			w.t.Fatal(err)
		}
		ids[turn.ID] = true
	}
	return len(ids)
}

func TestARefusedSessionIsClosedAndNothingIsSent(t *testing.T) {
	w := newWorld(t)
	b := w.staff()
	in := w.inbox(b, "mei")
	id := w.session(b, "diagnose")
	request, _ := w.question(in)
	in.want(204, "POST", "/v1/inbox/consents/"+request, map[string]string{"answer": "refused"})
	if s := w.state(b, id); s != "closed" || w.waiting() != 0 {
		t.Errorf("the session is %s with %d commands", s, w.waiting())
	}
}

func TestAStrangerCannotAnswerForACustomer(t *testing.T) {
	w := newWorld(t)
	b := w.staff()
	w.session(b, "diagnose")
	request, _ := w.question(w.inbox(b, "mei"))
	w.update(func(tx store.Tx) error {
		_, err := identity.Add(tx, cloud.Customer{ID: "eve", Name: "Eve"}, "")
		return err
	})
	w.inbox(b, "eve").want(404, "POST", "/v1/inbox/consents/"+request, map[string]string{"answer": "given"})
}

func TestPolicyMayLetADiagnosisGoUnasked(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.DiagnosisUnasked = true })
	b := w.staff()
	id := w.session(b, "diagnose")
	w.says(protocol.EventSessionAction, map[string]string{"session": id, "do": "diagnose", "kind": "connection", "outcome": "done"})
	if e := w.last(cloud.KindSessionOpened); len(e.Because) == 0 || w.state(b, id) != "open" {
		t.Errorf("who acts is not connected: %s, %v", w.state(b, id), e.Because)
	}
	if w.count(cloud.KindCustomerAsked) != 0 || w.waiting() != 1 {
		t.Error("a diagnosis was asked for, or not sent")
	}
	b.want(204, "POST", "/v1/sessions/"+id+"/close", nil)
	if e := w.last(cloud.KindSessionClosed); len(e.Because) == 0 {
		t.Error("the end of the session names no cause")
	}
	w.session(b, "diagnose", "metrics")
	if w.count(cloud.KindCustomerAsked) != 1 {
		t.Error("live metrics went unasked")
	}
}
