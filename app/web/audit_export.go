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
	"octopuses.dev/octopuses/spaces/errs"
)

// exportBatch is how many entries are read in one transaction.
const exportBatch = 1000

// auditFilter is what the query of the audit asks for.
func (r *request) auditFilter(take int) spaces.EventFilter {
	f := spaces.EventFilter{Take: take, Category: r.Query("category"), Text: strings.TrimSpace(r.Query("q"))}
	// Days are those of the server's clock, which is UTC.
	if t, err := time.Parse(time.DateOnly, r.Query("from")); err == nil {
		f.From = t
	}
	if t, err := time.Parse(time.DateOnly, r.Query("until")); err == nil {
		f.Until = t.AddDate(0, 0, 1)
	}
	return f
}

// exported is a line of an export, in JSON with the names of the API.
type exported struct {
	ID            string          `json:"Id"`
	Occurred      time.Time       `json:"Occurred"`
	UserID        string          `json:"UserId"`
	Username      string          `json:"Username"`
	Category      string          `json:"Category"`
	Message       string          `json:"Message"`
	Entity        string          `json:"Entity"`
	EntityID      string          `json:"EntityId"`
	Via           string          `json:"Via"`
	IPAddress     string          `json:"IpAddress"`
	ChangeDetails []spaces.Change `json:"ChangeDetails,omitempty"` // not in CSV
}

var exportHead = []string{"Id", "Occurred", "UserId", "Username", "Category", "Message", "Entity", "EntityId", "Via", "IpAddress"}

// exporter writes entries in a format; flush passes on what it keeps.
func exporter(format string, w io.Writer) (write func(spaces.Event) error, flush func() error) {
	line := func(e spaces.Event) exported {
		return exported{e.ID.String(), e.At.UTC(), e.ActorID, e.ActorName, e.Category, e.Message, e.Entity, e.EntityID, e.Via, e.Address, e.Changes}
	}
	if format == "jsonl" {
		out := json.NewEncoder(w)
		return func(e spaces.Event) error { return out.Encode(line(e)) }, func() error { return nil }
	}
	out := csv.NewWriter(w)
	_ = out.Write(exportHead) // an error is told by flush
	return func(e spaces.Event) error {
		x := line(e)
		row := []string{x.ID, x.Occurred.Format(time.RFC3339Nano), x.UserID, x.Username, x.Category, x.Message, x.Entity, x.EntityID, x.Via, x.IPAddress}
		for i, s := range row {
			if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
				row[i] = "'" + s // a spreadsheet would run it as a formula
			}
		}
		return out.Write(row)
	}, func() error { out.Flush(); return out.Error() }
}

// exportAudit sends all entries that match, newest first, in batches, each with the
// rights that the person has then. What breaks off ends the connection, so that no part
// is taken for the whole.
func exportAudit(r *request) error {
	format, kind := r.Query("format"), "text/csv; charset=utf-8"
	switch format {
	case "jsonl":
		kind = "application/jsonl"
	case "csv":
	default:
		return errs.New(errs.Invalid, "The audit is exported as csv or jsonl, not as '%.20s'.", format)
	}
	f := r.auditFilter(exportBatch)
	read := func(tx *spaces.ReadTx) ([]spaces.Event, error) { return tx.Events(f) }
	batch, err := spaces.View(r.ctx, r.space, r.actor, read) // a refusal is a page
	if err != nil {
		return err
	}
	r.Set(fiber.HeaderContentType, kind)
	r.Set(fiber.HeaderContentDisposition, mime.FormatMediaType("attachment", map[string]string{"filename": "audit-" + r.about.Slug + "." + format}))
	// The writer runs after the handler returned: it keeps values, never the request.
	base, token, user, number, inst, log, id := r.s.Base, r.Cookies(sessionCookie), r.session.User.ID, r.about.Number, r.s.Instance, r.s.Log, r.id
	space, conn, actor := r.space.Hold(), r.Context().Conn(), r.actor
	next := func() error {
		ctx, cancel := context.WithTimeout(base, requestTime)
		defer cancel()
		if _, err := inst.SessionByToken(ctx, token); err != nil {
			return err
		}
		p, err := inst.Permissions(ctx, user, number)
		if err != nil {
			return err
		}
		actor.Permissions = p
		f.Before = batch[len(batch)-1].ID
		batch, err = spaces.View(ctx, space, actor, read)
		return err
	}
	r.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		defer space.Release()
		write, flush := exporter(format, w)
		err := func() error {
			for {
				_ = conn.SetWriteDeadline(time.Now().Add(streamWrite)) // WriteTimeout is for pages
				for _, e := range batch {
					if err := write(e); err != nil {
						return err
					}
				}
				if err := flush(); err != nil {
					return err
				}
				if err := w.Flush(); err != nil || len(batch) < exportBatch {
					return err
				}
				if err := next(); err != nil {
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
