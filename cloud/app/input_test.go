package app

import (
	"strings"
	"testing"
	"time"
)

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
