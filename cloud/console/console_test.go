package console

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

var site = fstest.MapFS{
	".keep":             {},
	"index.html":        {Data: []byte(`<meta name="csp-nonce" content="__CSP_NONCE__"><div id="root">`)},
	"favicon.svg":       {Data: []byte(`<svg/>`)},
	"assets/app-1a2.js": {Data: []byte(strings.Repeat("console.log(1);", 100))},
}

func get(t *testing.T, h http.Handler, method, url string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, url, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestEveryPathGetsTheRightAnswer(t *testing.T) {
	for _, c := range []struct {
		why, method, url string
		status           int
		cache, kind      string
	}{
		{"the root is the page", "GET", "/", 200, "no-store", "text/html; charset=utf-8"},
		{"a page of the application is the page", "GET", "/customers/k2", 200, "no-store", "text/html; charset=utf-8"},
		{"the page by its file name is the page", "GET", "/index.html", 200, "no-store", "text/html; charset=utf-8"},
		{"a hashed asset may be kept for ever", "GET", "/assets/app-1a2.js", 200, "public, max-age=31536000, immutable", "text/javascript; charset=utf-8"},
		{"another file is checked each time", "GET", "/favicon.svg", 200, "no-cache", "image/svg+xml"},
		{"an asset of another version is missing, not a page", "GET", "/assets/app-000.js", 404, "", ""},
		{"an unknown route of the API is missing, not a page", "GET", "/v1/nothing", 404, "", ""},
		{"the dot file is not served", "GET", "/.keep", 404, "", ""},
		{"a path cannot climb out", "GET", "/assets/../../console.go", 404, "", ""},
		{"the pages cannot be written", "POST", "/", 405, "", ""},
	} {
		t.Run(c.why, func(t *testing.T) {
			got := get(t, newHandler(site), c.method, c.url)
			if got.StatusCode != c.status {
				t.Fatalf("status %d, want %d", got.StatusCode, c.status)
			}
			if c.status != 200 {
				return
			}
			if h := got.Header.Get("Cache-Control"); h != c.cache {
				t.Errorf("Cache-Control %q, want %q", h, c.cache)
			}
			if h := got.Header.Get("Content-Type"); h != c.kind {
				t.Errorf("Content-Type %q, want %q", h, c.kind)
			}
		})
	}
}

func TestThePageCarriesTheNonceOfItsPolicyAndNeverTheSameTwice(t *testing.T) {
	h := newHandler(site)
	seen := map[string]bool{}
	for range 3 {
		res := get(t, h, "GET", "/")
		body, _ := io.ReadAll(res.Body)
		_, rest, _ := strings.Cut(string(body), `content="`)
		nonce, _, _ := strings.Cut(rest, `"`)
		policy := res.Header.Get("Content-Security-Policy")
		if len(nonce) < 16 || seen[nonce] || !strings.Contains(policy, "'nonce-"+nonce+"'") {
			t.Fatalf("nonce %q, policy %q", nonce, policy)
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("policy allows something unsafe: %q", policy)
		}
		seen[nonce] = true
	}
}

func TestAnAssetIsCompressedForThoseWhoAskAndRevalidatedByItsTag(t *testing.T) {
	h := newHandler(site)
	for _, c := range []struct {
		accept string
		zipped bool
	}{{"gzip, br", true}, {"br, gzip;q=0.5", true}, {"gzip;q=0", false}, {"br", false}, {"", false}} {
		res := get(t, h, "GET", "/assets/app-1a2.js", "Accept-Encoding", c.accept)
		if zipped := res.Header.Get("Content-Encoding") == "gzip"; zipped != c.zipped {
			t.Fatalf("Accept-Encoding %q: compressed %v, want %v", c.accept, zipped, c.zipped)
		}
		body := io.Reader(res.Body)
		if c.zipped {
			var err error
			if body, err = gzip.NewReader(res.Body); err != nil {
				t.Fatal(err)
			}
		}
		got, err := io.ReadAll(body)
		if err != nil || string(got) != string(site["assets/app-1a2.js"].Data) {
			t.Errorf("Accept-Encoding %q: got %d bytes, %v", c.accept, len(got), err)
		}
		again := get(t, h, "GET", "/assets/app-1a2.js", "Accept-Encoding", c.accept, "If-None-Match", res.Header.Get("ETag"))
		if again.StatusCode != http.StatusNotModified {
			t.Errorf("Accept-Encoding %q: status %d for a known tag, want 304", c.accept, again.StatusCode)
		}
	}
}

func TestWithoutABuildThePageSaysHowToMakeOne(t *testing.T) {
	res := get(t, newHandler(fstest.MapFS{".keep": {}}), "GET", "/customers")
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "npm run build") {
		t.Fatalf("status %d, body %q", res.StatusCode, body)
	}
}

func TestTheEmbeddedPagesAreServedWhereTheyWereBuilt(t *testing.T) {
	want := http.StatusServiceUnavailable
	if _, err := fs.Stat(built, "dist/index.html"); err == nil {
		want = http.StatusOK
	}
	if res := get(t, Handler(), "GET", "/"); res.StatusCode != want {
		t.Fatalf("status %d, want %d", res.StatusCode, want)
	}
}
