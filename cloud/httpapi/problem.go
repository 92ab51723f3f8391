package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Fault is an error as the API answers it: Problem Details (RFC 9457) with a code for programs and the
// offending fields for people. It never repeats what the caller sent.
type Fault struct {
	Type   string       `json:"type" format:"uri" default:"about:blank"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail"`
	Code   cloud.Code   `json:"code" enum:"invalid,unauthorized,forbidden,not_found,conflict,unavailable,internal"`
	Errors []FieldFault `json:"errors,omitempty"`
}

// FieldFault is what is wrong with one field.
type FieldFault struct {
	Field   string `json:"field" doc:"where: body.promise.due, query.limit"`
	Message string `json:"message"`
}

func (f *Fault) Error() string  { return string(f.Code) + ": " + f.Detail }
func (f *Fault) GetStatus() int { return f.Status }

// ContentType implements huma.ContentTypeFilter.
func (f *Fault) ContentType(string) string { return "application/problem+json" }

var codes = map[int]cloud.Code{
	http.StatusBadRequest:            cloud.CodeInvalid,
	http.StatusUnprocessableEntity:   cloud.CodeInvalid,
	http.StatusRequestEntityTooLarge: cloud.CodeInvalid,
	http.StatusUnsupportedMediaType:  cloud.CodeInvalid,
	http.StatusNotAcceptable:         cloud.CodeInvalid,
	http.StatusUnauthorized:          cloud.CodeUnauthorized,
	http.StatusForbidden:             cloud.CodeForbidden,
	http.StatusNotFound:              cloud.CodeNotFound,
	http.StatusConflict:              cloud.CodeConflict,
	http.StatusServiceUnavailable:    cloud.CodeUnavailable,
	http.StatusTooManyRequests:       cloud.CodeUnavailable,
}

// codeInternal is a fault of ours; its cause is in the log alone.
const codeInternal cloud.Code = "internal"

func newFault(status int, detail string, errs ...error) *Fault {
	f := &Fault{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Code: codes[status]}
	if f.Code == "" {
		f.Code = codeInternal
	}
	for _, err := range errs {
		var d huma.ErrorDetailer
		if errors.As(err, &d) {
			e := d.ErrorDetail()
			f.Errors = append(f.Errors, FieldFault{e.Location, e.Message})
		}
	}
	if len(f.Errors) > 0 && detail == "validation failed" {
		f.Detail = f.Errors[0].Field + ": " + f.Errors[0].Message
	}
	return f
}

// useFaults makes huma answer with Fault and describe lists as lists. huma keeps these choices in package
// variables.
var useFaults = sync.OnceFunc(func() {
	huma.DefaultArrayNullable = false
	huma.NewError = func(status int, detail string, errs ...error) huma.StatusError {
		return newFault(status, detail, errs...)
	}
})

// fault turns an error of the domain into an answer. What nobody foresaw is logged, once, here; the
// caller learns only that it happened.
func fault(ctx context.Context, log *slog.Logger, op string, err error) error {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	var e *cloud.Error
	switch {
	case errors.As(err, &e):
		status := map[cloud.Code]int{
			cloud.CodeInvalid: 422, cloud.CodeUnauthorized: 401, cloud.CodeForbidden: 403,
			cloud.CodeNotFound: 404, cloud.CodeConflict: 409, cloud.CodeUnavailable: 503,
		}[e.Code]
		f := newFault(status, e.Message)
		if e.Field != "" {
			f.Errors = []FieldFault{{e.Field, e.Message}}
			f.Detail = e.Field + ": " + e.Message
		}
		return f
	case errors.Is(err, store.ErrNotFound):
		return newFault(http.StatusNotFound, "there is no such thing")
	case errors.Is(err, store.ErrInvalid):
		return newFault(http.StatusUnprocessableEntity, "a value in the request cannot be used: "+strings.TrimPrefix(err.Error(), "store: "))
	case errors.Is(err, protocol.ErrInvalid):
		return newFault(http.StatusUnprocessableEntity, err.Error())
	case errors.Is(err, store.ErrFull):
		return newFault(http.StatusServiceUnavailable, "the disk is full; reading still works")
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrClosed):
		return newFault(http.StatusServiceUnavailable, "the store cannot be reached, try again")
	case errors.Is(err, context.Canceled):
		return newFault(http.StatusServiceUnavailable, "the request was given up")
	}
	log.ErrorContext(ctx, "request failed", "operation", op, "error", err)
	return newFault(http.StatusInternalServerError, "something went wrong on our side")
}
