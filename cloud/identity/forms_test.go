package identity

import (
	"slices"
	"strings"
	"testing"
)

func TestPhonesInAnyNotationComeToOneForm(t *testing.T) {
	for _, c := range []struct{ raw, region, want string }{
		{"0912-345-678", "TW", "+886912345678"},
		{"+886 912 345 678", "", "+886912345678"},
		{"(020) 7946 0000", "GB", "+442079460000"},
		{"13800138000", "CN", "+8613800138000"},
		{"0912345678", "", ""}, // of nowhere
		{"12", "TW", ""},
		{"call me", "TW", ""},
		{"+" + strings.Repeat("9", 40), "", ""},
	} {
		got, err := Phone(c.raw, c.region)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q in %q is %q, %v; want %q", c.raw, c.region, got, err, c.want)
		}
	}
}

func TestEmailsAreCheckedAndComparedInLowerCase(t *testing.T) {
	for raw, want := range map[string]string{
		" Mei@Example.COM ": "mei@example.com", "mei": "", "Mei <mei@example.com>": "", "a@b@c": "", "": "",
	} {
		if got, err := Email(raw); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", raw, got, err, want)
		}
	}
}

func TestNamesAreFoundByWordsAndWithinUnspacedScripts(t *testing.T) {
	for name, want := range map[string][]string{
		"Mei-Ling O'Neil": {"mei", "ling", "o", "neil"},
		"王小明":             {"王小明", "小明", "明"},
		"李 Anna":          {"李", "anna"},
		"  ":              nil,
	} {
		if got := Words(name); !slices.Equal(got, want) {
			t.Errorf("%q is found by %v, want %v", name, got, want)
		}
	}
}
