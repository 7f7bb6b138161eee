package variables

import (
	"bufio"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func newTestDictionary() *Dictionary {
	d := NewDictionary()
	d.Now = func() time.Time { return time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC) }
	for name, value := range map[string]string{
		"Name": "Ada", "Greeting": "Hello #{Name}", "Yes": "True", "No": "no", "Zero": "0", "SpacedZero": " 0 ", "SpacedFalse": " False ", "Two": "2", "List": "a,b,c",
		"Server[one].Port": "1", "Server[two].Port": "2", "Which": "two", "dash-ed": "5", "Dotted": `{"Name":"inside"}`, "Dotted.Name": "explicit",
		"Json": `{"name":"deep","items":[{"id":1},{"id":2}],"map":{"b":2,"a":1},"nothing":null}`, "Swap": "a b", "Html": `<a href="/">`, "Version": "1.2.3-beta.2",
		"Url": "https://example.com/a?b=c", "Lines": "a\nb", "Loop A": "#{Loop B}", "Loop B": "#{Loop A}",
	} {
		d.Set(name, value, false)
	}
	d.Set("Secret", "hunter2!", true)
	d.Set("Uses", "x#{Secret}", false)
	d.Set("Deep", "#{Uses | ToUpper}", false)
	return d
}

func TestLanguage(t *testing.T) {
	f, err := os.Open("testdata/language.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "# ") && !strings.Contains(line, "\t") {
			continue
		}
		line, wantErr := strings.CutPrefix(line, "!")
		template, want, _ := strings.Cut(line, "\t")
		want = strings.ReplaceAll(want, `\n`, "\n")
		got, sensitive, err := newTestDictionary().Evaluate(template)
		if got != want || (err != nil) != wantErr || sensitive {
			t.Errorf("line %d: %s\n got %q, %v, sensitive %v\nwant %q", n, template, got, err, sensitive, want)
		}
	}
}

func TestSensitivityFollowsTheData(t *testing.T) {
	d := newTestDictionary()
	for template, want := range map[string]bool{
		"#{Deep}": true, "#{Name}": false, "#{if Secret}y#{/if}": true, "#{each x in Secret}#{x}#{/each}": true, "#{Name | Append #{Uses}}": true, "hunter2!": false,
	} {
		if _, got, err := d.Evaluate(template); got != want || err != nil {
			t.Errorf("%s: sensitive %v, %v", template, got, err)
		}
	}
	if v := d.Export()["Deep"]; !v.Sensitive || v.Text != "XHUNTER2!" {
		t.Errorf("exported %+v", v)
	}
}

func TestErrorsSayWhere(t *testing.T) {
	_, _, err := newTestDictionary().Evaluate("line one\nand #{if Yes}never closed")
	var e *Error
	if !errors.As(err, &e) || e.Line != 2 || e.Column != 5 {
		t.Errorf("%v", err)
	}
	_, _, err = newTestDictionary().Evaluate("#{Loop A}")
	if err == nil || !strings.Contains(err.Error(), "loop a -> loop b -> loop a") {
		t.Errorf("cycle: %v", err)
	}
	_, _, err = newTestDictionary().Evaluate("#{Nope} #{Nada}")
	if !errors.As(err, &e) || len(e.Missing) != 2 {
		t.Errorf("missing: %v", err)
	}
}

func TestReplaceJSON(t *testing.T) {
	d := NewDictionary()
	for name, value := range map[string]string{"ConnectionStrings:Main": "db=#{Db}", "Db": "prod", "servers:1:port": "8443", "debug": "False", "logging": `{"level":"warn"}`, "count": "many", "OctopusThing": "no", "none": "x\"y"} {
		d.Set(name, value, false)
	}
	in := "{\n  \"connectionStrings\": { \"main\" : \"x\" }, // kept\n}"
	if _, _, err := ReplaceJSON([]byte(in), d); err == nil {
		t.Error("a comment was read as JSON")
	}
	in = "{\n  \"connectionStrings\": { \"main\" : \"x\" },\n  \"servers\": [ {\"port\": 1}, {\"port\": 2} ],\n  \"debug\": true, \"logging\": {\"level\": \"debug\"}, \"count\": 3,\n  \"octopusThing\": \"stays\", \"none\": null\n}\n"
	want := "{\n  \"connectionStrings\": { \"main\" : \"db=prod\" },\n  \"servers\": [ {\"port\": 1}, {\"port\": 8443} ],\n  \"debug\": false, \"logging\": {\"level\":\"warn\"}, \"count\": \"many\",\n  \"octopusThing\": \"stays\", \"none\": \"x\\\"y\"\n}\n"
	out, replaced, err := ReplaceJSON([]byte(in), d)
	if err != nil || string(out) != want {
		t.Errorf("got %s, %v", out, err)
	}
	if len(replaced) != 6 {
		t.Errorf("replaced %v", replaced)
	}
}

