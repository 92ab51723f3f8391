package app

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
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

// unheard is how long a live screen may go without an event that it waits for: below httpapi.LookAgain, so
// that only a wake can bring it.
const unheard = 10 * time.Second

// watch opens a stream of changes and reads its first event, which tells that it is open. next returns the
// data of each further one.
func (b *browser) watch(path string) (next func() string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), "GET", b.base+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := (&http.Client{Jar: b.http.Jar}).Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	next = func() string {
		b.t.Helper()
		defer time.AfterFunc(unheard, func() { resp.Body.Close() }).Stop()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		b.t.Fatalf("stream %s said nothing for %s: %v", path, unheard, lines.Err())
		return ""
	}
	next()
	return next
}
