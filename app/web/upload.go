package web

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces/errs"
)

const (
	drain     = 1 << 20         // bytes read off a refused upload, so that the browser sees why
	drainOurs = 256 << 20       // the same, when it comes from a form of ours
	readPause = 2 * time.Minute // an upload that stands still for so long is given up
	maxToken  = 200             // bytes of the field before the files
)

// transfer reads an upload from the connection. The server's own limit is for whole
// requests and would cut a large file; here each read has its own.
type transfer struct {
	in    io.Reader
	conn  net.Conn
	spare int64 // bytes that are read off at the end
	err   error // io.EOF: the end was seen, and reading on would eat the next request
}

func (t *transfer) Read(p []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	if t.conn != nil {
		_ = t.conn.SetReadDeadline(time.Now().Add(readPause))
	}
	n, err := t.in.Read(p)
	t.err = err
	return n, err
}

// openParts begins to read a form with files. Its first field is the token against
// forgery, so that no byte of a file is taken before it is checked.
func (r *request) openParts() error {
	in := r.Context().RequestBodyStream()
	if in == nil {
		in = bytes.NewReader(r.Ctx.Body())
	}
	r.upload = &transfer{in: in, conn: r.Context().Conn(), spare: drain}
	kind, params, err := mime.ParseMediaType(r.Get(fiber.HeaderContentType))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return errs.New(errs.Invalid, "Files are sent as multipart/form-data.").WithHint("Use the form of the page.")
	}
	r.parts = multipart.NewReader(r.upload, params["boundary"])
	first, err := r.parts.NextPart()
	if err != nil {
		return brokenUpload(err)
	}
	sent := []byte{}
	if first.FormName() == "csrf" && first.FileName() == "" {
		if sent, err = io.ReadAll(io.LimitReader(first, maxToken)); err != nil {
			return brokenUpload(err)
		}
	}
	if err := r.checkCSRF(string(sent)); err != nil {
		return err
	}
	r.upload.spare = drainOurs
	return nil
}

// finishParts reads a little of what a handler left, and closes the connection when
// there is more: the rest would be taken for the next request.
func (r *request) finishParts() {
	if r.upload == nil || r.upload.err == io.EOF {
		return
	}
	_, _ = io.CopyN(io.Discard, r.upload, r.upload.spare+1)
	if r.upload.err != io.EOF {
		r.Context().SetConnectionClose()
	}
}

func brokenUpload(err error) error {
	return errs.Wrap(errs.Invalid, err, "The upload ended before it was whole.").WithHint("Send the file again.")
}

// filePart is a file of an upload whose broken transfer is nobody's fault here.
type filePart struct{ *multipart.Part }

func (p filePart) Read(b []byte) (int, error) {
	n, err := p.Part.Read(b)
	if err != nil && err != io.EOF {
		err = brokenUpload(err)
	}
	return n, err
}
