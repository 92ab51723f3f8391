package demo

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/httpapi"
	"github.com/hearthline/hearthline/cmd/hearth-lab/person"
	"github.com/hearthline/hearthline/protocol"
)

// watching returns a witness of a timeline that shows the given entries, oldest first.
func watching(t *testing.T, entries *[]httpapi.EntryView) *witness {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var page httpapi.Page[httpapi.EntryView]
		for i := len(*entries) - 1; i >= 0; i-- {
			page.Items = append(page.Items, (*entries)[i])
		}
		json.NewEncoder(w).Encode(page)
	}))
	t.Cleanup(server.Close)
	c, err := person.New(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &witness{staff: c, home: "h"}
}

func entry(id string, kind cloud.Kind, because ...protocol.EntryID) httpapi.EntryView {
	return httpapi.EntryView{Entry: cloud.Entry{ID: protocol.EntryID(id), Kind: kind, Because: because, Recorded: time.Now()}}
}

func TestTheWitnessSeesWhatIsLostDoubledOrWithoutItsCause(t *testing.T) {
	before := []httpapi.EntryView{entry("hub.1.1", "a"), entry("hub.1.2", "b", "hub.1.1"), entry("cloud", "c", "hub.1.2")}
	for _, c := range []struct {
		name string
		now  []httpapi.EntryView
		fine bool
	}{
		{"nothing changed", before, true},
		{"more came", append(before[:3:3], entry("hub.1.3", "d")), true},
		{"an entry of the cloud is gone", before[:2], false},
		{"an entry is there twice", append(before[:3:3], before[2]), false},
		{"a device's event is missing", append(before[:3:3], entry("hub.1.4", "d")), false},
		{"a cause is missing", append(before[:3:3], entry("later", "d", "nowhere")), false},
	} {
		if err := watching(t, &c.now).lost(t.Context(), before); (err == nil) != c.fine {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func TestAChainMustReachASampleTakenAfterTheFault(t *testing.T) {
	mark := time.Now().Add(-time.Minute)
	symptom := entry("hub.1.1", noticed[0])
	chosen, told := entry("chosen", cloud.KindFixChosen, "hub.1.1"), entry("told", cloud.KindCustomerTold, "chosen")
	for _, c := range []struct {
		name    string
		sampled time.Time
		through cloud.Kind
		fine    bool
	}{
		{"a sample after the fault", mark.Add(time.Second), cloud.KindFixChosen, true},
		{"a sample from before the fault", mark.Add(-time.Second), cloud.KindFixChosen, false},
		{"a step that did not happen", mark.Add(time.Second), cloud.KindTicketOpened, false},
	} {
		symptom.Evidence = []protocol.Evidence{{Metric: "m", To: c.sampled.UnixMilli()}}
		all := []httpapi.EntryView{symptom, chosen, told}
		chain, err := watching(t, &all).awaitChain(context.Background(), 0, mark, cloud.KindCustomerTold, c.through)
		if (err == nil) != c.fine || c.fine && len(chain) != 3 {
			t.Errorf("%s: got a chain of %d, %v", c.name, len(chain), err)
		}
	}
}
