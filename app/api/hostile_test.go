package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/app/api"
	"octopuses.dev/octopuses/app/apptest"
	"octopuses.dev/octopuses/spaces"
)

// parameters are all names that some row reads from the query.
var parameters = strings.Fields(`action active channel channels clone environment environmentIds environments eventCategories feedType filter format from hasPendingInterruptions
	healthStatuses ids ignoreChannelRules includeDisabledSteps includePreRelease latest machine name nuGetPackageId overwriteMode packageId packages partialName pendingOnly preReleaseTag
	project projectId projects regarding releaseHistoryCount releaseId replace role roles running searchByVersion skip spaces state states take taskState term thumbprint to type user users versionRange`)

// noJSON are the rows whose good answer is a file or a text.
var noJSON = []string{"GET /tasks/:id/raw", "GET /packages/:id/raw", "GET /zones/card", "GET /zones/promotions/:id/bundle", "GET /zones/links/:id/receipts"}

// hostile is the server of a permission test, with more that can be written to.
type hostile struct {
	guarded
	rows  []api.Row
	paths *strings.Replacer // before those of the guarded
	made  int               // documents
	prod  string            // address of the space to which releases are promoted
}

func meet(t testing.TB) *hostile {
	g := guard(t)
	secret := "" // of the newest token with which agents register
	g.API.AgentToken = func(made, space string) agent.Token {
		secret = made + "@" + space
		return agent.Token{Secret: secret}
	}
	person, _ := g.NewUser("person")
	id := func(of map[string]any) string { return of["Id"].(string) }
	role := id(g.Must("POST", "/api/userroles", map[string]any{"Name": "Deploys", "GrantedSpacePermissions": []string{"ProjectView"}}))
	team := id(g.Must("POST", "/api/teams", map[string]any{"Name": "Team", "MemberUserIds": []string{person.APIID()}}))
	given := id(g.Must("POST", "/api/scopeduserroles", map[string]any{"TeamId": team, "UserRoleId": role, "SpaceId": "Spaces-1"}))
	group := id(g.Must("POST", "/api/projectgroups", map[string]any{"Name": "Group"}))
	cycle := id(g.Must("POST", "/api/lifecycles", map[string]any{"Name": "Cycle", "Phases": []any{map[string]any{"Name": "First", "OptionalDeploymentTargets": []string{"Environments-1"}}}}))
	prod, _ := remote(t, g.Server)
	g.Must("PUT", "/api/lifecycles/Lifecycles-1", map[string]any{"Name": "Default Lifecycle", "Phases": []any{
		map[string]any{"Name": "First", "OptionalDeploymentTargets": []string{"Environments-1"}, "IsOptionalPhase": true}, map[string]any{"Name": "Production", "RemoteSpaces": []any{map[string]any{"Id": "Links-1"}}}}})
	shop := g.Must("POST", "/api/releases", map[string]any{"ProjectId": "Shop", "Version": "1.1.0"})["Id"]
	promotion := id(g.Must("POST", "/api/zones/promotions", map[string]any{"ReleaseId": shop, "Link": "Prod", "ByHand": true}))
	file := g.Do(g.Key, "GET", "/api/zones/promotions/"+promotion+"/bundle", nil).Body
	if a := g.Do(g.Key, "POST", prod+"/zones/inbox", file); a.Status != http.StatusCreated {
		t.Fatalf("import: %d %s", a.Status, a.Body)
	}
	receipts := g.Do(g.Key, "GET", prod+"/zones/links/Links-1/receipts", nil).Body
	third := g.NewSpace("Third", g.Admin)
	card := g.Must("GET", "/api/"+third.ID()+"/zones/card", nil)["Card"]
	space := g.Space(g.Default)
	defer space.Release()
	if err := spaces.Do(context.Background(), space, spaces.Server(), func(tx *spaces.Tx) error {
		return tx.OpenInterruption(spaces.Interruption{TaskID: 1, Kind: "GuidedFailure", Reference: "step-1", Title: "It failed", Message: "What now?", Choices: []spaces.Choice{{Value: "Retry", Label: "Try again"}, {Value: "Fail", Label: "Fail"}}})
	}); err != nil {
		t.Fatal(err)
	}
	g.Must("POST", "/api/machines/registration", map[string]any{"EnvironmentIds": []any{"Environments-1"}, "Roles": []any{"web"}, "Uses": 1000, "Hours": 1})
	g.Must("POST", "/api/agents/register", map[string]any{"Secret": secret, "Name": "agent-1", "Thumbprint": strings.Repeat("cd", 32), "Mode": "polling"})
	for what, body := range map[string]any{
		"POST /environments":               map[string]any{"Name": "E", "Description": "d", "SortOrder": 1, "UseGuidedFailure": false},
		"PUT /environments/sortorder":      []any{"Environments-2", "Environments-1"},
		"POST /lifecycles":                 map[string]any{"Name": "L", "Description": "d", "ReleaseRetentionPolicy": map[string]any{"Unit": "Days", "QuantityToKeep": 3, "ShouldKeepForever": false}, "Phases": []any{map[string]any{"Name": "P", "OptionalDeploymentTargets": []any{"Environments-1"}, "AutomaticDeploymentTargets": []any{}, "MinimumEnvironmentsBeforePromotion": 0, "IsOptionalPhase": false}}},
		"POST /projectgroups":              map[string]any{"Name": "G", "Description": "d"},
		"POST /projects":                   map[string]any{"Name": "P", "Description": "d", "ProjectGroupId": group, "LifecycleId": cycle, "Slug": "p"},
		"POST /zones/links/trust":          map[string]any{"Card": card, "Words": "", "Compared": "by voice", "Name": "Third", "Role": "target"},
		"POST /zones/promotions":           map[string]any{"ReleaseId": shop, "Link": "Prod", "ByHand": true},
		"POST /zones/links/invite":         map[string]any{"Name": "n", "Role": "source", "Confirm": true, "Minutes": 3},
		"POST /zones/links/join":           map[string]any{"Invitation": "octi1", "Name": "n", "Role": "source"},
		"POST /zones/links/:id/state":      map[string]any{"State": "paused", "Reason": "why"},
		"POST /zones/links/:id/confirm":    map[string]any{"Words": "a b c", "Compared": "by voice"},
		"POST /zones/promotions/:id/state": map[string]any{"State": "held"},
		"POST /zones/inbox/:id/accept":     map[string]any{"Lifecycle": "Lifecycles-1", "ProjectGroup": "ProjectGroups-1", "Values": map[string]any{"Environments-1": map[string]any{"Url": "x"}}},
		"POST /zones/inbox/:id/reject":     map[string]any{"Reason": "c"},
		"POST /machines/registration":      map[string]any{"EnvironmentIds": []any{"Environments-1"}, "Roles": []any{"web"}, "Uses": 1, "Hours": 1},
		"POST /agents/register":            map[string]any{"Secret": secret, "Name": "agent-2", "Thumbprint": strings.Repeat("ce", 32), "Mode": "listening", "Address": "https://a:10933/"},
		"POST /tasks":                      map[string]any{"Name": "Health", "Description": "d", "SpaceId": "Spaces-1", "Arguments": map[string]any{"EnvironmentId": "Environments-1", "MachineIds": []any{"Machines-1"}, "Timeout": "00:05:00", "MachineTimeout": "00:05:00"}},
		"POST /spaces":                     map[string]any{"Name": "S", "Description": "d", "SpaceManagersTeams": []any{}, "SpaceManagersTeamMembers": []any{"Users-1"}, "TaskQueueStopped": false},
		"POST /users":                      map[string]any{"Username": "u", "DisplayName": "U", "EmailAddress": "u@example.org", "Password": apptest.Password, "IsActive": true, "IsService": false},
		"POST /users/:id/apikeys":          map[string]any{"Purpose": "p", "Expires": "2030-01-01T00:00:00Z"},
		"POST /teams":                      map[string]any{"Name": "T", "SpaceId": "Spaces-1", "MemberUserIds": []any{person.APIID()}, "ExternalSecurityGroups": []any{map[string]any{"Id": "g", "DisplayName": "G"}}},
		"POST /userroles":                  map[string]any{"Name": "R", "Description": "d", "GrantedSpacePermissions": []any{"ProjectView"}, "GrantedSystemPermissions": []any{"UserView"}},
		"POST /scopeduserroles":            map[string]any{"TeamId": team, "UserRoleId": role, "SpaceId": "Spaces-1", "ProjectIds": []any{"Projects-1"}, "EnvironmentIds": []any{"Environments-1"}, "TenantIds": []any{}, "ProjectGroupIds": []any{}},
		"POST /interruptions/:id/submit":   map[string]any{"Result": "Retry", "Notes": "n"},
		"POST /releases":                   map[string]any{"ProjectId": "Projects-1", "Version": "9.0.0", "ChannelId": "Channels-1", "ReleaseNotes": "n", "SelectedPackages": []any{}},
		"POST /releases/create/v1":         map[string]any{"projectName": "Alpha", "releaseVersion": "9.0.0", "spaceIdOrName": "Spaces-1", "spaceId": "Spaces-1", "channelName": "Default", "packages": []any{}, "releaseNotes": "n", "ignoreIfAlreadyExists": true, "ignoreChannelRules": false},
		"POST /deployments":                map[string]any{"ReleaseId": "Releases-1", "EnvironmentId": "Environments-1", "Comments": "c", "FormValues": map[string]any{}, "QueueTime": "2030-01-01T00:00:00Z", "QueueTimeExpiry": "2030-01-02T00:00:00Z", "SpecificMachineIds": []any{"Machines-1"}, "ExcludedMachineIds": []any{}, "SkipActions": []any{}, "UseGuidedFailure": false, "ForcePackageDownload": false},
		"POST /channels":                   map[string]any{"Name": "C", "ProjectId": "Projects-1", "LifecycleId": cycle, "IsDefault": false, "Rules": []any{map[string]any{"VersionRange": "[1.0,2.0)", "Tag": "^$", "ActionPackages": []any{map[string]any{"DeploymentAction": "Say", "PackageReference": ""}}}}},
		"PUT /variables/:id":               variableSet(), "PUT /projects/:project/variables": variableSet(),
	} {
		g.bodies[what] = decoded(body)
	}
	g.bodies["POST /zones/inbox"], g.bodies["POST /zones/receipts"] = file, receipts
	names := strings.NewReplacer("/users/:id", "/users/"+person.APIID(), "/teams/:id", "/teams/"+team, "/userroles/:id", "/userroles/"+role, "/scopeduserroles/:id", "/scopeduserroles/"+given, "/spaces/:id", "/spaces/"+third.ID(),
		"/projectgroups/:id", "/projectgroups/"+group, "/lifecycles/:id", "/lifecycles/"+cycle, "/zones/links/:id", "/zones/links/Links-1", "/zones/promotions/:id", "/zones/promotions/"+promotion, "/interruptions/:id", "/interruptions/Interruptions-1", "/zones/inbox/:id", "/zones/inbox/Inbound-2", ":key", "apikeys-1")
	h := &hostile{guarded: g, paths: names, prod: prod}
	for _, row := range g.API.Table() {
		if row.Path != "/machines/discover" { // which asks whatever address it is given
			h.rows = append(h.rows, row)
		}
	}
	// What ends things comes after what changes them.
	slices.SortStableFunc(h.rows, func(a, b api.Row) int { return len(a.Method)/6 - len(b.Method)/6 })
	return h
}

