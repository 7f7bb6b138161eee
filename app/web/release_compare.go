package web

import (
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/projects"
	"octopuses.dev/octopuses/views/releases"
)

func compareWith(r *request) error {
	return r.see(views.CompareURL(r.about.Slug, r.param("project"), r.param("version"), r.Query("with")))
}

func compare(r *request) error {
	var m releases.Compare
	p, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Project, error) {
		p, rel, err := r.releaseOf(tx)
		if err != nil {
			return p, err
		}
		old, err := tx.ReleaseBy(p.ID, r.param("with"))
		if err != nil {
			return p, err
		}
		m.Version, m.With = rel.Version, old.Version
		a, err := tx.ReleaseProcess(old)
		if err != nil {
			return p, err
		}
		b, err := tx.ReleaseProcess(rel)
		if err != nil {
			return p, err
		}
		m.Steps = stepChanges(steps.Diff(&a, &b))
		key := func(k spaces.ReleasePackage) string { return k.PackageID + " in " + k.ActionName }
		before, after := map[string]string{}, map[string]string{}
		var order []string
		note := func(in map[string]string, name, value string) {
			if _, ok := before[name]; !ok {
				if _, ok := after[name]; !ok {
					order = append(order, name)
				}
			}
			in[name] = value
		}
		differences := func() (out []projects.Pair) {
			for _, name := range order {
				if before[name] != after[name] {
					out = append(out, projects.Pair{Name: name, Old: before[name], New: after[name]})
				}
			}
			return out
		}
		for _, k := range old.Packages {
			note(before, key(k), k.Version)
		}
		for _, k := range rel.Packages {
			note(after, key(k), k.Version)
		}
		m.Packages = differences()
		if !r.actor.Can(access.VariableView, p.Scope()) {
			return p, nil
		}
		before, after, order = map[string]string{}, map[string]string{}, nil
		scopes := map[string]variables.Scope{}
		for _, side := range []struct {
			rel spaces.Release
			in  map[string]string
		}{{old, before}, {rel, after}} {
			vars, err := tx.ReleaseVariables(side.rel)
			if err != nil {
				return p, err
			}
			for _, v := range vars.Variables {
				key := v.Name + "\x00" + v.Scope.String()
				scopes[key] = v.Scope
				note(side.in, key, frozenText(v))
			}
		}
		m.Variables = differences()
		n := r.names(tx, p)
		for i := range m.Variables {
			v := &m.Variables[i]
			v.Where = n.chips(scopes[v.Name])
			v.Name, _, _ = strings.Cut(v.Name, "\x00")
			if strings.HasPrefix(v.Old, sealedText) {
				v.Old = "a sensitive value"
			}
			if strings.HasPrefix(v.New, sealedText) {
				v.New = "another sensitive value"
			}
		}
		return p, nil
	})
	if err != nil {
		return err
	}
	m.Page, m.Header = r.projectPage(p, "Compare"), r.header(p, "Releases")
	return r.render(fiber.StatusOK, releases.ShowCompare(m))
}

// sealedText begins what stands for a sensitive value; no value has it.
const sealedText = "\x00sealed "

// frozenText is a value for comparison; a sensitive one is told apart by its number only.
func frozenText(v variables.Variable) string {
	switch {
	case v.IsSensitive:
		return sealedText + strconv.FormatInt(v.Secret, 10)
	case v.Value == nil:
		return "(none)"
	}
	return *v.Value
}
