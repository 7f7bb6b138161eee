package deploy

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/lifecycles"

	"octopuses.dev/octopuses/spaces/errs"
)

const lifecycleJSON = `{"Id":"Lifecycles-41","SpaceId":"Spaces-1","Name":"Test","Description":"d",
 "ReleaseRetentionPolicy":{"Unit":"Days","QuantityToKeep":3,"ShouldKeepForever":false,"Strategy":"Count"},
 "TentacleRetentionPolicy":{"Unit":"Items","QuantityToKeep":0,"ShouldKeepForever":true,"Strategy":"Default"},
 "Phases":[
  {"Id":"61e3","Name":"A","AutomaticDeploymentTargets":["Environments-2"],"OptionalDeploymentTargets":["Environments-1"],"MinimumEnvironmentsBeforePromotion":1,
   "IsOptionalPhase":true,"IsPriorityPhase":false,"ReleaseRetentionPolicy":{"Unit":"Days","QuantityToKeep":1,"ShouldKeepForever":false,"Strategy":"Count"},"TentacleRetentionPolicy":null},
  {"Id":"6709","Name":"B","AutomaticDeploymentTargets":[],"OptionalDeploymentTargets":[],"MinimumEnvironmentsBeforePromotion":0,
   "IsOptionalPhase":false,"IsPriorityPhase":true,"ReleaseRetentionPolicy":null,"TentacleRetentionPolicy":null,
   "RemoteSpaces":[{"Id":"Links-1","MinimumEnvironmentsBeforePromotion":2,"Automatic":true,"Environments":["Production"]}]}]}`

func TestLifecycleSurvivesTheGoClient(t *testing.T) {
	var ours Lifecycle
	if err := json.Unmarshal([]byte(lifecycleJSON), &ours); err != nil {
		t.Fatal(err)
	}
	answer, _ := json.Marshal(ours)
	var want, got any
	json.Unmarshal([]byte(lifecycleJSON), &want)
	json.Unmarshal(answer, &got)
	if !reflect.DeepEqual(want, got) {
		t.Errorf("answer differs from what was sent:\n%s", answer)
	}
	var theirs lifecycles.Lifecycle
	if err := json.Unmarshal(answer, &theirs); err != nil {
		t.Fatal(err)
	}
	sent, _ := json.Marshal(&theirs)
	var back Lifecycle
	if err := json.Unmarshal(sent, &back); err != nil {
		t.Fatal(err)
	}
	if back.Phases[1].RemoteSpaces != nil {
		t.Fatal("the Go client is not expected to know remote spaces")
	}
	back.KeepRemote(&ours)
	if again, _ := json.Marshal(back); string(again) != string(answer) {
		t.Errorf("changed on the way\n was %s\n now %s", answer, again)
	}
}

func TestLifecycleValidate(t *testing.T) {
	ok := Lifecycle{Name: "L", Phases: []Phase{{Name: "Dev", OptionalDeploymentTargets: []string{"Environments-1"}}}}
	for _, c := range []struct {
		name  string
		edit  func(*Lifecycle)
		field string
	}{
		{"fine", func(*Lifecycle) {}, ""},
		{"no name", func(l *Lifecycle) { l.Name = " " }, "Name"},
		{"phase without name", func(l *Lifecycle) { l.Phases[0].Name = "" }, "Phases[0].Name"},
		{"two alike", func(l *Lifecycle) { l.Phases = append(l.Phases, Phase{Name: "dev"}) }, "Phases[1].Name"},
		{"twice", func(l *Lifecycle) { l.Phases[0].AutomaticDeploymentTargets = []string{"Environments-1"} }, "Phases[0].OptionalDeploymentTargets[0]"},
		{"too many", func(l *Lifecycle) { l.Phases[0].MinimumEnvironmentsBeforePromotion = 2 }, "Phases[0].MinimumEnvironmentsBeforePromotion"},
		{"negative", func(l *Lifecycle) { l.Phases[0].MinimumEnvironmentsBeforePromotion = -1 }, "Phases[0].MinimumEnvironmentsBeforePromotion"},
		{"unit", func(l *Lifecycle) { l.ReleaseRetentionPolicy = Keep(3, "Moons") }, "ReleaseRetentionPolicy.Unit"},
		{"space without id", func(l *Lifecycle) { l.Phases[0].RemoteSpaces = []RemoteSpace{{}} }, "Phases[0].RemoteSpaces[0].Id"},
		{"space twice", func(l *Lifecycle) { l.Phases[0].RemoteSpaces = []RemoteSpace{{ID: "Links-1"}, {ID: "Links-1"}} }, "Phases[0].RemoteSpaces[1].Id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := ok
			l.Phases = append([]Phase(nil), ok.Phases...)
			c.edit(&l)
			fields := errs.FieldsOf(l.Validate())
			if c.field == "" && len(fields) > 0 || c.field != "" && (len(fields) != 1 || fields[0].Name != c.field) {
				t.Errorf("got %v, want a complaint about %q", fields, c.field)
			}
		})
	}
}
