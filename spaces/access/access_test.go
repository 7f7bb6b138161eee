package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces/errs"
)

func TestScopes(t *testing.T) {
	for _, c := range []struct {
		name  string
		grant Grant
		scope Scope
		want  bool
	}{
		{"unlimited", Grant{}, Scope{Project: "Projects-1", Environment: "Environments-1"}, true},
		{"project inside", Grant{Projects: []string{"Projects-1"}}, Scope{Project: "Projects-1"}, true},
		{"project outside", Grant{Projects: []string{"Projects-1"}}, Scope{Project: "Projects-2"}, false},
		{"project of the group", Grant{ProjectGroups: []string{"ProjectGroups-2"}}, Scope{Project: "Projects-9", ProjectGroup: "ProjectGroups-2"}, true},
		{"project of another group", Grant{ProjectGroups: []string{"ProjectGroups-2"}}, Scope{Project: "Projects-9", ProjectGroup: "ProjectGroups-1"}, false},
		{"groups and projects unite", Grant{ProjectGroups: []string{"ProjectGroups-1"}, Projects: []string{"Projects-5"}}, Scope{Project: "Projects-5", ProjectGroup: "ProjectGroups-2"}, true},
		{"environment inside", Grant{Environments: []string{"Environments-1"}}, Scope{Project: "Projects-1", Environment: "Environments-1"}, true},
		{"environment outside", Grant{Environments: []string{"Environments-1"}}, Scope{Project: "Projects-1", Environment: "Environments-2"}, false},
		{"no environment named", Grant{Environments: []string{"Environments-1"}}, Scope{Project: "Projects-1"}, true},
		{"dimensions intersect", Grant{Projects: []string{"Projects-1"}, Environments: []string{"Environments-1"}}, Scope{Project: "Projects-2", Environment: "Environments-1"}, false},
	} {
		c.grant.Permissions = []Permission{DeploymentCreate}
		if got := NewSet(c.grant).Allows(DeploymentCreate, c.scope); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if NewSet(c.grant).Allows(ReleaseCreate, c.scope) {
			t.Errorf("%s: allows what was not granted", c.name)
		}
	}
}

func TestGrantsAddUp(t *testing.T) {
	s := NewSet(Grant{Permissions: []Permission{DeploymentCreate}, Environments: []string{"Environments-1"}}, Grant{Permissions: []Permission{DeploymentCreate}, Environments: []string{"Environments-2"}})
	for _, e := range []string{"Environments-1", "Environments-2"} {
		if !s.Allows(DeploymentCreate, Scope{Environment: e}) {
			t.Errorf("%s is refused", e)
		}
	}
	if s.Allows(DeploymentCreate, Scope{Environment: "Environments-3"}) {
		t.Error("Environments-3 is allowed")
	}
	if (Set{}).Allows(DeploymentCreate, Scope{}) || !(Set{}).Empty() {
		t.Error("the zero set allows something")
	}
}

func TestBuiltInRoles(t *testing.T) {
	allows := func(role string, p Permission) bool {
		r, ok := RoleByID(role)
		if !ok {
			t.Fatalf("no role %s", role)
		}
		return NewSet(Grant{Permissions: r.Space}).Any(p)
	}
	for _, c := range []struct {
		role string
		p    Permission
		want bool
	}{
		{"userroles-projectlead", ReleaseCreate, true}, {"userroles-projectlead", DeploymentCreate, false},
		{"userroles-projectdeployer", DeploymentCreate, true}, {"userroles-projectdeployer", ReleaseCreate, false},
		{"userroles-systemadministrator", ProjectView, false}, {"userroles-spacemanager", LinkAdminister, true},
		{"userroles-promoter", BundleImport, false}, {"userroles-acceptor", ReleasePromote, false},
	} {
		if got := allows(c.role, c.p); got != c.want {
			t.Errorf("%s, %s: %v", c.role, c.p, got)
		}
	}
	// Nobody but the space manager holds both ends of a promotion.
	for _, r := range Roles() {
		s := NewSet(Grant{Permissions: r.Space})
		if r.ID != "userroles-spacemanager" && s.Any(ReleasePromote) && s.Any(BundleApprove) {
			t.Errorf("%s promotes and accepts", r.Name)
		}
	}
}

