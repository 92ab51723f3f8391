package latency

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/httpapi"
	"github.com/hearthline/hearthline/cmd/hearth-lab/person"
	"github.com/hearthline/hearthline/protocol"
)

// patience is how long what must be seen is waited for.
const patience = 30 * time.Second

// screen is a person with a page open: at every event of a live stream the page is asked for again.
type screen struct {
	stands chan struct{} // closed when the stream has said its first word
	end    chan error    // nil when what was looked for has been seen
	at     time.Time     // when; valid after end
}

// watch opens the screen and looks for what found reports, until ctx ends.
func watch(ctx context.Context, who *person.Person, stream string, found func(context.Context) (bool, error)) *screen {
	s := &screen{stands: make(chan struct{}), end: make(chan error, 1)}
	seen := errors.New("seen")
	go func() {
		first := true
		err := who.Watch(ctx, stream, func(string, string) error {
			if first {
				close(s.stands)
				first = false
			}
			ok, err := found(ctx)
			if ok {
				s.at = time.Now()
				return seen
			}
			return err
		})
		if errors.Is(err, seen) {
			err = nil
		}
		s.end <- err
	}()
	return s
}

// ready waits until the screen cannot miss anything any more.
func (s *screen) ready() error {
	select {
	case <-s.stands:
		return nil
	case err := <-s.end:
		return err
	}
}

// saw returns how long after begin what was looked for was seen.
func (s *screen) saw(begin time.Time) (time.Duration, error) {
	err := <-s.end
	return s.at.Sub(begin), err
}

// people are who watches: a member of staff, and the customer of the home in question.
type people struct {
	base  string
	staff *person.Person
}

func signIn(ctx context.Context, base, password string) (*people, error) {
	staff, err := person.New(base)
	if err != nil {
		return nil, err
	}
	return &people{base, staff}, staff.SignIn(ctx, "admin", password)
}

// timeline is a page of the desk on which the symptom is to appear.
func (p *people) timeline(ctx context.Context, home string) *screen {
	return watch(ctx, p.staff, "/v1/homes/"+home+"/events", func(ctx context.Context) (bool, error) {
		var page httpapi.Page[httpapi.EntryView]
		err := p.staff.Get(ctx, "/v1/homes/"+home+"/entries", url.Values{"limit": {"20"}}, &page)
		return slices.ContainsFunc(page.Items, func(e httpapi.EntryView) bool { return e.Kind == cloud.Kind(protocol.EventSymptom) }), err
	})
}

// inbox is the customer's app, in which the good news is to appear.
func (p *people) inbox(ctx context.Context, customer string) (*screen, error) {
	var link struct {
		Token string `json:"token"`
	}
	if err := p.staff.Post(ctx, "/v1/customers/"+customer+"/inbox-link", nil, &link); err != nil {
		return nil, err
	}
	who, err := person.New(p.base)
	if err != nil {
		return nil, err
	}
	if err := who.OpenInbox(ctx, link.Token); err != nil {
		return nil, err
	}
	return watch(ctx, who, "/v1/inbox/events", func(ctx context.Context) (bool, error) {
		var page httpapi.Inbox
		err := who.Get(ctx, "/v1/inbox", nil, &page)
		return slices.ContainsFunc(page.Notices, func(n httpapi.NoticeView) bool { return n.Tone == "good" }), err
	}), nil
}
