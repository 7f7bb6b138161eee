package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/core"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/feeds"

	"octopuses.dev/octopuses/app/apptest"
)

// aFeed is a NuGet feed with Acme.Web 1.0.0 and 2.0.0-beta.1, whose files begin with says.
func aFeed(t *testing.T, says string) (uri string) {
	t.Helper()
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/index.json":
			fmt.Fprintf(w, `{"resources": [{"@id": "%s/flat/", "@type": "PackageBaseAddress/3.0.0"}]}`, s.URL)
		case r.URL.Path == "/flat/acme.web/index.json":
			fmt.Fprint(w, `{"versions": ["1.0.0", "2.0.0-beta.1"]}`)
		case strings.HasSuffix(r.URL.Path, ".nupkg"):
			fmt.Fprint(w, says+r.URL.Path)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/index.json"
}

// The official client makes, changes and deletes a feed; what it has is found and fetched.
func TestFeedsByTheClient(t *testing.T) {
	t.Parallel()
	s := apptest.Start(t)
	c := connect(t, s, s.Key, s.Default.ID())
	id := s.Default.ID()
	uri := aFeed(t, "the bytes of ")
	nuget, err := feeds.NewNuGetFeed("Acme", uri)
	if err != nil {
		t.Fatal(err)
	}
	made, err := feeds.Add(c, nuget)
	if err != nil {
		t.Fatal(err)
	}
	if made.GetName() != "Acme" || made.GetFeedType() != feeds.FeedTypeNuGet {
		t.Errorf("%+v", made)
	}
	if _, err := feeds.Add(c, nuget); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("a name twice: %v", err)
	}
	// A password is not sent in clear.
	nuget, _ = feeds.NewNuGetFeed("Secret", uri)
	nuget.SetUsername("robot")
	nuget.SetPassword(core.NewSensitiveValue("feed-secret"))
	if _, err := feeds.Add(c, nuget); err == nil || !strings.Contains(err.Error(), "over https alone") {
		t.Errorf("a password over http: %v", err)
	}
	nuget.FeedURI = "https://feed.example/index.json"
	sealed, err := feeds.Add(c, nuget)
	if err != nil {
		t.Fatal(err)
	}
	if a := s.Do(s.Key, "GET", "/api/"+id+"/feeds/"+sealed.GetID(), nil); strings.Contains(string(a.Body), "feed-secret") || !strings.Contains(string(a.Body), `"HasValue":true`) {
		t.Errorf("the password: %s", a.Body)
	}
	if a := s.Do(s.Key, "PUT", "/api/"+id+"/feeds/"+sealed.GetID(), []byte(`{"FeedUri": "https://thief.example/index.json"}`)); a.Status != 400 || !strings.Contains(string(a.Body), "asked for again") {
		t.Errorf("its password goes elsewhere: %d %s", a.Status, a.Body)
	}
	if err := feeds.DeleteByID(c, id, sealed.GetID()); err != nil {
		t.Error(err)
	}

	all, err := feeds.GetAll(c, id)
	if err != nil || len(all) != 2 || all[0].GetID() != "feeds-builtin" || all[1].GetName() != "Acme" {
		t.Errorf("%d feeds, %v", len(all), err)
	}
	found, err := feeds.SearchPackageVersions(c, id, made.GetID(), "Acme.Web", "", 10)
	if err != nil || len(found.Items) == 0 || found.Items[0].Version != "1.0.0" {
		t.Errorf("versions: %+v, %v", found, err)
	}
	at := "/api/" + id + "/feeds/" + made.GetID()
	if a := s.Do(s.Key, "GET", at+"/packages/versions?packageId=Acme.Web&includePreRelease=true", nil); !strings.Contains(string(a.Body), "2.0.0-beta.1") {
		t.Errorf("with pre-releases: %s", a.Body)
	}
	if a := s.Do(s.Key, "GET", at+"/packages/search?term=Acme.Web", nil); !strings.Contains(string(a.Body), `"LatestVersion":"2.0.0-beta.1"`) {
		t.Errorf("search: %s", a.Body)
	}
	fetch := func(version string) apptest.Answer {
		return s.Do(s.Key, "POST", at+"/packages/fetch", []byte(`{"PackageId": "Acme.Web", "Version": "`+version+`"}`))
	}
	if a := fetch("1.0.0"); a.Status != http.StatusCreated || !strings.Contains(string(a.Body), `"FeedId":"feeds-builtin"`) {
		t.Errorf("fetched: %d %s", a.Status, a.Body)
	}
	if a := s.Do(s.Key, "GET", "/api/"+id+"/packages/packages-Acme.Web.1.0.0/raw", nil); string(a.Body) != "the bytes of /flat/acme.web/1.0.0/acme.web.1.0.0.nupkg" {
		t.Errorf("its bytes: %s", a.Body)
	}
	if a := fetch("1.0.0"); a.Status != http.StatusCreated {
		t.Errorf("fetched twice: %d %s", a.Status, a.Body)
	}
	if a := fetch("9.9.9"); a.Status != http.StatusNotFound || !strings.Contains(string(a.Body), "has no Acme.Web 9.9.9") {
		t.Errorf("what it has not: %d %s", a.Status, a.Body)
	}
	if a := s.Do(s.Key, "PUT", "/api/"+id+"/feeds/feeds-builtin", []byte(`{}`)); a.Status != 400 {
		t.Errorf("the built-in one is changed: %d", a.Status)
	}
}