func TestRefusalSaysWhatAndWho(t *testing.T) {
	for _, c := range []struct {
		p   Permission
		who string
	}{{ReleasePromote, "a manager of this space"}, {TeamEdit, "a manager of this space"}, {SpaceCreate, "an administrator of this server"}} {
		err := Missing(c.p)
		text := errs.TextOf(err)
		if !errors.Is(err, errs.Denied) || !strings.Contains(text, string(c.p)) || !strings.Contains(text, c.who) {
			t.Errorf("%s: %q", c.p, text)
		}
	}
}

// Each permission that a role gives is one of a space or of the system: a misspelled
// one would be given to nobody.
func TestRolesGiveKnownPermissions(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Roles() {
		if seen[r.ID] {
			t.Errorf("two roles are called %s", r.ID)
		}
		seen[r.ID] = true
		for _, p := range r.Space {
			if !slices.Contains(SpacePermissions(), p) {
				t.Errorf("%s gives %s in a space", r.Name, p)
			}
		}
		for _, p := range r.System {
			if !slices.Contains(systemPermissions, p) {
				t.Errorf("%s gives %s in the system", r.Name, p)
			}
		}
	}
	if r, ok := RoleByID("UserRoles-ProjectLead"); !ok || r.ID != "userroles-projectlead" {
		t.Error("ids of roles have case")
	}
}

func TestPermissionsFitTheSet(t *testing.T) {
	if len(number) > len(bits{})*64 {
		t.Errorf("%d permissions do not fit into %d bits", len(number), len(bits{})*64)
	}
}

// BenchmarkAllows asks for a person in 50 teams with 500 scoped roles, the worst way
// round: the grant that covers the question, if any, was given last. Budget: 2 µs.
func BenchmarkAllows(b *testing.B) {
	for _, c := range []struct {
		name  string
		scope func(i int) Grant
	}{
		{"projects", func(i int) Grant { return Grant{Projects: []string{fmt.Sprint("Projects-", i)}} }},
		{"groups", func(i int) Grant {
			return Grant{ProjectGroups: []string{fmt.Sprint("ProjectGroups-", i)}}
		}},
		{"environments", func(i int) Grant {
			return Grant{Environments: []string{fmt.Sprint("Environments-", i), fmt.Sprint("Environments-", i+1000)}}
		}},
		{"projects and environments", func(i int) Grant {
			return Grant{Projects: []string{fmt.Sprint("Projects-", i%25)}, Environments: []string{fmt.Sprint("Environments-", i)}}
		}},
		{"tenants", func(i int) Grant { return Grant{Tenants: []string{fmt.Sprint("Tenants-", i)}} }},
	} {
		b.Run(c.name, func(b *testing.B) {
			var grants []Grant
			for i := range 500 {
				g := c.scope(i)
				g.Permissions = SpacePermissions()
				grants = append(grants, g)
			}
			s := NewSet(grants...)
			yes := Scope{Project: "Projects-499", ProjectGroup: "ProjectGroups-499", Environment: "Environments-499", Tenant: "Tenants-499"}
			if c.name == "projects and environments" {
				yes.Project = "Projects-24"
			}
			no := Scope{Project: "Projects-24", ProjectGroup: "x", Environment: "x", Tenant: "x"}
			if !s.Allows(DeploymentCreate, yes) || c.name != "projects" && s.Allows(DeploymentCreate, no) {
				b.Fatal("the wrong answer")
			}
			b.ReportAllocs()
			for b.Loop() {
				s.Allows(DeploymentCreate, yes)
			}
		})
	}
}
