// Package person is somebody at a screen, for the lab: signs in as a browser does, asks, writes, and watches
// live streams.
package person

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud/httpapi"
)

// Person speaks the HTTP API with a cookie of its own and the CSRF token that goes with it. Once signed in,
// it may be used concurrently.
type Person struct {
	base string
	http *http.Client
	csrf string
}

// New returns a person who has not signed in yet, at the service whose address is base (http://host:port).
func New(base string) (*Person, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &Person{base: base, http: &http.Client{Jar: jar, Timeout: 10 * time.Second}}, nil
}

// SignIn makes the person a member of staff.
func (p *Person) SignIn(ctx context.Context, name, password string) error {
	var me httpapi.Me
	if err := p.Post(ctx, "/v1/sign-in", map[string]string{"name": name, "password": password}, &me); err != nil {
		return err
	}
	p.csrf = me.CSRF
	return nil
}

// OpenInbox makes the person the customer whose signed token it is.
func (p *Person) OpenInbox(ctx context.Context, token string) error {
	var inbox struct {
		CSRF string `json:"csrf"`
	}
	if err := p.Post(ctx, "/v1/inbox/open", map[string]string{"token": token}, &inbox); err != nil {
		return err
	}
	p.csrf = inbox.CSRF
	return nil
}

// Get decodes the answer into into, unless that is nil. An answer of 300 and above is an error.
func (p *Person) Get(ctx context.Context, path string, query url.Values, into any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return p.do(ctx, http.MethodGet, path, nil, into)
}

// Post sends body as JSON, and goes on as Get does.
func (p *Person) Post(ctx context.Context, path string, body, into any) error {
	return p.do(ctx, http.MethodPost, path, body, into)
}

func (p *Person) do(ctx context.Context, method, path string, body, into any) error {
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.base+path, sent)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if p.csrf != "" {
		req.Header.Set("X-CSRF-Token", p.csrf)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(answer))
	}
	if into == nil || len(answer) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// Watch reads a stream of server-sent events until ctx ends or each returns an error, and returns why it
// ended. It does not connect again.
func (p *Person) Watch(ctx context.Context, path string, each func(event, data string) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+path, nil)
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	resp, err := (&http.Client{Jar: p.http.Jar}).Do(req) // without a timeout
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("watch %s: %s", path, resp.Status)
	}
	event, lines := "", bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			event = name
		} else if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if err := each(event, data); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("watch %s: %w", path, cmp.Or(lines.Err(), io.ErrUnexpectedEOF))
}
