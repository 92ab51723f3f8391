package timeline_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

func words(s string) iter.Seq[string] { return strings.FieldsSeq(s) }

// kinds reads the declared kinds from the source, so that a new one without words fails here.
func kinds(t *testing.T) []cloud.Kind {
	t.Helper()
	var out []cloud.Kind
	for _, src := range []struct{ file, typ string }{{"../entry.go", "Kind"}, {"../../protocol/event.go", "EventKind"}} {
		f, err := parser.ParseFile(token.NewFileSet(), src.file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || len(v.Values) != 1 {
				return true
			}
			if id, ok := v.Type.(*ast.Ident); !ok || id.Name != src.typ {
				return true
			}
			if lit, ok := v.Values[0].(*ast.BasicLit); ok {
				s, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, cloud.Kind(s))
			}
			return true
		})
	}
	if len(out) < 30 {
		t.Fatalf("found only %d kinds in the source", len(out))
	}
	return out
}

func TestEveryKindOfEntryHasWordsInEveryLanguage(t *testing.T) {
	for _, kind := range kinds(t) {
		for _, lang := range timeline.Languages {
			e := cloud.Entry{Kind: kind}
			if s := timeline.Summary(lang, &e); s == string(kind) || s == "" {
				t.Errorf("%s has no words in %s", kind, lang)
			}
		}
	}
}

