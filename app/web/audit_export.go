package web

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"mime"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// exportBatch is how many entries are read in one transaction.
const exportBatch = 1000

var exportHead = []string{"Id", "Occurred", "UserId", "Username", "Category", "Message", "Entity", "EntityId", "Via", "IpAddress"}

// exporter writes entries in a format; flush passes on what it keeps.
func exporter(format string, w io.Writer) (write func(audit.Line) error, flush func() error) {
	if format == "jsonl" {
		out := json.NewEncoder(w)
		return func(x audit.Line) error { return out.Encode(x) }, func() error { return nil }
	}
	out := csv.NewWriter(w)
	_ = out.Write(exportHead) // an error is told by flush
	return func(x audit.Line) error {
		row := []string{x.ID, x.Occurred.Format(time.RFC3339Nano), x.UserID, x.Username, x.Category, x.Message, x.Entity, x.EntityID, x.Via, x.IPAddress}
		for i, s := range row {
			if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
				row[i] = "'" + s // a spreadsheet would run it as a formula
			}
		}
		return out.Write(row)
	}, func() error { out.Flush(); return out.Error() }
}

// exportSpaceAudit sends all entries that match, newest first, in batches, each with the
// rights that the person has then.
func exportSpaceAudit(r *request) error {
	f := r.auditAsked().ofSpace(exportBatch)
	// The writer runs after the handler returned: it keeps values, never the request.
	space, actor, about, user, inst := r.space.Hold(), r.actor, r.about, r.session.User.ID, r.s.Instance
	return r.export("audit-"+about.Slug, space.Release, func(ctx context.Context) ([]audit.Line, error) {
		var err error
		if actor.Permissions, err = inst.Permissions(ctx, user, about.Number); err != nil {
			return nil, err
		}
		batch, err := spaces.View(ctx, space, actor, func(tx *spaces.ReadTx) ([]spaces.Event, error) { return tx.Events(f) })
		out := make([]audit.Line, len(batch))
		for i, e := range batch {
			out[i], f.Before = e.Line(about.ID()), e.ID
		}
		return out, err
	})
}

func exportServerAudit(r *request) error {
	f := r.auditAsked().ofServer(exportBatch)
	inst, user := r.s.Instance, r.session.User.ID
	return r.export("audit-server", func() {}, func(ctx context.Context) ([]audit.Line, error) {
		p, err := inst.SystemPermissions(ctx, user)
		if err != nil {
			return nil, err
		}
		if !p.Any(access.EventView) {
			return nil, access.Missing(access.EventView)
		}
		batch, err := inst.Events(ctx, f)
		out := make([]audit.Line, len(batch))
		for i, e := range batch {
			out[i], f.Before = e.Line(), e.ID
		}
		return out, err
	})
}

// export sends a file of the batches that next reads, until one is not full; done is called
// at the end. What breaks off ends the connection, so that no part is taken for the whole.
func (r *request) export(name string, done func(), next func(context.Context) ([]audit.Line, error)) error {
	format, kind := r.Query("format"), "text/csv; charset=utf-8"
	switch format {
	case "jsonl":
		kind = "application/jsonl"
	case "csv":
	default:
		done()
		return errs.New(errs.Invalid, "The audit is exported as csv or jsonl, not as '%.20s'.", format)
	}
	batch, err := next(r.ctx) // a refusal is a page
	if err != nil {
		done()
		return err
	}
	r.Set(fiber.HeaderContentType, kind)
	r.Set(fiber.HeaderContentDisposition, mime.FormatMediaType("attachment", map[string]string{"filename": name + "." + format}))
	base, token, inst, log, id, conn := r.s.Base, r.cookie(sessionCookie), r.s.Instance, r.s.Log, r.id, r.Context().Conn()
	more := func() (err error) {
		ctx, cancel := context.WithTimeout(base, requestTime)
		defer cancel()
		if _, err = inst.SessionByToken(ctx, token); err == nil {
			batch, err = next(ctx)
		}
		return err
	}
	r.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		defer done()
		write, flush := exporter(format, w)
		err := func() error {
			for {
				_ = conn.SetWriteDeadline(time.Now().Add(streamWrite)) // WriteTimeout is for pages
				for _, x := range batch {
					if err := write(x); err != nil {
						return err
					}
				}
				if err := flush(); err != nil {
					return err
				}
				if err := w.Flush(); err != nil || len(batch) < exportBatch {
					return err
				}
				if err := more(); err != nil {
					return err
				}
			}
		}()
		if err != nil {
			log.Warn("export of audit broke off", "request", id, "err", err)
			_ = conn.Close()
		}
	})
	return nil
}