// variableSet is a set with one of each sort; its version is never the newest, or not for long.
func variableSet() any {
	return map[string]any{"Version": 1, "Variables": []any{
		map[string]any{"Name": "V", "Value": "#{W}", "Type": "String", "IsSensitive": false, "IsEditable": true, "Scope": map[string]any{"Environment": []any{"Environments-1"}, "Role": []any{"web"}, "Machine": []any{"Machines-1"}, "Action": []any{}, "Channel": []any{"Channels-1"}}, "Prompt": map[string]any{"Label": "l", "Description": "d", "Required": true, "DisplaySettings": map[string]any{"Octopus.ControlType": "SingleLineText"}}},
		map[string]any{"Name": "S", "Value": "s3cret", "Type": "Sensitive", "IsSensitive": true}}}
}

func decoded(v any) (out any) {
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		panic(err) // it is written above
	}
	return out
}

// address is where a row answers about what there is.
func (h *hostile) address(row api.Row) string {
	path := h.paths.Replace(row.Path)
	if strings.HasPrefix(row.Path, "/zones/inbox") {
		return h.prod + path
	}
	if row.Who == api.InSpace {
		return "/api/Spaces-1" + h.guarded.paths.Replace(path)
	}
	return "/api" + h.guarded.paths.Replace(path)
}

