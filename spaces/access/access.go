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
	EventView            Permission = "EventView"
	EventRetentionView   Permission = "EventRetentionView"
	EventRetentionDelete Permission = "EventRetentionDelete"
	TeamView             Permission = "TeamView"
	TeamCreate           Permission = "TeamCreate"
	TeamEdit             Permission = "TeamEdit"
	TeamDelete           Permission = "TeamDelete"
	TaskView             Permission = "TaskView"
	TaskCreate           Permission = "TaskCreate"
	TaskCancel           Permission = "TaskCancel"
	TaskEdit             Permission = "TaskEdit"
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

	SubscriptionView   Permission = "SubscriptionView"
	SubscriptionCreate Permission = "SubscriptionCreate"
	SubscriptionEdit   Permission = "SubscriptionEdit"
	SubscriptionDelete Permission = "SubscriptionDelete"

	DefectResolve Permission = "DefectResolve"
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
// allows nothing. It is immutable and safe for concurrent use. A question costs the
// grants that name what it is about, not all that there are.
type Set struct {
	everywhere bits // given without any limit
	anywhere   bits // given for anything at all

	// Each limited grant stands under the first dimension that limits it: in limited, and
	// in byID under each id that it names there.
	limited [dimensions][]*limit
	byID    [dimensions]map[string][]*limit
}

const (
	ofProjects = iota // and project groups
	ofEnvironments
	ofTenants
	dimensions
)

type limit struct {
	Grant
	gives bits
}

// bits is a set of permissions.
type bits [2]uint64

var number = func() map[Permission]int {
	out := map[Permission]int{}
	for _, p := range join(systemPermissions, SpacePermissions()) {
		out[p] = len(out)
	}
	return out
}()

func (b *bits) add(p Permission) {
	if n, ok := number[p]; ok { // a name that this program does not know gives nothing
		b[n/64] |= 1 << (n % 64)
	}
}

func (b *bits) has(n int) bool { return b[n/64]&(1<<(n%64)) != 0 }

// NewSet unites grants.
func NewSet(grants ...Grant) Set {
	var s Set
	for _, g := range grants {
		l := &limit{Grant: g}
		for _, p := range g.Permissions {
			l.gives.add(p)
		}
		for i := range l.gives {
			s.anywhere[i] |= l.gives[i]
		}
		switch {
		case len(g.Projects)+len(g.ProjectGroups) > 0:
			s.index(ofProjects, l, g.Projects, g.ProjectGroups)
		case len(g.Environments) > 0:
			s.index(ofEnvironments, l, g.Environments, nil)
		case len(g.Tenants) > 0:
			s.index(ofTenants, l, g.Tenants, nil)
		default:
			for i := range l.gives {
				s.everywhere[i] |= l.gives[i]
			}
		}
	}
	return s
}

func (s *Set) index(d int, l *limit, ids, more []string) {
	s.limited[d] = append(s.limited[d], l)
	if s.byID[d] == nil {
		s.byID[d] = map[string][]*limit{}
	}
	for _, list := range [][]string{ids, more} {
		for _, id := range list {
			s.byID[d][id] = append(s.byID[d][id], l)
		}
	}
}

// Allows reports whether a permission is given for what scope names.
func (s Set) Allows(p Permission, scope Scope) bool {
	n, ok := number[p]
	if !ok || !s.anywhere.has(n) {
		return false
	}
	if s.everywhere.has(n) {
		return true
	}
	if scope.Project == "" && scope.ProjectGroup == "" {
		if covers(s.limited[ofProjects], n, scope) {
			return true
		}
	} else if scope.Project != "" && covers(s.byID[ofProjects][scope.Project], n, scope) || scope.ProjectGroup != "" && covers(s.byID[ofProjects][scope.ProjectGroup], n, scope) {
		return true
	}
	return covers(s.about(ofEnvironments, scope.Environment), n, scope) || covers(s.about(ofTenants, scope.Tenant), n, scope)
}

// about are the grants of a dimension that may speak of id; a question that names
// nothing there passes them all.
func (s *Set) about(d int, id string) []*limit {
	if id == "" {
		return s.limited[d]
	}
	return s.byID[d][id]
}

func covers(grants []*limit, n int, scope Scope) bool {
	for _, g := range grants {
		if g.gives.has(n) && g.coversProject(scope) && within(g.Environments, scope.Environment) && within(g.Tenants, scope.Tenant) {
			return true
		}
	}
	return false
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
func (s Set) Any(p Permission) bool {
	n, ok := number[p]
	return ok && s.anywhere.has(n)
}

// Everywhere reports whether a permission is given without any limit.
func (s Set) Everywhere(p Permission) bool {
	n, ok := number[p]
	return ok && s.everywhere.has(n)
}

// Empty reports whether nothing is allowed: the space does not exist for its owner.
func (s Set) Empty() bool { return s.anywhere == bits{} }

// Permissions lists what is given for anything, sorted.
func (s Set) Permissions() []Permission {
	out := []Permission{}
	for p, n := range number {
		if s.anywhere.has(n) {
			out = append(out, p)
		}
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
