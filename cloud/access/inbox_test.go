package access

import (
	"bytes"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func testInbox(t testing.TB, b byte) *Inbox {
	t.Helper()
	i, err := NewInbox(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestATokenOpensItsInboxUntilItEnds(t *testing.T) {
	i := testInbox(t, 1)
	token, ends, err := i.Token("acme", "mei", noon)
	if err != nil {
		t.Fatal(err)
	}
	for at, ok := range map[time.Time]bool{noon: true, ends.Add(-time.Second): true, ends: false, ends.Add(time.Hour): false} {
		if tenant, customer, err := i.Open(token, at); (err == nil) != ok || ok && (tenant != "acme" || customer != "mei") {
			t.Errorf("at %s: %s %s %v", at, tenant, customer, err)
		}
	}
	if _, _, err := testInbox(t, 2).Open(token, noon); err == nil {
		t.Error("a token of another key opens")
	}
	if _, _, err := new(Inbox).Open(token, noon); err == nil {
		t.Error("an inbox without a key opens")
	}
}

func TestACSRFTokenIsNoInboxToken(t *testing.T) {
	i := testInbox(t, 1)
	head := "acme.mei.zzzzzz"
	if _, _, err := i.Open(head+"."+i.CSRF(head), noon); err == nil {
		t.Error("what protects a form opens an inbox")
	}
}

func FuzzOpenTakesNoTokenThatWasNotSigned(f *testing.F) {
	i := testInbox(f, 1)
	good, _, err := i.Token("acme", "mei", noon)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{good, "", ".", "...", "acme.mei.zz.", good + "x", "x" + good} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if _, _, err := i.Open(token, noon); err == nil && token != good {
			t.Errorf("%q opens an inbox", token)
		}
	})
}

func TestPasswordsAreCheckedByTheirHash(t *testing.T) {
	h, err := hash("correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	again, err := hash("correct horse battery")
	if err != nil || again == h {
		t.Error("two hashes of one password are alike", err)
	}
	if !verify(h, "correct horse battery") || verify(h, "correct horse batterz") || verify("", "x") || verify(nobody, "") {
		t.Error("a password is taken wrongly")
	}
	if _, err := hash("short"); err == nil {
		t.Error("a short password is taken")
	}
}
