package web

import (
	"errors"
	"io/fs"
	"mime"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/account"
	"octopuses.dev/octopuses/views/ui"
)

// archives is the page of archived days; may says whether the person may delete them.
func (r *request) archives(title, section, action string, all []audit.Archive, may bool) (account.Archives, error) {
	days, err := r.s.Instance.Retention(r.ctx)
	if err != nil {
		return account.Archives{}, err
	}
	m := account.Archives{Page: r.pageFor(title, section), Action: action, Retention: days}
	for _, a := range all {
		x := account.Archive{Day: a.Day, SHA256: a.SHA256, Events: a.Events, Size: a.Size, At: a.CreatedAt}
		if free := a.CreatedAt.Add(spaces.MinArchiveAge); time.Now().Before(free) {
			x.Why = "It can be deleted from " + free.Format(time.DateOnly) + " on."
		}
		if !may {
			x.Why = errs.TextOf(access.Missing(access.EventRetentionDelete))
		}
		m.Archives = append(m.Archives, x)
	}
	return m, nil
}

func spaceArchives(r *request) error {
	all, err := spaces.View(r.ctx, r.space, r.actor, (*spaces.ReadTx).Archives)
	if err != nil {
		return err
	}
	m, err := r.archives("Archives of the audit", "Settings", views.ArchivesURL(r.about.Slug), all, r.actor.Permissions.Everywhere(access.EventRetentionDelete))
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, account.ShowArchives(m))
}

func spaceArchive(r *request) error {
	a, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (audit.Archive, error) { return tx.Archive(r.param("day")) })
	if err != nil {
		return err
	}
	return r.sendArchive(r.space.AuditDir(), r.about.Slug, a)
}

func deleteSpaceArchive(r *request) error {
	err := spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error { return tx.DeleteArchive(r.param("day")) })
	if err != nil {
		return err
	}
	return r.see(views.ArchivesURL(r.about.Slug))
}

// sendArchive sends the file of a day, whose name comes from the ledger.
func (r *request) sendArchive(folder, of string, a audit.Archive) error {
	f, err := os.Open(filepath.Join(folder, audit.FileName(a.Day)))
	if errors.Is(err, fs.ErrNotExist) {
		return errs.Wrap(errs.Unavailable, err, "The file of %s is missing.", a.Day).WithHint("Restore %s from a backup.", audit.FileName(a.Day))
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.Set(fiber.HeaderContentType, "application/jsonl")
	r.Set(fiber.HeaderContentDisposition, mime.FormatMediaType("attachment", map[string]string{"filename": of + "-" + audit.FileName(a.Day)}))
	r.Context().SetBodyStream(f, int(info.Size())) // closes f
	return nil
}

func serverArchives(r *request) error {
	m, err := r.serverArchives()
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, account.ShowArchives(m))
}

func (r *request) serverArchives() (account.Archives, error) {
	all, err := r.s.Instance.Archives(r.ctx)
	if err != nil {
		return account.Archives{}, err
	}
	m, err := r.archives("Archives of the server's audit", "", views.ArchivesURL(""), all, r.system.Permissions.Any(access.EventRetentionDelete))
	m.CanRetain = r.system.Permissions.Any(access.ConfigureServer)
	return m, err
}

func saveRetention(r *request) error {
	days, err := strconv.Atoi(r.value("eventRetentionDays"))
	if err != nil {
		days = 0
	}
	if err := r.s.Instance.SetRetention(r.ctx, r.system, days); err != nil {
		m, merr := r.serverArchives()
		if merr != nil {
			return merr
		}
		return r.again(err, nil, func(e []ui.FieldError) templ.Component {
			m.Errors = e
			return account.ShowArchives(m)
		})
	}
	return r.see(views.ArchivesURL(""))
}

func serverArchive(r *request) error {
	a, err := r.s.Instance.Archive(r.ctx, r.param("day"))
	if err != nil {
		return err
	}
	return r.sendArchive(r.s.AuditFolder, "server", a)
}

func deleteServerArchive(r *request) error {
	if err := r.s.Instance.DeleteArchive(r.ctx, r.system, r.s.AuditFolder, r.param("day")); err != nil {
		return err
	}
	return r.see(views.ArchivesURL(""))
}
