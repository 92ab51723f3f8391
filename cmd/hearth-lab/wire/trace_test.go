package wire

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func trace(t *testing.T, csv string) (*Trace, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace.csv")
	if err := os.WriteFile(path, []byte(csv), 0o600); err != nil {
		t.Fatal(err)
	}
	return ReadTrace(path)
}

func TestEveryNotationOfANumberComesBackAsItWas(t *testing.T) {
	for name, csv := range map[string]string{
		"decimal":             "ts_ms,a,b\n1000,1.25,-3\n2000,1.250000001,4\n",
		"exponent":            "ts_ms,a,b\n1000,9.5e-05,1E3\n2000,1e-9,1.2345678901e+10\n",
		"missing":             "ts_ms,a,b\n1000,,nan\n2000,NaN,1\n",
		"byte order mark":     "\ufeffts_ms,a\r\n1000,1\r\n",
		"time going back":     "ts_ms,a\n1000,1\n500,2\n",
		"more than one block": "ts_ms,a\n1,1\n2,2\n3,3\n4,4\n5,5\n",
	} {
		tr, err := trace(t, csv)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := Measure(tr, 2, 1); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsWrongWithATraceIsNamed(t *testing.T) {
	for csv, want := range map[string]string{
		"":                          "empty",
		"ts_ms,a\n":                 "no rows",
		"time,a\n1,2\n":             `first column is "time", want ts_ms`,
		"ts_ms\n1\n":                "at least one metric",
		"ts_ms,a\n1.5,2\n":          `line 2, column ts_ms: "1.5" is not a whole number`,
		"ts_ms,a\n1,2\n2,x\n":       `line 3, column a: "x" is not a finite number`,
		"ts_ms,a\n1,+Inf\n":         `line 2, column a: "+Inf" is not a finite number`,
		"ts_ms,a\n1,0.1234567891\n": `line 2, column a: "0.1234567891" has 10 digits behind the point, at most 9`,
		"ts_ms,a\n1,0.5\n2,-2e14\n": "row 1, column a: -2e+14 with 1 digits behind the point",
		"ts_ms,a\n1,2,3\n":          "record on line 2: wrong number of fields",
	} {
		if _, err := trace(t, csv); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q: %v, want %q", csv, err, want)
		}
	}
}
