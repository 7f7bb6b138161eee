package api

import (
	"mime"
	"strings"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
)

func packageRoutes() []Row {
	return []Row{
		get("/packages", InSpace, access.FeedView, listPackages),
		moving(post("/packages/raw", InSpace, access.BuiltInFeedPush, uploadPackage)),
		del("/packages/bulk", InSpace, access.BuiltInFeedAdminister, deletePackages),
		get("/packages/:id", InSpace, access.FeedView, showPackage),
		del("/packages/:id", InSpace, access.BuiltInFeedAdminister, deletePackage),
		moving(get("/packages/:id/raw", InSpace, access.BuiltInFeedDownload, downloadPackage)),
		// A client that is told "not found" here uploads the whole file.
		get("/packages/:package/:version/delta-signature", InSpace, access.FeedView, noSignature),
	}
}

// packageResource has no ReleaseNotes: the Go client reads that name as a time, and any
// text there breaks the whole list.
type packageResource struct {
	ID               string `json:"Id"`
	SpaceID          string `json:"SpaceId"`
	PackageID        string `json:"PackageId"`
	NuGetPackageID   string `json:"NuGetPackageId"`
	FeedID           string `json:"FeedId"`
	NuGetFeedID      string `json:"NuGetFeedId"`
	Version          string `json:"Version"`
	Title            string `json:"Title"`
	Summary          string `json:"Summary"`
	Description      string `json:"Description"`
	PackageSizeBytes int64  `json:"PackageSizeBytes"`
	Hash             string `json:"Hash"` // SHA-256, lower-case hex
	FileExtension    string `json:"FileExtension"`
	Published        string `json:"Published"`
	Links            links  `json:"Links"`
}

func (r *request) packageResource(p spaces.Package) packageResource {
	self := r.in("packages", escape(p.ID()))
	return packageResource{ID: p.ID(), SpaceID: r.about.ID(), PackageID: p.PackageID, NuGetPackageID: p.PackageID, FeedID: spaces.BuiltInFeed, NuGetFeedID: spaces.BuiltInFeed, Version: p.Version, Title: p.PackageID,
		PackageSizeBytes: p.Size, Hash: p.Digest, FileExtension: p.Extension, Published: timeText(p.PublishedAt), Links: links{"Self": self, "Raw": self + "/raw"}}
}

func listPackages(r *request) error {
	f := spaces.PackageFilter{PackageID: r.query("nuGetPackageId"), Partial: r.query("filter"), LatestOnly: r.flag("latest"), Skip: r.number("skip"), Take: r.number("take")}
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Package], error) { return tx.Packages(f) })
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "Package", p, r.packageResource))
}

// uploadPackage takes the first file of the body straight to the store. It answers 201
// for a new version and 200 for one that was there and was kept.
func uploadPackage(r *request) error {
	mode, err := spaces.ParseOverwriteMode(r.query("overwriteMode"))
	if err != nil {
		return err
	}
	if r.query("overwriteMode") == "" && r.flag("replace") {
		mode = spaces.OverwriteExisting
	}
	// Before the body is read: nobody fills the disk who may not push.
	if _, err := view(r, func(tx *spaces.ReadTx) (struct{}, error) { return struct{}{}, tx.MayPush(mode) }); err != nil {
		return err
	}
	name, file, err := r.upload(r.s.MaxPackage)
	if err != nil {
		return err
	}
	id, version, extension, err := packages.ParseFileName(name)
	if err != nil {
		return err
	}
	blob, err := r.space.Packages().Put(r.ctx, file, r.s.MaxPackage)
	if err != nil {
		return err
	}
	status := fiber.StatusOK
	p, err := update(r, func(tx *spaces.Tx) (spaces.Package, error) {
		p, created, err := tx.AddPackage(id, version, extension, blob, mode)
		if created {
			status = fiber.StatusCreated
		}
		return p, err
	})
	if err != nil {
		return err
	}
	return r.respond(status, r.packageResource(p))
}

func showPackage(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (packageResource, error) {
		p, err := tx.PackageByID(r.param("id"))
		return r.packageResource(p), err
	})
}

func deletePackage(r *request) error {
	return remove(r, func(tx *spaces.Tx) error {
		p, err := tx.PackageByID(r.param("id"))
		if err != nil {
			return err
		}
		return tx.DeletePackage(p)
	})
}

func deletePackages(r *request) error {
	return remove(r, func(tx *spaces.Tx) error {
		for _, id := range r.list("ids") {
			p, err := tx.PackageByID(id)
			if err != nil {
				return err
			}
			if err := tx.DeletePackage(p); err != nil {
				return err
			}
		}
		return nil
	})
}

func downloadPackage(r *request) error {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Package, error) {
		p, err := tx.PackageByID(r.param("id"))
		if err == nil && !tx.Can(access.BuiltInFeedDownload, access.Scope{}) {
			err = access.Missing(access.BuiltInFeedDownload)
		}
		return p, err
	})
	if err != nil {
		return err
	}
	f, err := r.space.Packages().Open(p.Digest)
	if err != nil {
		return err
	}
	r.Set(fiber.HeaderContentType, "application/octet-stream")
	r.Set(fiber.HeaderContentDisposition, mime.FormatMediaType("attachment", map[string]string{"filename": p.FileName()}))
	r.Context().SetBodyStream(f, int(p.Size)) // closes f
	return nil
}

func noSignature(r *request) error {
	return errs.Missing("package", r.param("package")+"."+r.param("version"))
}

// escape makes an id with dots and plus signs fit for a path.
func escape(id string) string {
	return strings.NewReplacer("%", "%25", "/", "%2F", "?", "%3F", "#", "%23", " ", "%20", "+", "%2B").Replace(id)
}