func text(s string) *string { return &s }

func TestResolveRanks(t *testing.T) {
	ctx := Context{Environment: "Environments-1", Machine: "Machines-1", Action: "deploy", Channel: "Channels-1", Roles: []string{"web", "db"}, StepRoles: []string{"web"}}
	// Each scope beats all that stand after it.
	order := []Scope{
		{Action: {"deploy"}},
		{Machine: {"Machines-1"}, Role: {"web"}},
		{Machine: {"Machines-1"}},
		{Role: {"web"}, Environment: {"Environments-1"}},
		{Role: {"web"}},
		{Role: {"db"}, Environment: {"Environments-1"}},
		{Role: {"db"}},
		{Environment: {"Environments-1"}, Channel: {"Channels-1"}},
		{Environment: {"Environments-2", "Environments-1"}},
		{Channel: {"Channels-1"}},
		{},
	}
	for i := range order {
		for j := i + 1; j < len(order); j++ {
			set := Set{Variables: []Variable{{Name: "X", Value: text("loser"), Scope: order[j]}, {Name: "x", Value: text("winner"), Scope: order[i]}}}
			got, ok := Resolve([]Source{{Name: "Project", Set: set}}, ctx).Winner("X")
			if !ok || *got.Value != "winner" {
				t.Errorf("%v does not beat %v", order[i], order[j])
			}
		}
	}
	none := Set{Variables: []Variable{{Name: "X", Value: text("a"), Scope: Scope{Environment: {"Environments-9"}}}}}
	if _, ok := Resolve([]Source{{Set: none}}, ctx).Winner("X"); ok {
		t.Error("a value for another environment won")
	}
	library := Source{Name: "Library", Rank: 1, Set: Set{Variables: []Variable{{Name: "X", Value: text("library")}}}}
	project := Source{Name: "Project", Rank: 2, Set: Set{Variables: []Variable{{Name: "X", Value: text("project")}}}}
	if v, _ := Resolve([]Source{project, library}, ctx).Winner("X"); *v.Value != "project" {
		t.Error("the library beats the project")
	}
	tie := Set{Variables: []Variable{{Name: "X", Value: text("first")}, {Name: "X", Value: text("second")}}}
	r := Resolve([]Source{{Set: tie}}, ctx).Names[0]
	if !r.Tie || *r.Winner.Value != "first" {
		t.Errorf("tie: %+v", r)
	}
}

func TestCheckCycles(t *testing.T) {
	s := Set{Variables: []Variable{{Name: "A", Value: text("#{B}")}, {Name: "B", Value: text("x #{if C}y#{/if}")}, {Name: "C", Value: text("#{a | ToUpper}")}}}
	if err := s.CheckCycles(); err == nil || !strings.Contains(err.Error(), "A -> B -> C -> A") {
		t.Errorf("%v", err)
	}
	s.Variables[2].Value = text("end")
	if err := s.CheckCycles(); err != nil {
		t.Error(err)
	}
}

func FuzzEvaluate(f *testing.F) {
	for _, s := range []string{"#{Name}", "#{if Yes}#{each x in List}#{x}#{/each}#{/if}", "#{calc 1+2}", "#{Server[#{Which}].Port | ToUpper}", "###{Name"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 4096 {
			return
		}
		newTestDictionary().Evaluate(s)
	})
}

func FuzzReplaceJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}],"debug":true}`))
	d := NewDictionary()
	d.Set("a:1:b", `{"x":1}`, false)
	d.Set("debug", "false", false)
	f.Fuzz(func(t *testing.T, doc []byte) { ReplaceJSON(doc, d) })
}

// Budget: 10 µs for a template with ten references.
func BenchmarkEvaluate(b *testing.B) {
	d := newTestDictionary()
	template := strings.Repeat("#{Name}/#{Greeting} ", 5)
	b.ReportAllocs()
	for b.Loop() {
		d.Evaluate(template)
	}
}

// Budget: 2 ms for a document of 1,000 values.
func BenchmarkResolve(b *testing.B) {
	var s Set
	for i := range 1000 {
		s.Variables = append(s.Variables, Variable{Name: "V" + strings.Repeat("x", i%250), Value: text("v"), Scope: Scope{Environment: {[]string{"Environments-1", "Environments-2"}[i%2]}}})
	}
	for b.Loop() {
		Resolve([]Source{{Name: "Project", Set: s}}, Context{Environment: "Environments-1"})
	}
}
