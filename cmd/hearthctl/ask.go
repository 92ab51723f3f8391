package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	texts "github.com/hearthline/hearthline/cloud/timeline"
)

// service is the API as a terminal uses it: signed in by name and password, then by bearer token.
type service struct {
	base, token, lang string
}

// serviceFlags declares what reaches a service; connect signs in.
func serviceFlags(f *pflag.FlagSet) (connect func(ctx context.Context) (*service, error)) {
	base := f.String("url", "http://127.0.0.1:8080", "address of the service")
	user := f.String("user", "admin", "name to sign in with")
	file := f.String("password-file", "", "file that holds the password; default is $HEARTH_PASSWORD")
	lang := f.String("lang", "en", "en, zh-CN or zh-TW")
	return func(ctx context.Context) (*service, error) {
		password := os.Getenv("HEARTH_PASSWORD")
		if *file != "" {
			b, err := os.ReadFile(*file)
			if err != nil {
				return nil, err
			}
			password = strings.TrimSpace(string(b))
		}
		if password == "" {
			return nil, errors.New("no password: set HEARTH_PASSWORD or give --password-file")
		}
		s := &service{base: strings.TrimRight(*base, "/"), lang: *lang}
		return s, s.signIn(ctx, *user, password)
	}
}

func (s *service) signIn(ctx context.Context, user, password string) error {
	b, err := json.Marshal(map[string]string{"name": user, "password": password})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+"/v1/sign-in", bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return problem(resp)
	}
	for _, c := range resp.Cookies() {
		if c.Name == "hearth_session" {
			s.token = c.Value
		}
	}
	return nil
}

func problem(resp *http.Response) error {
	var p struct {
		Detail string `json:"detail"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&p) != nil || p.Detail == "" {
		p.Detail = resp.Status
	}
	return errors.New(p.Detail)
}

func (s *service) open(ctx context.Context, path string, query url.Values) (*http.Response, error) {
	return s.request(ctx, http.MethodGet, path+"?"+query.Encode(), nil)
}

func (s *service) request(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Accept-Language", s.lang)
	resp, err := http.DefaultClient.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, problem(resp)
	}
	return resp, err
}

func (s *service) get(ctx context.Context, path string, query url.Values, out any) error {
	return s.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil, out)
}

func (s *service) post(ctx context.Context, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return s.call(ctx, http.MethodPost, path, bytes.NewReader(b), out)
}

func (s *service) call(ctx context.Context, method, path string, body io.Reader, out any) error {
	resp, err := s.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(out)
}

func find(ctx context.Context, args []string) error {
	f := pflag.NewFlagSet("hearthctl find WORDS", pflag.ContinueOnError)
	connect := serviceFlags(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() == 0 {
		return errors.New("give what to look for")
	}
	s, err := connect(ctx)
	if err != nil {
		return err
	}
	var page struct {
		Items []struct {
			Customer struct {
				ID, Name string
				Phones   []string
			}
			Homes       []struct{ ID, Name string }
			Devices     []struct{ ID, Name string }
			OpenTickets int `json:"open_tickets"`
			Matched     string
		}
	}
	if err := s.get(ctx, "/v1/find", url.Values{"q": {strings.Join(f.Args(), " ")}}, &page); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, m := range page.Items {
		fmt.Fprintf(w, "%s\t%s\t%s\tby %s\t%d open tickets\n", m.Customer.Name, m.Customer.ID, strings.Join(m.Customer.Phones, " "), m.Matched, m.OpenTickets)
		for _, h := range m.Homes {
			fmt.Fprintf(w, "  home\t%s\t%s\n", h.ID, h.Name)
		}
		for _, d := range m.Devices {
			fmt.Fprintf(w, "  device\t%s\t%s\n", d.ID, d.Name)
		}
	}
	return w.Flush()
}

type entry struct {
	ID      string
	At      time.Time
	Kind    string
	Summary string
	Because []string
}

func timeline(ctx context.Context, args []string) error {
	f := pflag.NewFlagSet("hearthctl timeline HOME", pflag.ContinueOnError)
	connect := serviceFlags(f)
	follow := f.BoolP("follow", "f", false, "go on printing what is new")
	limit := f.IntP("lines", "n", 50, "entries to begin with, up to 200")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 1 {
		return errors.New("give one home")
	}
	s, err := connect(ctx)
	if err != nil {
		return err
	}
	path, query := "/v1/homes/"+url.PathEscape(f.Arg(0)), url.Values{"limit": {fmt.Sprint(*limit)}}
	printed := map[string]bool{}
	show := func() error {
		var page struct{ Items []entry }
		if err := s.get(ctx, path+"/entries", query, &page); err != nil {
			return err
		}
		for i := len(page.Items) - 1; i >= 0; i-- {
			if e := page.Items[i]; !printed[e.ID] {
				printed[e.ID] = true
				fmt.Printf("%s  %-18s %s\n", e.At.Local().Format("2006-01-02 15:04:05.000"), e.Kind, texts.InZone(e.Summary, time.Local))
			}
		}
		return nil
	}
	if err := show(); err != nil || !*follow {
		return err
	}
	resp, err := s.open(ctx, path+"/events", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if lines.Text() == "event: changed" {
			if err := show(); err != nil {
				return err
			}
		}
	}
	return errors.New("the service has gone away")
}
