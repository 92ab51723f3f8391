package app

import (
	"encoding/json"
	"testing"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

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
