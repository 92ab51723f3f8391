package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"time"

	"github.com/hearthline/hearthline/cloud/httpapi"
)

// client speaks the HTTP API as one person: a cookie, and the CSRF token that goes with it.
type client struct {
	base string
	http *http.Client
	csrf string
}

func newClient(base string) (*client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &client{base: base, http: &http.Client{Jar: jar, Timeout: 10 * time.Second}}, nil
}

// signIn makes the client act as a member of staff.
func (c *client) signIn(ctx context.Context, name, password string) error {
	var me httpapi.Me
	if err := c.post(ctx, "/v1/sign-in", map[string]string{"name": name, "password": password}, &me); err != nil {
		return err
	}
	c.csrf = me.CSRF
	return nil
}

// openInbox makes the client act as the customer whose signed token it is.
func (c *client) openInbox(ctx context.Context, token string) error {
	var inbox struct {
		CSRF string `json:"csrf"`
	}
	if err := c.post(ctx, "/v1/inbox/open", map[string]string{"token": token}, &inbox); err != nil {
		return err
	}
	c.csrf = inbox.CSRF
	return nil
}

func (c *client) get(ctx context.Context, path string, query url.Values, into any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.do(ctx, http.MethodGet, path, nil, into)
}

func (c *client) post(ctx context.Context, path string, body, into any) error {
	return c.do(ctx, http.MethodPost, path, body, into)
}

func (c *client) do(ctx context.Context, method, path string, body, into any) error {
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, sent)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.csrf != "" {
		req.Header.Set("X-CSRF-Token", c.csrf)
	}
	resp, err := c.http.Do(req)
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
