package predict

import (
	"math"
	"strings"
	"testing"

	"github.com/hearthline/hearthline/protocol/risk"
)

func TestReasonsAreSaidInThreeLanguages(t *testing.T) {
	s, err := NewSpeaker()
	if err != nil {
		t.Fatal(err)
	}
	nan := math.NaN()
	score := risk.Score{N: 3, Reasons: [risk.MaxReasons]risk.Reason{
		{Signal: "dns.latency_ms", Share: 0.7, What: risk.WhatChange, Value: 812, Usual: 14},
		{Signal: "fault", Share: 0.2, What: risk.WhatRecent, Value: 3 * 3600, Usual: nan},
		{Signal: "gateway.loss_ratio", Share: 0.1, What: risk.WhatLevel, Value: nan, Usual: nan},
	}}
	for lang, want := range map[string][]string{
		"en":         {"Different from usual here: the time to look up a name, 812 ms, usually 14 ms", "Not long ago: connection faults, 3 h ago", "Now: packet loss to the router"},
		"zh-CN":      {"与平时不同：域名解析时间，812 ms，通常为 14 ms", "不久前出现过：连接故障，3 h 前", "当前到路由器的丢包"},
		"zh-Hant-TW": {"與平時不同：網域名稱查詢時間，812 ms，通常為 14 ms", "不久前出現過：連線故障，3 h 前", "目前到路由器的封包遺失"},
	} {
		got := s.Explain(lang, score)
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%s:\n got %q\nwant %q", lang, got, want)
		}
	}
}

func TestEverySignalAspectAndAbstentionHasWords(t *testing.T) {
	s, err := NewSpeaker()
	if err != nil {
		t.Fatal(err)
	}
	for _, lang := range []string{"en", "zh-CN", "zh-TW"} {
		for _, sig := range HubInput(5, 600).Signals {
			for w := risk.WhatLevel; w <= risk.WhatAge; w++ {
				text := s.Explain(lang, risk.Score{N: 1, Reasons: [risk.MaxReasons]risk.Reason{{Signal: sig.Name, What: w, Value: 1, Usual: 2}}})[0]
				if strings.Contains(text, sig.Name) || strings.Contains(text, "reason.") || strings.Contains(text, "?") {
					t.Errorf("%s: %s/%s is said as %q", lang, sig.Name, w, text)
				}
			}
		}
		for a := risk.TooNew; a <= risk.TooUnusual; a++ {
			text := s.Explain(lang, risk.Score{Abstain: a})[0]
			if strings.HasPrefix(text, "abstain.") {
				t.Errorf("%s: no words for %s", lang, a)
			}
		}
	}
}