// document is what an honest client would send: what is stored, or what is listed there
// or known above; with a name that nothing has yet.
func (h *hostile) document(row api.Row, path string) any {
	doc, known := h.bodies[row.Method+" "+row.Path]
	if _, isFile := doc.([]byte); isFile {
		return doc
	}
	var now any
	if a := h.Do(h.Key, http.MethodGet, path, nil); a.Status == http.StatusOK && json.Unmarshal(a.Body, &now) != nil {
		now = nil
	}
	stored, _ := now.(map[string]any)
	if items, is := stored["Items"].([]any); is && len(items) > 0 && !known {
		doc, known = items[0], true
	}
	if !known && stored != nil {
		return stored
	}
	out, is := doc.(map[string]any)
	if !is {
		return doc
	}
	out = maps.Clone(out)
	h.made++
	for _, name := range []string{"Name", "Username", "Slug"} {
		if _, has := out[name]; has && row.Method == http.MethodPost && !strings.HasPrefix(row.Path, "/tasks") {
			out[name] = fmt.Sprint("n", h.made)
		}
	}
	for _, name := range []string{"Version", "releaseVersion"} {
		if _, has := out[name]; has && row.Method == http.MethodPost {
			out[name] = fmt.Sprint("9.0.", h.made)
		} else if has && stored != nil {
			out[name] = stored["Version"]
		}
	}
	return out
}

