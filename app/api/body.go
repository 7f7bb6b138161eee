package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
)

// receive reads the body of a write before its handler runs, so that each of them
// refuses alike what is too large or no JSON. Uploads are left to their handler.
func (r *request) receive() error {
	if m := r.Method(); m != fiber.MethodPost && m != fiber.MethodPut || r.row.transfer {
		return nil
	}
	var err error
	if r.payload, err = r.body.All(r.row.Limit()); err != nil || len(r.payload) == 0 {
		return err
	}
	if !json.Valid(r.payload) {
		var v any
		return decode(r.payload, &v)
	}
	return nil
}

// readJSON decodes the body into a fresh T. Names are matched without case and unknown
// ones are ignored, since clients send back what they modelled.
func readJSON[T any](r *request) (T, error) {
	var v T
	err := decode(r.payload, &v)
	return v, err
}

func decode(data []byte, v any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return errs.New(errs.Invalid, "The request has no body; JSON is expected.")
	}
	err := json.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	var ours *errs.Error
	if errors.As(err, &ours) {
		return ours
	}
	var bad *json.UnmarshalTypeError
	if errors.As(err, &bad) {
		return errs.Wrap(errs.Invalid, err, "'%s' is %s where %s is expected.", bad.Field, bad.Value, bad.Type.Kind())
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return errs.Wrap(errs.Invalid, err, "The body is not JSON: %v, after %d bytes.", syntax, syntax.Offset)
	}
	return errs.Wrap(errs.Invalid, err, "The body is not as expected: %v.", err)
}

// readOver decodes the body laid over what is stored: a property that the client leaves
// out stays as it is, one that is sent replaces the stored one whole.
func readOver[T any](r *request, stored any) (T, error) {
	var v T
	var sent map[string]json.RawMessage
	if err := decode(r.payload, &sent); err != nil {
		return v, err
	}
	base, err := json.Marshal(stored)
	if err != nil {
		return v, err
	}
	var merged map[string]json.RawMessage
	if err := json.Unmarshal(base, &merged); err != nil {
		return v, err
	}
	names := make(map[string]string, len(merged))
	for name := range merged {
		names[strings.ToLower(name)] = name
	}
	for name, value := range sent {
		if known, ok := names[strings.ToLower(name)]; ok {
			name = known
		}
		merged[name] = value
	}
	whole, err := json.Marshal(merged)
	if err != nil {
		return v, err
	}
	err = decode(whole, &v)
	return v, err
}

// upload finds the first file of a multipart body. Its bytes come straight from the
// connection and are limited to max.
func (r *request) upload(max int64) (name string, file io.Reader, err error) {
	kind, params, err := mime.ParseMediaType(r.Get(fiber.HeaderContentType))
	if err != nil || !strings.HasPrefix(kind, "multipart/") || params["boundary"] == "" {
		return "", nil, errs.New(errs.Invalid, "A package is uploaded as multipart/form-data.").WithHint("Send one part with a file name, such as web.1.2.3.zip.")
	}
	r.body.Ours = true
	parts := multipart.NewReader(io.LimitReader(r.body, max+maxJSON), params["boundary"])
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			return "", nil, errs.New(errs.Invalid, "The upload holds no file.").WithHint("Send one part with a file name, such as web.1.2.3.zip.")
		}
		if err != nil {
			return "", nil, errs.Wrap(errs.Invalid, err, "The upload could not be read.")
		}
		if part.FileName() != "" {
			return part.FileName(), &filePart{part, max}, nil
		}
	}
}

// filePart is a part whose broken transfer is the client's fault, not ours.
type filePart struct {
	*multipart.Part
	max int64
}

func (p *filePart) Read(b []byte) (int, error) {
	n, err := p.Part.Read(b)
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, errs.Wrap(errs.Invalid, err, "The upload ended in the middle of the file, or is larger than %s.", packages.Bytes(p.max))
	}
	return n, errs.Wrap(errs.Invalid, err, "The upload could not be read.")
}
