package wake

import "testing"

func woken(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestAWakeReachesThoseWhoWatchTheHomeOrItsTenantAndNobodyElse(t *testing.T) {
	var l Local
	home, stopHome := l.Subscribe("acme", "home1")
	all, stopAll := l.Subscribe("acme", "")
	other, stopOther := l.Subscribe("acme", "home2")
	foreign, stopForeign := l.Subscribe("other", "home1")
	defer stopOther()
	defer stopForeign()

	l.Wake("acme", "home1")
	l.Wake("acme", "home1") // merged into the first, which waits
	if !woken(home) || woken(home) || !woken(all) || woken(all) {
		t.Error("want one wake of the home and one of the tenant")
	}
	if woken(other) || woken(foreign) {
		t.Error("another home was woken")
	}
	l.Wake("", "")
	if !woken(home) || !woken(all) || !woken(other) || !woken(foreign) {
		t.Error("somebody was not told to look")
	}
	stopHome()
	stopAll()
	l.Wake("acme", "home1")
	if woken(home) || woken(all) {
		t.Error("woken after the end")
	}
	stopOther()
	stopForeign()
	if len(l.watchers) != 0 {
		t.Errorf("%d places are still watched", len(l.watchers))
	}
}
