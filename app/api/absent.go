package api

import (
	"octopuses.dev/octopuses/spaces/errs"
)

// absent are sorts of things that Octopus has and we have not. Their lists are empty,
// so that clients which read everything go on; making one is refused with a reason.
var absent = []struct{ path, itemType, noun string }{
	{"accounts", "Account", "account"},
	{"actiontemplates", "ActionTemplate", "step template"},
	{"artifacts", "Artifact", "artifact"},
	{"build-information", "BuildInformation", "build information"},
	{"certificates", "Certificate", "certificate"},
	{"git-credentials", "GitCredential", "Git credential"},
	{"libraryvariablesets", "LibraryVariableSet", "library variable set"},
	{"projecttriggers", "ProjectTrigger", "trigger"},
	{"proxies", "Proxy", "proxy"},
	{"runbooks", "Runbook", "runbook"},
	{"runbookProcesses", "RunbookProcess", "runbook process"},
	{"runbookRuns", "RunbookRun", "runbook run"},
	{"runbookSnapshots", "RunbookSnapshot", "runbook snapshot"},
	{"tagsets", "TagSet", "tag set"},
	{"tenants", "Tenant", "tenant"},
	{"workers", "Worker", "worker"},
}

func absentRoutes() []Row {
	empty := func(itemType string) func(*request) error {
		return func(r *request) error { return r.ok(pageOf(r, itemType, slice(r, []struct{}{}), same)) }
	}
	array := func(r *request) error { return r.ok([]struct{}{}) }
	rows := []Row{
		get("/actiontemplates/categories", InSpace, "", array),
		get("/actiontemplates/search", InSpace, "", array),
		get("/tenants/status", InSpace, "", array),
		get("/tenants/tag-test", InSpace, "", func(r *request) error { return r.ok(struct{}{}) }),
		get("/tenants/variables-missing", InSpace, "", array),
		get("/tenantvariables/all", InSpace, "", array),
		get("/projects/:project/runbooks", InSpace, "", empty("Runbook")),
		get("/projects/:project/triggers", InSpace, "", empty("ProjectTrigger")),
	}
	for _, a := range absent {
		missing := func(r *request) error { return errs.Missing(a.noun, r.param("id")) }
		rows = append(rows,
			get("/"+a.path, InSpace, "", empty(a.itemType)),
			get("/"+a.path+"/all", InSpace, "", array),
			get("/"+a.path+"/:id", InSpace, "", missing),
			post("/"+a.path, InSpace, "", unsupported(a.noun+"s", "")),
			put("/"+a.path+"/:id", InSpace, "", missing),
			del("/"+a.path+"/:id", InSpace, "", missing),
		)
	}
	return rows
}

// unsupported refuses to make something that we have not, once the body is known to be
// of a size and a form.
func unsupported(what, hint string) func(*request) error {
	return func(r *request) error {
		if _, err := readJSON[any](r); err != nil {
			return err
		}
		return errs.New(errs.Invalid, "This server has no %s.", what).WithHint("%s", hint)
	}
}
