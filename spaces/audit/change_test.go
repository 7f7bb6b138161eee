package audit_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"octopuses.dev/octopuses/spaces/audit"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name, before, after string
		want                []audit.Change
	}{
		{"nothing", `{"A":1,"B":[],"C":null}`, `{"A":1,"C":""}`, nil},
		{"values", `{"A":1,"B":true,"C":"x"}`, `{"A":2,"B":false,"D":"y"}`, []audit.Change{{Field: "A", Before: "1", After: "2"}, {Field: "B", Before: "true", After: "false"}, {Field: "C", Before: "x"}, {Field: "D", After: "y"}}},
		{"texts in a list", `{"E":["a","b"]}`, `{"E":["b"]}`, []audit.Change{{Field: "E", Before: "a, b", After: "b"}}},
		{"a large number stays itself", `{"N":9007199254740993}`, `{"N":9007199254740992}`, []audit.Change{{Field: "N", Before: "9007199254740993", After: "9007199254740992"}}},
		{"items by id, named as they are called", `{"S":[{"Id":"1","Name":"Say","P":{"a.b":"x"}},{"Id":"2","Name":"Go"}]}`, `{"S":[{"Id":"2","Name":"Run"},{"Id":"1","Name":"Say","P":{"a.b":"y"}}]}`,
			[]audit.Change{{Field: "S/Say/P/a.b", Before: "x", After: "y"}, {Field: "S/Run/Name", Before: "Go", After: "Run"}, {Field: "S/order", Before: "Say, Go", After: "Run, Say"}}},
		{"an item that came", `{"S":[]}`, `{"S":[{"Id":"7","Name":"Say","On":true}]}`, []audit.Change{{Field: "S/Say/Id", After: "7"}, {Field: "S/Say/Name", After: "Say"}, {Field: "S/Say/On", After: "true"}}},
		{"an item that went", `{"S":[{"Name":"a"},{"Name":"b"}]}`, `{"S":[{"Name":"a"}]}`, []audit.Change{{Field: "S/b/Name", Before: "b"}}},
		{"two of one name are compared as a whole", `{"S":[{"Name":"a"},{"Name":"a"}]}`, `{"S":[{"Name":"a"}]}`, []audit.Change{{Field: "S", Before: `[{"Name":"a"},{"Name":"a"}]`, After: `[{"Name":"a"}]`}}},
		{"another shape", `{"S":{"a":1}}`, `{"S":"x"}`, []audit.Change{{Field: "S", Before: `{"a":1}`, After: "x"}}},
	} {
		if got := audit.Compare("", json.RawMessage(x.before), json.RawMessage(x.after)); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%s: %+v", x.name, got)
		}
	}
}

func TestDetails(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(audit.DetailsOf([]audit.Change{{Field: "name", Before: "a", After: "b"}, {Field: "x~y", After: "1"}, {Field: "gone", Before: "1"}, {Field: "Password", Secret: true}}))
	if want := `{"Differences":[{"op":"replace","path":"/name","value":"b","oldValue":"a"},{"op":"add","path":"/x~0y","value":"1"},{"op":"remove","path":"/gone","oldValue":"1"},{"op":"replace","path":"/Password","secret":true}]}`; err != nil || string(b) != want {
		t.Errorf("%v\n%s", err, b)
	}
	if audit.DetailsOf(nil) != nil {
		t.Error("no changes have details")
	}
}