// answers checks that an answer is none of a server that lost its way, and of the form
// that the door promises.
func (h *hostile) answers(t *testing.T, row api.Row, sent string, a apptest.Answer) {
	t.Helper()
	what := row.Method + " " + row.Path + " with " + sent
	if len(what) > 600 {
		what = what[:600] + "…"
	}
	if a.Status >= 500 {
		t.Errorf("%s: %d %.400s", what, a.Status, a.Body)
		return
	}
	if a.Status == http.StatusUnauthorized && row.Who != api.Public {
		t.Fatalf("%s ended the rights of the administrator: %.400s", what, a.Body)
	}
	if a.Status < 400 && slices.Contains(noJSON, row.Method+" "+row.Path) {
		return
	}
	if !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") || !json.Valid(a.Body) {
		t.Errorf("%s: no JSON: %d %q %.200s", what, a.Status, a.Header.Get("Content-Type"), a.Body)
	}
	if a.Status >= 400 {
		var f struct{ ErrorMessage string }
		if err := json.Unmarshal(a.Body, &f); err != nil || f.ErrorMessage == "" {
			t.Errorf("%s: %d without a word why: %.200s", what, a.Status, a.Body)
		}
	}
}

// TestHostileBodies sends to each row that writes what is near to a good document, and
// to each row odd queries and ids, as somebody who may do everything.
func TestHostileBodies(t *testing.T) {
	const bodies, queries = 40, 6 // of each row
	h := meet(t)
	r := rand.New(rand.NewPCG(20261123, 1))
	taken := 0
	for _, row := range h.rows {
		path := h.address(row)
		if writes(row) {
			doc := h.document(row, path)
			for i := range bodies {
				body := apptest.HostileBody(r, doc, i)
				a := h.Do(h.Key, row.Method, path, body)
				h.answers(t, row, string(body), a)
				if a.Status < 300 {
					taken++
					doc = h.document(row, path)
				}
			}
		}
		for i := range queries {
			query := apptest.HostileQuery(r, parameters)
			to := path
			if i%2 == 1 && strings.Contains(row.Path, ":") {
				to = "/api" + oddIDs(r, row.Path)
			}
			if row.Method == http.MethodDelete && to == path {
				continue // there would be nothing left
			}
			h.answers(t, row, to+"?"+query, h.Do(h.Key, row.Method, to+"?"+query, nil))
		}
	}
	if taken < 100 {
		t.Errorf("only %d of the bodies were taken: they are too far from good ones to come anywhere", taken)
	}
}

// oddIDs fills the parameters of a path with what is no id.
func oddIDs(r *rand.Rand, path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, ":") {
			parts[i] = escapedPart(apptest.HostileText(r))
		}
	}
	return strings.Join(parts, "/")
}

func escapedPart(s string) string {
	var out strings.Builder
	for _, c := range []byte(s[:min(len(s), 300)]) {
		out.WriteString("%")
		out.WriteByte("0123456789ABCDEF"[c>>4])
		out.WriteByte("0123456789ABCDEF"[c&15])
	}
	return out.String()
}

// FuzzBodies is TestHostileBodies for as long as one likes:
//
//	go test ./app/api -fuzz FuzzBodies
func FuzzBodies(f *testing.F) {
	h := meet(f)
	r := rand.New(rand.NewPCG(1, 2))
	for n, row := range h.rows {
		var body []byte
		if writes(row) {
			body = apptest.HostileBody(r, h.document(row, h.address(row)), 100)
		}
		f.Add(uint16(n), body, apptest.HostileQuery(r, parameters))
	}
	f.Fuzz(func(t *testing.T, n uint16, body []byte, query string) {
		row := h.rows[int(n)%len(h.rows)]
		if row.Method == http.MethodDelete || strings.ContainsFunc(query, func(c rune) bool { return c <= ' ' || c == '#' || c == 0x7f }) {
			t.Skip()
		}
		path := h.address(row)
		if query != "" {
			path += "?" + query
		}
		var sent any
		if writes(row) {
			sent = body
		}
		a, err := h.Try(h.Key, row.Method, path, sent)
		if err != nil {
			t.Fatal(err)
		}
		h.answers(t, row, path+" "+string(body), a)
	})
}
