package app

import (
	"strings"
	"testing"
	"time"

	"github.com/hearthline/hearthline/protocol"
)

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
