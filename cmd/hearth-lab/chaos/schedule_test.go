package chaos

import (
	"fmt"
	"testing"
	"time"
)

var machines = []role{cloudRole, brokerRole, hubRole, hubRole, hubRole}

// text is a schedule without the addresses of its kinds.
func text(plan map[string][]fault) string {
	s := map[string][]string{}
	for track, list := range plan {
		for _, f := range list {
			s[track] = append(s[track], f.pause.String()+" "+f.String())
		}
	}
	return fmt.Sprint(s)
}

func TestASeedReproducesItsSchedule(t *testing.T) {
	one := text(schedule(1, time.Hour, faults, machines))
	if again := text(schedule(1, time.Hour, faults, machines)); one != again {
		t.Errorf("%s\nand then\n%s", one, again)
	}
	if other := text(schedule(2, time.Hour, faults, machines)); one == other {
		t.Error("another seed gives the same")
	}
	kills := text(map[string][]fault{"": killings(1, 100, machines)})
	if again := text(map[string][]fault{"": killings(1, 100, machines)}); kills != again {
		t.Errorf("%s\nand then\n%s", kills, again)
	}
}

func TestAScheduleHoldsToWhatItsKindsSay(t *testing.T) {
	const length = time.Hour
	for seed := range uint64(20) {
		names := map[string]int{}
		for track, list := range schedule(seed, length, faults, machines) {
			var at time.Duration
			for _, f := range list {
				names[f.kind.name]++
				at += f.pause + f.hold
				on := machines[f.machine]
				if f.kind.track != track || f.hold > f.kind.most || f.kind.exact && f.hold != f.kind.most {
					t.Errorf("track %s has %s", track, f)
				}
				ok := false
				for _, r := range f.kind.on {
					ok = ok || r == on
				}
				if _, jumps := f.kind.trouble.(clockJump); !ok || jumps != (f.jump != 0) {
					t.Errorf("%s on %s", f, on)
				}
			}
			if at > length || at < length*9/10 {
				t.Errorf("track %s takes %s of %s", track, at, length)
			}
		}
		for _, k := range faults {
			if names[k.name] == 0 {
				t.Errorf("seed %d: no %s in an hour", seed, k.name)
			}
		}
	}
}

func TestKillsHitTheCloudInAQuarterOfAllCases(t *testing.T) {
	n := map[role]int{}
	for _, f := range killings(1, 1000, machines) {
		n[machines[f.machine]]++
	}
	if n[cloudRole] < 200 || n[cloudRole] > 300 || n[brokerRole] < 50 || n[hubRole] < 500 {
		t.Errorf("%v", n)
	}
}
