package api

import (
	"errors"
	"mime"
	"os"
	"path/filepath"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// archiveRoutes come before those of events, whose /events/:id takes any word.
func archiveRoutes() []Row {
	return []Row{
		get("/events/archives", InSpace, access.EventRetentionView, listArchives),
		moving(get("/events/archives/:name", InSpace, access.EventRetentionView, showArchive)),
		del("/events/archives/:name", InSpace, access.EventRetentionDelete, deleteArchive),
		get("/configuration/event-retention/values", SignedIn, access.ConfigureServer, showRetention),
		put("/configuration/event-retention/values", SignedIn, access.ConfigureServer, saveRetention),
	}
}

type archiveResource struct {
	FileName     string    `json:"FileName"`
	CreatedDate  time.Time `json:"CreatedDate"`
	ModifiedDate time.Time `json:"ModifiedDate"`
	FileBytes    int64     `json:"FileBytes"`
	Events       int64     `json:"Events"`
	SHA256       string    `json:"Sha256"`
	Links        links     `json:"Links"`
}

func listArchives(r *request) error {
	all, err := view(r, (*spaces.ReadTx).Archives)
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "EventArchive", slice(r, all), func(a audit.Archive) archiveResource {
		name := audit.FileName(a.Day)
		return archiveResource{FileName: name, CreatedDate: a.CreatedAt, ModifiedDate: a.CreatedAt, FileBytes: a.Size, Events: a.Events, SHA256: a.SHA256, Links: links{"Self": r.in("events", "archives", name)}}
	}))
}

// day is the day that the path names by its file.
func (r *request) day() (string, error) {
	day, ok := audit.DayOf(r.param("name"))
	if !ok {
		return "", errs.Missing("archive of the audit", r.param("name"))
	}
	return day, nil
}

func showArchive(r *request) error {
	day, err := r.day()
	if err != nil {
		return err
	}
	a, err := view(r, func(tx *spaces.ReadTx) (audit.Archive, error) { return tx.Archive(day) })
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(r.space.AuditDir(), audit.FileName(a.Day)))
	if err != nil {
		return errs.Wrap(errs.Unavailable, err, "The file of %s is missing.", a.Day).WithHint("Restore %s from a backup.", audit.FileName(a.Day))
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.Set(fiber.HeaderContentType, "application/jsonl")
	r.Set(fiber.HeaderContentDisposition, mime.FormatMediaType("attachment", map[string]string{"filename": audit.FileName(a.Day)}))
	r.Context().SetBodyStream(f, int(info.Size())) // closes f
	return nil
}

func deleteArchive(r *request) error {
	day, err := r.day()
	if err != nil {
		return err
	}
	if err := spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error { return tx.DeleteArchive(day) }); err != nil {
		return err
	}
	return r.gone()
}

type retentionResource struct {
	EventRetentionDays int `json:"EventRetentionDays"`
}

func showRetention(r *request) error {
	days, err := r.s.Instance.Retention(r.ctx)
	if err != nil {
		return err
	}
	return r.ok(retentionResource{days})
}

func saveRetention(r *request) error {
	in, err := readJSON[retentionResource](r)
	if err != nil {
		return err
	}
	if err := r.s.Instance.SetRetention(r.ctx, r.system, in.EventRetentionDays); err != nil {
		return err
	}
	return showRetention(r)
}
