// Package access is about what people may do: the names of permissions, the
// built-in roles, and the check itself.
//
// A [Grant] gives the permissions of a role within a scope; a [Set] is all grants of
// one person in one space (or in the system). Rights only add up: there is no deny.
// An empty list in a grant's scope means "any"; project groups and projects unite.
// A question that names nothing in a dimension passes that dimension, so that a
// person restricted to an environment can still list what has none.
//
// The model is Octopus's (octopus.com/docs/security/users-and-teams); permissions of
// promotion between zones are ours. The package is pure.
package access

import (
	"slices"

	"octopuses.dev/octopuses/spaces/errs"
)

// Permission is the name of a right, as the API and refusals spell it.
type Permission string

// Permissions of the system.
const (
	AdministerSystem Permission = "AdministerSystem"
	ConfigureServer  Permission = "ConfigureServer"
	SpaceView        Permission = "SpaceView"
	SpaceCreate      Permission = "SpaceCreate"
	SpaceEdit        Permission = "SpaceEdit"
	SpaceDelete      Permission = "SpaceDelete"
	UserView         Permission = "UserView"
	UserEdit         Permission = "UserEdit"
	UserInvite       Permission = "UserInvite"
	UserRoleView     Permission = "UserRoleView"
	UserRoleEdit     Permission = "UserRoleEdit"
)

// Permissions of the system and of a space.
const (
	EventView  Permission = "EventView"
	TeamView   Permission = "TeamView"
	TeamCreate Permission = "TeamCreate"
	TeamEdit   Permission = "TeamEdit"
	TeamDelete Permission = "TeamDelete"
	TaskView   Permission = "TaskView"
	TaskCreate Permission = "TaskCreate"
	TaskCancel Permission = "TaskCancel"
	TaskEdit   Permission = "TaskEdit"
)

// Permissions of a space.
const (
	EnvironmentView   Permission = "EnvironmentView"
	EnvironmentCreate Permission = "EnvironmentCreate"
	EnvironmentEdit   Permission = "EnvironmentEdit"
	EnvironmentDelete Permission = "EnvironmentDelete"

	LifecycleView   Permission = "LifecycleView"
	LifecycleCreate Permission = "LifecycleCreate"
	LifecycleEdit   Permission = "LifecycleEdit"
	LifecycleDelete Permission = "LifecycleDelete"

	MachineView   Permission = "MachineView"
	MachineCreate Permission = "MachineCreate"
	MachineEdit   Permission = "MachineEdit"
	MachineDelete Permission = "MachineDelete"

	ProjectView   Permission = "ProjectView"
	ProjectCreate Permission = "ProjectCreate"
	ProjectEdit   Permission = "ProjectEdit"
	ProjectDelete Permission = "ProjectDelete"

	ProjectGroupView   Permission = "ProjectGroupView"
	ProjectGroupCreate Permission = "ProjectGroupCreate"
	ProjectGroupEdit   Permission = "ProjectGroupEdit"
	ProjectGroupDelete Permission = "ProjectGroupDelete"

	ProcessView          Permission = "ProcessView"
	ProcessEdit          Permission = "ProcessEdit"
	VariableView         Permission = "VariableView"
	VariableEdit         Permission = "VariableEdit"
	VariableViewUnscoped Permission = "VariableViewUnscoped"
	VariableEditUnscoped Permission = "VariableEditUnscoped"

	ReleaseView   Permission = "ReleaseView"
	ReleaseCreate Permission = "ReleaseCreate"
	ReleaseEdit   Permission = "ReleaseEdit"
	ReleaseDelete Permission = "ReleaseDelete"

	DeploymentView   Permission = "DeploymentView"
	DeploymentCreate Permission = "DeploymentCreate"
	DeploymentDelete Permission = "DeploymentDelete"

	InterruptionView                  Permission = "InterruptionView"
	InterruptionSubmit                Permission = "InterruptionSubmit"
	InterruptionViewSubmitResponsible Permission = "InterruptionViewSubmitResponsible"

	FeedView              Permission = "FeedView"
	FeedEdit              Permission = "FeedEdit"
	BuiltInFeedPush       Permission = "BuiltInFeedPush"
	BuiltInFeedDownload   Permission = "BuiltInFeedDownload"
	BuiltInFeedAdminister Permission = "BuiltInFeedAdminister"

	ArtifactView   Permission = "ArtifactView"
	ArtifactCreate Permission = "ArtifactCreate"
	DefectReport   Permission = "DefectReport"
	DefectResolve  Permission = "DefectResolve"
)

