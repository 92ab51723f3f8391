package cloud

import (
	"errors"
	"fmt"
)

// Code is the class of an Error: what a caller can do about it.
type Code string

// The codes. Everything else is an internal fault, logged once at the edge and never shown.
const (
	CodeInvalid      Code = "invalid"      // the input is wrong; Field names where
	CodeUnauthorized Code = "unauthorized" // nobody is signed in
	CodeForbidden    Code = "forbidden"    // this caller may not
	CodeNotFound     Code = "not_found"
	CodeConflict     Code = "conflict"    // the state does not allow it now
	CodeUnavailable  Code = "unavailable" // try again later
)

// Error is an error that may be shown to a caller.
type Error struct {
	Code    Code
	Field   string // the offending field, for CodeInvalid
	Message string // a sentence; no personal data
	Err     error  // may be nil
}

func (e *Error) Error() string {
	s := string(e.Code)
	if e.Field != "" {
		s += " " + e.Field
	}
	s += ": " + e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an Error without a field.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalid returns an Error of CodeInvalid for a field.
func Invalid(field, format string, args ...any) error {
	return &Error{Code: CodeInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of err, or "" when it is no Error.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
