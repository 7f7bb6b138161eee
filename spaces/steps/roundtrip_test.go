package steps_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/deployments"

	"octopuses.dev/octopuses/spaces/steps"
)

const processJSON = `{
  "Id": "deploymentprocess-Projects-1", "SpaceId": "Spaces-1", "ProjectId": "Projects-1", "Version": 3, "LastSnapshotId": "x",
  "Steps": [{
    "Id": "s1", "Name": "Deploy web", "Slug": "deploy-web", "PackageRequirement": "LetOctopusDecide",
    "Properties": {"Octopus.Action.TargetRoles": "web,api", "Octopus.Action.MaxParallelism": "2"},
    "Condition": "Success", "StartTrigger": "StartAfterPrevious",
    "Actions": [{
      "Id": "a1", "Name": "Deploy web", "Slug": "deploy-web", "ActionType": "Octopus.TentaclePackage", "Notes": "Hello *there*",
      "IsDisabled": true, "IsRequired": true, "CanBeUsedForProjectVersioning": true, "Condition": "Success",
      "WorkerPoolId": "WorkerPools-1", "WorkerPoolVariable": "Pool", "StepPackageVersion": "1.0",
      "Container": {"FeedId": "Feeds-1", "Image": "alpine"},
      "Environments": ["Environments-1"], "ExcludedEnvironments": ["Environments-2"], "Channels": ["Channels-1"], "TenantTags": ["Region/EU"],
      "Packages": [{"Id": "p1", "Name": "", "PackageId": "web", "FeedId": "feeds-builtin", "AcquisitionLocation": "Server", "Properties": {"SelectionMode": "immediate"}}],
      "GitDependencies": [],
      "Properties": {"A": "plain", "B": {"HasValue": true, "Hint": null, "NewValue": "s3cret"}, "C": "", "D": {"HasValue": false, "Hint": null, "NewValue": null}}
    }]
  }]
}`

// What Octopus's Go client reads and sends back must be the same document.
func TestProcessSurvivesTheGoClient(t *testing.T) {
	var ours steps.Process
	if err := json.Unmarshal([]byte(processJSON), &ours); err != nil {
		t.Fatal(err)
	}
	answer, err := json.Marshal(ours)
	if err != nil {
		t.Fatal(err)
	}
	var theirs deployments.DeploymentProcess
	if err := json.Unmarshal(answer, &theirs); err != nil {
		t.Fatal(err)
	}
	sent, err := json.Marshal(&theirs)
	if err != nil {
		t.Fatal(err)
	}
	var back steps.Process
	if err := json.Unmarshal(sent, &back); err != nil {
		t.Fatal(err)
	}
	// The client has no Slug on a step and leaves out empty lists.
	back.Steps[0].Slug = "deploy-web"
	again, _ := json.Marshal(back)
	if string(again) != string(answer) {
		t.Errorf("changed on the way\n was %s\n now %s", answer, again)
	}
	var want, got any
	json.Unmarshal([]byte(processJSON), &want)
	json.Unmarshal(answer, &got)
	if !reflect.DeepEqual(want, got) {
		t.Errorf("answer differs from what was sent:\n%s", answer)
	}
}

func TestPropertiesAreTolerant(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"A":null}`, `{}`},
		{`{"A":true,"B":false}`, `{"A":"True","B":"False"}`},
		{`{"A":10}`, `{"A":"10"}`},
		{`{"A":"x"}`, `{"A":"x"}`},
		{`{"A":{"HasValue":true,"Hint":null,"NewValue":null}}`, `{"A":{"HasValue":true,"Hint":null,"NewValue":null}}`},
		{`{"A":[1]}`, ``},
	} {
		var p steps.Properties
		err := json.Unmarshal([]byte(c.in), &p)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s: accepted", c.in)
			}
			continue
		}
		got, _ := json.Marshal(p)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v; want %s", c.in, got, err, c.want)
		}
	}
}

func TestEmptyListsAreLists(t *testing.T) {
	out, _ := json.Marshal(steps.Process{Steps: []steps.Step{{Actions: []steps.Action{{}}}}})
	if strings.Contains(string(out), "null") {
		t.Errorf("a null where clients expect a list: %s", out)
	}
}

func FuzzProcessJSON(f *testing.F) {
	f.Add([]byte(processJSON))
	f.Add([]byte(`{"Steps":[{"Properties":{"a":null}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p steps.Process
		if json.Unmarshal(data, &p) != nil {
			return
		}
		one, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var q steps.Process
		if err := json.Unmarshal(one, &q); err != nil {
			t.Fatalf("own output refused: %v\n%s", err, one)
		}
		two, _ := json.Marshal(q)
		if string(one) != string(two) {
			t.Fatalf("not stable:\n%s\n%s", one, two)
		}
	})
}
