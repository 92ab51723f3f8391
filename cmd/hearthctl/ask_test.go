package main

import (
	"testing"
	"time"
)

func TestMomentsInATextAreShownInTheReadersZone(t *testing.T) {
	local := time.Local
	defer func() { time.Local = local }()
	time.Local = time.FixedZone("", -5*3600)
	for text, want := range map[string]string{
		"away since 2026-03-01T02:05:09Z":                           "away since 2026-02-28 21:05:09",
		"from 2026-03-01T12:00:00.5Z to 2026-03-01T14:00:00+01:00.": "from 2026-03-01 07:00:00 to 2026-03-01 08:00:00.",
		"they said 2026-13-01T00:00:00Z":                            "they said 2026-13-01T00:00:00Z",
	} {
		if got := said(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}
