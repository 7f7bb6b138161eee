package web

import (
	"io"
	"mime"
	"mime/multipart"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/body"
	"octopuses.dev/octopuses/spaces/errs"
)

const (
	readPause = 2 * time.Minute // an upload that stands still for so long is given up
	maxToken  = 200             // bytes of the field before the files
)

// takesFile marks a row whose form has a file.
func takesFile(r route) route { r.parts = true; return r }

// openParts begins to read a form with files. Its first field is the token against
// forgery, so that no byte of a file is taken before it is checked.
func (r *request) openParts() error {
	// The server's own limit is for whole requests and would cut a large file.
	in := body.Of(r.Ctx)
	in.Pause = readPause
	kind, params, err := mime.ParseMediaType(r.Get(fiber.HeaderContentType))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return errs.New(errs.Invalid, "Files are sent as multipart/form-data.").WithHint("Use the form of the page.")
	}
	r.parts = multipart.NewReader(in, params["boundary"])
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
	in.Ours = true
	return nil
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
