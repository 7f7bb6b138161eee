package web

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/account"
	"octopuses.dev/octopuses/views/ui"
)

func auditRoutes() []route {
	return []route{
		get("/spaces/:space/audit", inSpace, access.EventView, spaceAudit), get("/spaces/:space/audit/export", inSpace, access.EventView, exportSpaceAudit),
		get("/admin/audit", signedIn, access.EventView, serverAudit), get("/admin/audit/export", signedIn, access.EventView, exportServerAudit),
		get("/spaces/:space/audit/archives", inSpace, access.EventRetentionView, spaceArchives), get("/spaces/:space/audit/archives/:day", inSpace, access.EventRetentionView, spaceArchive),
		post("/spaces/:space/audit/archives/:day/delete", inSpace, access.EventRetentionDelete, deleteSpaceArchive),
		get("/admin/audit/archives", signedIn, access.EventRetentionView, serverArchives), post("/admin/audit/archives", signedIn, access.ConfigureServer, saveRetention),
		get("/admin/audit/archives/:day", signedIn, access.EventRetentionView, serverArchive), post("/admin/audit/archives/:day/delete", signedIn, access.EventRetentionDelete, deleteServerArchive),
		get("/admin/audit/streaming", signedIn, access.AdministerSystem, auditStream), post("/admin/audit/streaming", signedIn, access.AdministerSystem, saveAuditStream),
		post("/admin/audit/streaming/delete", signedIn, access.AdministerSystem, deleteAuditStream),
	}
}

// auditPage is how many entries stand on a page.
const auditPage = 100

// The categories that people ask for, in a space and on the server.
var (
	auditKinds  = []string{"Created", "Modified", "Deleted", "Denied", "DeploymentQueued", "DeploymentStarted", "DeploymentSucceeded", "DeploymentFailed", "DeploymentCanceled", "TaskCanceled", "InterruptionRaised", "InterruptionAnswered", "ReleasePromoted", "BundleReceived", "PackageReceived", "BundleAccepted", "BundleRejected", "ReceiptReceived"}
	serverKinds = []string{"Created", "Modified", "Deleted", "Denied", "SignedIn", "SignedOut", "SignInBlocked", "SessionRevoked"}
)

// auditAsked is what the query of an audit asks for. Days are those of the server's clock,
// which is UTC.
type auditAsked struct {
	category, text string
	from, until    time.Time
	before         int64
}

func (r *request) auditAsked() auditAsked {
	a := auditAsked{category: r.Query("category"), text: strings.TrimSpace(r.Query("q"))}
	if t, err := time.Parse(time.DateOnly, r.Query("from")); err == nil {
		a.from = t
	}
	if t, err := time.Parse(time.DateOnly, r.Query("until")); err == nil {
		a.until = t.AddDate(0, 0, 1)
	}
	a.before, _ = strconv.ParseInt(strings.TrimPrefix(r.Query("before"), "Events-"), 10, 64)
	return a
}

func (a auditAsked) ofSpace(take int) spaces.EventFilter {
	return spaces.EventFilter{Category: a.category, Text: a.text, From: a.from, Until: a.until, Before: spaces.EventID(a.before), Take: take}
}

func (a auditAsked) ofServer(take int) instance.EventFilter {
	return instance.EventFilter{Category: a.category, Text: a.text, From: a.from, Until: a.until, Before: a.before, Take: take}
}

// audit begins the page of a ledger: its filters, and the exports of what they choose.
func (r *request) audit(title, section, action string, kinds []string) account.Audit {
	m := account.Audit{Page: r.pageFor(title, section), Action: action, Query: strings.TrimSpace(r.Query("q")), From: r.Query("from"), Until: r.Query("until")}
	for _, c := range kinds {
		m.Categories = append(m.Categories, ui.Option{Value: c, Label: spaced(c), Selected: c == r.Query("category")})
	}
	for _, format := range []string{"csv", "jsonl"} {
		asked := r.auditQuery()
		asked.Set("format", format)
		m.Exports = append(m.Exports, action+"/export?"+asked.Encode())
	}
	return m
}

// auditQuery is what the page was asked for, without the place in it.
func (r *request) auditQuery() url.Values {
	asked := url.Values{}
	for _, name := range []string{"q", "category", "from", "until"} {
		if v := r.Query(name); v != "" {
			asked.Set(name, v)
		}
	}
	return asked
}

// auditPager leads to what is older than the last entry, if the page is full.
func (r *request) auditPager(shown int, last string) ui.PagerProps {
	if shown < auditPage {
		return ui.PagerProps{}
	}
	asked := r.auditQuery()
	asked.Set("before", last)
	return ui.PagerProps{Text: "The newest " + strconv.Itoa(shown) + " entries from here", Next: "?" + asked.Encode()}
}

func spaceAudit(r *request) error {
	all, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) ([]spaces.Event, error) {
		return tx.Events(r.auditAsked().ofSpace(auditPage))
	})
	if err != nil {
		return err
	}
	m := r.audit("Audit", "Settings", views.AuditURL(r.about.Slug), auditKinds)
	if r.actor.Permissions.Everywhere(access.EventRetentionView) && r.actor.Permissions.Everywhere(access.EventView) {
		m.Archives = views.ArchivesURL(r.about.Slug)
	}
	for _, e := range all {
		x := account.Entry{At: e.At, Who: e.ActorName, What: e.Message, Subject: strings.TrimSpace(e.Entity + " " + e.EntityID), From: e.Address, Denied: e.Category == "Denied"}
		for _, c := range e.Changes {
			x.Changes = append(x.Changes, account.Change(c))
		}
		m.Entries = append(m.Entries, x)
	}
	if len(all) > 0 {
		m.Pager = r.auditPager(len(all), all[len(all)-1].ID.String())
	}
	return r.render(fiber.StatusOK, account.ShowAudit(m))
}

func serverAudit(r *request) error {
	all, err := r.s.Instance.Events(r.ctx, r.auditAsked().ofServer(auditPage))
	if err != nil {
		return err
	}
	m := r.audit("Audit of the server", "", views.AdminAuditURL(), serverKinds)
	for _, e := range all {
		x := account.Entry{At: e.At, Who: e.ActorName, What: e.Message, Subject: strings.TrimSpace(e.Entity + " " + e.EntityID), From: e.Address, Denied: e.Category == "Denied"}
		for _, c := range e.Changes {
			x.Changes = append(x.Changes, account.Change(c))
		}
		m.Entries = append(m.Entries, x)
	}
	if r.system.Permissions.Any(access.EventRetentionView) {
		m.Archives = views.ArchivesURL("")
	}
	if r.system.Permissions.Any(access.AdministerSystem) {
		m.Stream = views.AuditStreamURL()
	}
	if len(all) > 0 {
		m.Pager = r.auditPager(len(all), all[len(all)-1].APIID())
	}
	return r.render(fiber.StatusOK, account.ShowAudit(m))
}