func TestSummariesFillInWhatTheEntryKnowsAndLeaveOutWhatItDoesNot(t *testing.T) {
	symptom := cloud.Entry{Kind: "symptom.seen", Args: map[string]string{"metric": "dns.latency_ms", "instance": "10.0.0.1", "value": "812.4", "normal": "14.2"}}
	bare := cloud.Entry{Kind: "symptom.seen", Args: map[string]string{"metric": "wan.loss_ratio"}}
	risk := cloud.Entry{Kind: "risk.raised", Risk: &protocol.Risk{Probability: 0.82, Reasons: []protocol.Reason{
		{Feature: "dns.latency_ms", Instance: "10.0.0.1", Value: 812, Normal: 14, Share: 0.7},
	}}}
	diagnosis := cloud.Entry{Kind: "diagnosis.done", Diagnosis: &protocol.Diagnosis{
		Request: protocol.DiagnosisRequest{Kind: "connection"}, Verdict: protocol.Verdict{Segment: "isp", Code: "uplink.loss"},
	}}
	for _, c := range []struct {
		name, lang string
		entry      cloud.Entry
		want       string
	}{
		{"a symptom with everything", "en", symptom, "Time to look up a name (DNS) (10.0.0.1) is out of its normal range: 812 ms, usually 14.2 ms"},
		{"a symptom in Chinese", "zh-CN", symptom, "域名解析时间（DNS）（10.0.0.1）超出正常范围：812 ms，平时为 14.2 ms"},
		{"a symptom with the metric alone", "en", bare, "Packet loss to the internet is out of its normal range"},
		{"a risk with its reasons", "en", risk, "A connection fault is likely (82%): Time to look up a name (DNS) (10.0.0.1) 812 ms, usually 14 ms"},
		{"a diagnosis", "zh-TW", diagnosis, "診斷完成（整條連線）：網路供應商，上行鏈路封包遺失"},
		{"a choice without the names of its parts", "en", cloud.Entry{Kind: "fix.chosen", Args: map[string]string{"plan": "switch-resolver", "choice": "order=2, resolver=10.0.0.2"}}, "Fix chosen: switch to another DNS resolver (2, 10.0.0.2)"},
		{"a start that has no story", "en", cloud.Entry{Kind: "agent.started", Args: map[string]string{"reason": "start"}}, "The hub's agent started"},
		{"the end of a session in words", "zh-CN", cloud.Entry{Kind: "session.ended", Args: map[string]string{"reason": "connection_lost"}}, "网关结束了远程协助：连接中断"},
		{"an unknown language falls back", "fr", bare, "Packet loss to the internet is out of its normal range"},
		{"a kind of tomorrow shows itself", "en", cloud.Entry{Kind: "door.opened"}, "door.opened"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := timeline.Summary(c.lang, &c.entry); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// verdicts finds the codes that the drivers give, in their source.
var verdicts = regexp.MustCompile(`verdict\(protocol\.Segment\w+, "([a-z.]+)"|\.Code(?:, [^=]*)? = "([a-z.]+)"`)

func TestEveryVerdictOfADriverHasWordsInEveryLanguage(t *testing.T) {
	files, err := filepath.Glob("../../firmware-bridge/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range verdicts.FindAllStringSubmatch(string(b), -1) {
			found[m[1]+m[2]] = true
		}
	}
	if len(found) < 15 {
		t.Fatalf("found only %d verdicts in the source", len(found))
	}
	for code := range found {
		for _, lang := range timeline.Languages {
			if !strings.HasSuffix(code, ".") && timeline.Word(lang, "code", code) == code {
				t.Errorf("%s has no words in %s", code, lang)
			}
		}
	}
}

func TestTheLanguageThatSuitsATagBest(t *testing.T) {
	for tag, want := range map[string]string{
		"": "en", "en-GB": "en", "zh": "zh-CN", "zh-Hans": "zh-CN", "zh-TW": "zh-TW", "zh-Hant-HK": "zh-TW", "zh-HK": "zh-TW",
		"fr, zh-TW;q=0.8, en;q=0.5": "zh-TW", "fr": "en",
	} {
		if got := timeline.Language(tag); got != want {
			t.Errorf("%q suits %s, want %s", tag, got, want)
		}
	}
}

func TestTextsRefuseALanguageThatFellBehind(t *testing.T) {
	good := func() fstest.MapFS {
		return fstest.MapFS{
			"en.json":    {Data: []byte(`{"a":"one {x}","b":"two"}`)},
			"zh-CN.json": {Data: []byte(`{"a":"一 {x}","b":"二"}`)},
			"zh-TW.json": {Data: []byte(`{"a":"一 {x}","b":"二"}`)},
		}
	}
	if _, err := timeline.LoadTexts(good(), "."); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a missing key":       `{"a":"一 {x}"}`,
		"a foreign key":       `{"a":"一 {x}","b":"二","c":"三"}`,
		"a missing argument":  `{"a":"一","b":"二"}`,
		"another format":      `{"a":"一 {x:time}","b":"二"}`,
		"something malformed": `{"a":`,
	} {
		files := good()
		files["zh-TW.json"].Data = []byte(text)
		if _, err := timeline.LoadTexts(files, "."); err == nil || !strings.Contains(err.Error(), "zh-TW") {
			t.Errorf("%s: got %v, want an error that names zh-TW", name, err)
		}
	}
}

func TestACohortIsSaidInWords(t *testing.T) {
	for _, c := range []struct{ lang, names, want string }{
		{"en", "firmware=3.9.2", "firmware 3.9.2"},
		{"en", "model=HL-2&firmware=3.9.2", "model HL-2 with firmware 3.9.2"},
		{"en", "region=north&isp=A%26B+Net", "region north at provider A&B Net"},
		{"zh-CN", "model=HL-2&firmware=3.9.2", "型号 HL-2、固件 3.9.2"},
		{"en", "3.9.2", "3.9.2"},
		{"en", "%zz", "%zz"},
	} {
		if got := timeline.Cohort(c.lang, c.names); got != c.want {
			t.Errorf("%s in %s: %q, want %q", c.names, c.lang, got, c.want)
		}
	}
	e := cloud.Entry{Kind: cloud.KindProblemLinked, Args: map[string]string{"cohort": "firmware=3.9.2"}}
	if got := timeline.Summary("en", &e); got != "This home is affected by a known problem: firmware 3.9.2" {
		t.Error(got)
	}
}

func TestAReasonThatReadsAsUsualIsNotSaidByItsValue(t *testing.T) {
	mute := protocol.Reason{Feature: "dns.failure_ratio", Value: 0.0000001, Normal: 0}
	slow := protocol.Reason{Feature: "dns.latency_ms", Value: 900, Normal: 12}
	if got, want := timeline.Reason("en", mute), "Failed name look-ups (DNS)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, c := range []struct {
		reasons []protocol.Reason
		want    string
	}{
		{[]protocol.Reason{mute, slow}, "A connection fault is likely (90%): Time to look up a name (DNS) 900 ms, usually 12 ms"},
		{[]protocol.Reason{mute}, "A connection fault is likely (90%): Failed name look-ups (DNS)"},
	} {
		e := cloud.Entry{Kind: cloud.KindRiskRaised, Risk: &protocol.Risk{Probability: 0.9, Reasons: c.reasons}}
		if got := timeline.Summary("en", &e); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestMomentsInATextAreShownInTheReadersZone(t *testing.T) {
	zone := time.FixedZone("", -5*3600)
	for text, want := range map[string]string{
		"away since 2026-03-01T02:05:09Z":                           "away since 2026-02-28 21:05:09",
		"from 2026-03-01T12:00:00.5Z to 2026-03-01T14:00:00+01:00.": "from 2026-03-01 07:00:00 to 2026-03-01 08:00:00.",
		"they said 2026-13-01T00:00:00Z":                            "they said 2026-13-01T00:00:00Z",
	} {
		if got := timeline.InZone(text, zone); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}