// Permissions of promotion between zones.
const (
	LinkAdminister Permission = "LinkAdminister"
	ReleasePromote Permission = "ReleasePromote"
	BundleExport   Permission = "BundleExport"
	BundleImport   Permission = "BundleImport"
	BundleApprove  Permission = "BundleApprove"
	ReceiptExport  Permission = "ReceiptExport"
	ReceiptImport  Permission = "ReceiptImport"
)

// Scope is what a question is about: API ids, "" where it names nothing.
type Scope struct{ Project, ProjectGroup, Environment, Tenant string }

// Grant is a role within a scope. Empty lists mean any.
type Grant struct {
	Permissions   []Permission
	Projects      []string
	ProjectGroups []string
	Environments  []string
	Tenants       []string
}

// Set is all that one person may do in one space, or in the system. The zero value
// allows nothing. It is immutable and safe for concurrent use.
type Set struct{ grants map[Permission][]*Grant }

// NewSet unites grants.
func NewSet(grants ...Grant) Set {
	s := Set{grants: map[Permission][]*Grant{}}
	for i := range grants {
		g := &grants[i]
		for _, p := range g.Permissions {
			// One grant without limits makes all others of the same permission needless.
			if len(s.grants[p]) > 0 && s.grants[p][0].unlimited() {
				continue
			}
			if g.unlimited() {
				s.grants[p] = []*Grant{g}
			} else {
				s.grants[p] = append(s.grants[p], g)
			}
		}
	}
	return s
}

func (g *Grant) unlimited() bool {
	return len(g.Projects) == 0 && len(g.ProjectGroups) == 0 && len(g.Environments) == 0 && len(g.Tenants) == 0
}

// Allows reports whether a permission is given for what scope names.
func (s Set) Allows(p Permission, scope Scope) bool {
	for _, g := range s.grants[p] {
		if g.covers(scope) {
			return true
		}
	}
	return false
}

func (g *Grant) covers(s Scope) bool {
	return g.coversProject(s) && within(g.Environments, s.Environment) && within(g.Tenants, s.Tenant)
}

func (g *Grant) coversProject(s Scope) bool {
	if len(g.Projects) == 0 && len(g.ProjectGroups) == 0 || s.Project == "" && s.ProjectGroup == "" {
		return true
	}
	return s.Project != "" && slices.Contains(g.Projects, s.Project) || s.ProjectGroup != "" && slices.Contains(g.ProjectGroups, s.ProjectGroup)
}

func within(allowed []string, id string) bool {
	return len(allowed) == 0 || id == "" || slices.Contains(allowed, id)
}

// Any reports whether a permission is given for anything at all.
func (s Set) Any(p Permission) bool { return len(s.grants[p]) > 0 }

// Empty reports whether nothing is allowed: the space does not exist for its owner.
func (s Set) Empty() bool { return len(s.grants) == 0 }

// Permissions lists what is given for anything, sorted.
func (s Set) Permissions() []Permission {
	out := make([]Permission, 0, len(s.grants))
	for p := range s.grants {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// Missing is the refusal: it names the permission and who can grant it.
func Missing(p Permission) error {
	who := "a manager of this space"
	if IsSystem(p) {
		who = "an administrator of this server"
	}
	return errs.New(errs.Denied, "You do not have the permission %s for this.", p).WithHint("Ask %s to grant it.", who)
}