// The package files of a release that was carried without them come from a feed of the
// target; one that serves other bytes under the same version is refused with both digests.
func TestPackagesOfARemoteReleaseFromAFeed(t *testing.T) {
	t.Parallel()
	s := apptest.Start(t)
	dev, at := linkedSpaces(s)
	good := aFeed(t, "the bytes of ")
	s.Must("POST", dev+"/feeds", map[string]any{"Name": "Acme", "FeedType": "NuGet", "FeedUri": good})
	s.Must("POST", dev+"/feeds/Feeds-1/packages/fetch", map[string]any{"PackageId": "Acme.Web", "Version": "1.0.0"})
	p := s.Must("POST", dev+"/projects", map[string]any{"Name": "Shop"})
	s.Must("PUT", dev+"/deploymentprocesses/deploymentprocess-"+p["Id"].(string), map[string]any{"Version": 0, "Steps": []any{map[string]any{"Name": "Web", "Properties": map[string]any{"Octopus.Action.TargetRoles": "web"}, "Actions": []any{map[string]any{"ActionType": "Octopus.TentaclePackage", "Packages": []any{map[string]any{"PackageId": "Acme.Web", "FeedId": "feeds-builtin"}}}}}}})
	release := s.Must("POST", dev+"/releases/create/v1", map[string]any{"projectName": "Shop", "releaseVersion": "1.0.0"})
	promotion := s.Must("POST", dev+"/zones/promotions", map[string]any{"ReleaseId": release["ReleaseId"], "Link": "Prod", "ByHand": true})
	file := s.Do(s.Key, "GET", dev+"/zones/promotions/"+promotion["Id"].(string)+"/bundle?packages=none", nil)
	if a := s.Do(s.Key, "POST", at+"/zones/inbox", file.Body); a.Status != http.StatusCreated || !strings.Contains(string(a.Body), `"State":"incomplete"`) {
		t.Fatalf("import: %d %s", a.Status, a.Body)
	}
	s.Must("POST", at+"/feeds", map[string]any{"Name": "Good", "FeedType": "NuGet", "FeedUri": good})
	s.Must("POST", at+"/feeds", map[string]any{"Name": "Liar", "FeedType": "NuGet", "FeedUri": aFeed(t, "other bytes of ")})
	const fetch = "/zones/inbox/Inbound-1/packages/fetch"
	digest := regexp.MustCompile(`[0-9a-f]{64}`)
	if a := s.Do(s.Key, "POST", at+fetch, map[string]any{"FeedId": "Liar"}); a.Status != 400 || len(digest.FindAllString(string(a.Body), -1)) < 2 {
		t.Errorf("other bytes: %d %s", a.Status, a.Body)
	}
	if a := s.Do(s.Key, "GET", at+"/packages", nil); strings.Contains(string(a.Body), "Acme") {
		t.Errorf("other bytes stayed: %s", a.Body)
	}
	if a := s.Do(s.Key, "POST", at+fetch, map[string]any{"FeedId": "Feeds-1"}); a.Status != 200 || !strings.Contains(string(a.Body), `"Acme.Web"`) {
		t.Errorf("from the feed: %d %s", a.Status, a.Body)
	}
	s.Must("POST", at+"/zones/inbox/Inbound-1/accept", map[string]any{})
}
