package home

import (
	"reflect"
	"testing"
	"time"
)

func TestASeedGivesTheSameFaultsAndAnotherSeedOthers(t *testing.T) {
	a, b, c := schedule(7, time.Hour), schedule(7, time.Hour), schedule(8, time.Hour)
	if !reflect.DeepEqual(a, b) {
		t.Error("the same seed gave two schedules")
	}
	if reflect.DeepEqual(a, c) {
		t.Error("two seeds gave one schedule")
	}
	if longer := schedule(7, 2*time.Hour); !reflect.DeepEqual(a, longer[:len(a)]) {
		t.Error("a longer recording does not begin like a shorter one")
	}
}

func TestEveryScheduledFaultIsValidAndFitsIntoTheRecording(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(200) {
		total := time.Duration(0)
		for _, e := range schedule(seed, 20*time.Minute) {
			seen[e.Fault.Kind]++
			total += e.After + e.Ramp + e.Hold
			for n := range rampSteps + 1 {
				if err := e.step(n).validate(); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			if e.Ramp > 0 && e.step(rampSteps).Value != e.Fault.Value {
				if got := e.step(rampSteps).Value; got < e.Fault.Value*0.999 || got > e.Fault.Value*1.001 {
					t.Errorf("seed %d: the ramp of %v ends at %g", seed, e.Fault, got)
				}
			}
		}
		if total > 20*time.Minute {
			t.Errorf("seed %d: faults take %v of 20m", seed, total)
		}
	}
	for _, s := range shapes {
		if seen[s.kind] == 0 {
			t.Errorf("%s was never drawn", s.kind)
		}
	}
}
