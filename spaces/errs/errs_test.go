package errs_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces/errs"
)

func TestKindGoesThroughWrappings(t *testing.T) {
	t.Parallel()
	inner := errs.New(errs.NotFound, "The project 'x' was not found.")
	wrapped := fmt.Errorf("show page: %w", fmt.Errorf("load: %w", inner))
	for _, c := range []struct {
		name string
		err  error
		want errs.Kind
	}{
		{"an error of ours", inner, errs.NotFound},
		{"wrapped twice", wrapped, errs.NotFound},
		{"joined", errors.Join(io.EOF, wrapped), errs.NotFound},
		{"a bare kind", fmt.Errorf("x: %w", errs.Busy), errs.Busy},
		{"the outermost of two counts", errs.Wrap(errs.Unavailable, inner, "No."), errs.Unavailable},
		{"a stranger", io.EOF, errs.Internal},
	} {
		if got := errs.KindOf(c.err); got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	if !errors.Is(wrapped, errs.NotFound) || errors.Is(wrapped, errs.Denied) {
		t.Error("errors.Is does not tell kinds apart")
	}
	if err := errs.Wrap(errs.Unavailable, io.ErrUnexpectedEOF, "No answer."); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
}

// What people see never tells the cause.
func TestTextForPeople(t *testing.T) {
	t.Parallel()
	secret := errors.New("open /etc/keys: permission denied")
	for _, c := range []struct {
		err  error
		want string
	}{
		{errs.Wrap(errs.Unavailable, secret, "The disk is full.").WithHint("Free %d MB.", 5), "The disk is full. Free 5 MB."},
		{errs.Missing("project", "Projects-7"), "The project 'Projects-7' was not found."},
		{errs.Wrap(errs.Internal, secret, "Reading %s failed.", "keys"), "Something went wrong on the server."},
		{fmt.Errorf("read: %w", secret), "Something went wrong on the server."},
		{&errs.Error{Kind: errs.Stale}, "stale"},
		{&errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "Name", Message: "Too long."}}}, "Too long."},
	} {
		if got := errs.TextOf(c.err); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	if err := errs.Wrap(errs.Internal, secret, "Reading failed."); !strings.Contains(err.Error(), secret.Error()) {
		t.Error("the log does not see the cause")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	var c errs.Check
	c.Require(true, "Name", "never")
	if err := c.Err(); err != nil {
		t.Errorf("nothing was wrong: %v", err)
	}
	c.Require(false, "Name", "The name is longer than %d characters.", 50)
	c.Require(false, "Slug", "The slug is taken.")
	err := fmt.Errorf("create: %w", c.Err())
	fields := errs.FieldsOf(err)
	if !errors.Is(err, errs.Invalid) || len(fields) != 2 || fields[0] != (errs.Field{Name: "Name", Message: "The name is longer than 50 characters."}) {
		t.Errorf("%v: %+v", err, fields)
	}
	if errs.FieldsOf(io.EOF) != nil {
		t.Error("a stranger has fields")
	}
}
