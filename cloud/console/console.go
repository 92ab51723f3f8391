// Package console serves the web pages of Hearthline: the console for support agents and the inbox for
// customers. The pages are a single-page application in TypeScript; its source lies beside this file and
// its built form is embedded from dist/, which holds only a dot file until somebody runs
//
//	npm ci && npm run build
//
// in this folder. Without that the package still builds, and Handler serves a page that says so.
//
// What the pages may do is held down by a content security policy: scripts and data from this origin
// only, no framing, and styles only from files or under the nonce of the one answer.
package console

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed all:dist
var built embed.FS

// noncePlace is what index.html holds where the nonce of an answer belongs.
const noncePlace = "__CSP_NONCE__"

// Handler serves the embedded pages. Mount it at "/" behind the API: it answers GET and HEAD, hands
// index.html to every path that looks like a page, and 404 to missing assets and to paths under /v1/.
// It is safe for concurrent use.
func Handler() http.Handler {
	dist, err := fs.Sub(built, "dist")
	if err != nil {
		panic(err) // "dist" is a constant and valid
	}
	return newHandler(dist)
}

func newHandler(dist fs.FS) http.Handler {
	h := &handler{files: make(map[string]*file)}
	// An embedded file system cannot fail to be read, and a test's cannot either.
	fs.WalkDir(dist, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(path.Base(name), ".") {
			return err
		}
		body, err := fs.ReadFile(dist, name)
		if err == nil {
			h.files[name] = newFile(name, body)
		}
		return err
	})
	if index := h.files["index.html"]; index != nil {
		h.index = string(index.body)
		delete(h.files, "index.html")
	}
	return h
}

type handler struct {
	index string // "" when the console was not built
	files map[string]*file
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		head.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	switch f := h.files[name]; {
	case f != nil:
		f.serve(w, r)
	case name == "v1" || strings.HasPrefix(name, "v1/") || path.Ext(name) != "" && name != "index.html":
		http.NotFound(w, r)
	case h.index == "":
		h.serveNotBuilt(w)
	default:
		h.serveIndex(w)
	}
}

// serveIndex sends the page under a fresh nonce. It is small and never cached: a cached page would carry
// the nonce of another answer, and would point at the assets of another version.
func (h *handler) serveIndex(w http.ResponseWriter) {
	nonce := rand.Text()
	head := w.Header()
	head.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-"+nonce+"'; "+
		"img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "+
		"base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	head.Set("Cache-Control", "no-store")
	head.Set("Content-Type", "text/html; charset=utf-8")
	w.Write([]byte(strings.ReplaceAll(h.index, noncePlace, nonce)))
}

const notBuilt = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Hearthline: console not built</title>
<h1>The console is not built into this program</h1>
<p>The service is running and its API answers under <a href="/openapi.json">/openapi.json</a>.
To have the pages too, build them and then the program (Node 20 or newer):</p>
<pre>cd cloud/console
npm ci
npm run build
cd ../..
go build ./cmd/hearth-cloud</pre>
</html>
`

func (h *handler) serveNotBuilt(w http.ResponseWriter) {
	head := w.Header()
	head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	head.Set("Cache-Control", "no-store")
	head.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusServiceUnavailable)
	w.Write([]byte(notBuilt))
}

// file is one embedded file. Its compressed form is made when it is first asked for.
type file struct {
	name, kind, etag string
	body             []byte
	zip              func() []byte // nil when compression does not pay
}

func newFile(name string, body []byte) *file {
	sum := sha256.Sum256(body)
	f := &file{
		name: name,
		kind: mime.TypeByExtension(path.Ext(name)),
		etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
		body: body,
	}
	switch path.Ext(name) {
	case ".js", ".css", ".svg", ".json", ".webmanifest", ".txt":
		f.zip = sync.OnceValue(func() []byte {
			var b bytes.Buffer
			z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is valid
			z.Write(body)
			z.Close()
			return b.Bytes()
		})
	}
	return f
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	if f.kind != "" {
		head.Set("Content-Type", f.kind)
	}
	// Vite puts a hash of the content into the names below assets/, so these never change.
	if strings.HasPrefix(f.name, "assets/") {
		head.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		head.Set("Cache-Control", "no-cache")
	}
	body, etag := f.body, f.etag
	if f.zip != nil {
		head.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header.Get("Accept-Encoding")) {
			body, etag = f.zip(), strings.TrimSuffix(f.etag, `"`)+`-gz"`
			head.Set("Content-Encoding", "gzip")
		}
	}
	head.Set("ETag", etag)
	if strings.Contains(r.Header.Get("If-None-Match"), etag) {
		head.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	head.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

// acceptsGzip reads an Accept-Encoding header (RFC 9110, section 12.5.3) as far as gzip goes.
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, param, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.TrimSpace(name) != "gzip" {
			continue
		}
		weight, ok := strings.CutPrefix(strings.TrimSpace(param), "q=")
		q, err := strconv.ParseFloat(weight, 64)
		return !ok || err == nil && q > 0
	}
	return false
}
