package app

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/cloud/gateway/external/mosquittotest"
)

func TestALiveScreenLearnsOfAChangeAtOnce(t *testing.T) {
	w := newWorld(t)
	b := w.staff()
	next := b.watch("/v1/homes/" + home + "/events")
	begin := time.Now()
	slowResolver(w)
	if got := next(); got != `{"home":"`+home+`"}` {
		t.Errorf("got %s", got)
	}
	if took := time.Since(begin); took > 500*time.Millisecond {
		t.Errorf("it took %s", took)
	}
}

func TestALiveScreenOfOneInstanceShowsWhatAnotherCommitted(t *testing.T) {
	var broker *mosquittotest.Broker
	w := newWorld(t, func(o *Options) {
		authority, err := ca.Open(ca.Options{Dir: filepath.Join(o.Data, "gateway")})
		if err != nil {
			t.Fatal(err)
		}
		if broker, err = mosquittotest.New(authority); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { broker.Close() })
		o.Broker, o.MQTT, o.Instance = "tls://"+broker.Inner, broker.Outer, "a"
	})
	other := w.beside("b")
	here, there := w.staff(), other.staff()
	woken, stop := other.gateway.Waker().Subscribe(tenant, "nobody's")
	defer stop()
	for connected := false; !connected; {
		w.gateway.Waker().Wake(tenant, "nobody's")
		select {
		case <-woken:
			connected = true
		case <-time.After(100 * time.Millisecond):
		}
	}
	next := there.watch("/v1/homes/" + home + "/events")
	tickets := 0
	write := func() {
		t.Helper()
		here.want(200, "POST", "/v1/tickets", map[string]string{"home": home, "title": "slow"})
		tickets++
	}
	for range 5 { // each instance may still say once that it has reached the broker
		write()
		next()
	}
	broker.Kill()
	write() // nobody hears of it
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	next()
	if got := len(there.want(200, "GET", "/v1/tickets", nil).items()); got != tickets {
		t.Errorf("the screen shows %d tickets of %d", got, tickets)
	}
}
