package access

import (
	"slices"
	"strings"
)

// Role is a named list of permissions.
type Role struct {
	ID          string // API id, as "userroles-projectdeployer"
	Name        string
	Description string
	System      []Permission // given in the system
	Space       []Permission // given in the space that the role is scoped to
}

var systemPermissions = []Permission{AdministerSystem, ConfigureServer, SpaceView, SpaceCreate, SpaceEdit, SpaceDelete, UserView, UserEdit, UserInvite, UserRoleView, UserRoleEdit,
	EventView, EventRetentionView, EventRetentionDelete, TeamView, TeamCreate, TeamEdit, TeamDelete, TaskView, TaskCreate, TaskCancel, TaskEdit}

// SpacePermissions returns every permission of a space, zones included.
func SpacePermissions() []Permission {
	return []Permission{EventView, EventRetentionView, EventRetentionDelete, TeamView, TeamCreate, TeamEdit, TeamDelete, TaskView, TaskCreate, TaskCancel, TaskEdit,
		EnvironmentView, EnvironmentCreate, EnvironmentEdit, EnvironmentDelete, LifecycleView, LifecycleCreate, LifecycleEdit, LifecycleDelete,
		MachineView, MachineCreate, MachineEdit, MachineDelete, ProjectView, ProjectCreate, ProjectEdit, ProjectDelete,
		ProjectGroupView, ProjectGroupCreate, ProjectGroupEdit, ProjectGroupDelete, ProcessView, ProcessEdit,
		VariableView, VariableEdit, VariableViewUnscoped, VariableEditUnscoped, ReleaseView, ReleaseCreate, ReleaseEdit, ReleaseDelete,
		DeploymentView, DeploymentCreate, DeploymentDelete, InterruptionView, InterruptionSubmit, InterruptionViewSubmitResponsible,
		FeedView, FeedEdit, BuiltInFeedPush, BuiltInFeedDownload, BuiltInFeedAdminister, ArtifactView, ArtifactCreate, DefectReport, DefectResolve, SubscriptionView, SubscriptionCreate, SubscriptionEdit, SubscriptionDelete,
		LinkAdminister, ReleasePromote, BundleExport, BundleImport, BundleApprove, ReceiptExport, ReceiptImport}
}

// SystemPermissions returns every permission of the system.
func SystemPermissions() []Permission { return slices.Clone(systemPermissions) }

// InSystem reports whether a permission exists in the system.
func InSystem(p Permission) bool { return slices.Contains(systemPermissions, p) }

// InSpace reports whether a permission exists in a space.
func InSpace(p Permission) bool { return slices.Contains(SpacePermissions(), p) }

// IsSystem reports whether a permission exists only in the system.
func IsSystem(p Permission) bool { return InSystem(p) && !InSpace(p) }

func join(lists ...[]Permission) []Permission {
	var out []Permission
	for _, l := range lists {
		for _, p := range l {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// Roles returns the built-in roles. System roles give nothing inside a space.
func Roles() []Role {
	manager := slices.DeleteFunc(slices.Clone(systemPermissions), func(p Permission) bool { return p == AdministerSystem })
	read := []Permission{ArtifactView, DeploymentView, EnvironmentView, EventView, InterruptionView, LifecycleView, ProcessView, ProjectView, ProjectGroupView, ReleaseView, TaskView, TeamView}
	contribute := join(read, []Permission{ProcessEdit, ProjectEdit, FeedView, VariableView, VariableEdit, VariableViewUnscoped, VariableEditUnscoped, ArtifactCreate, DefectReport, DefectResolve, MachineView, TaskCreate, InterruptionViewSubmitResponsible})
	people := []Permission{TeamView, UserView, UserRoleView}
	return []Role{
		{"userroles-systemadministrator", "System administrator", "Everything about the server; nothing inside a space.", systemPermissions, nil},
		{"userroles-systemmanager", "System manager", "Spaces, users and teams; nothing inside a space.", manager, nil},
		{"userroles-spacemanager", "Space manager", "Everything inside the space.", people, SpacePermissions()},
		{"userroles-projectviewer", "Project viewer", "Sees projects, releases and deployments.", people, read},
		{"userroles-projectcontributor", "Project contributor", "Edits process and variables; neither releases nor deploys.", people, contribute},
		{"userroles-projectlead", "Project lead", "Contributor who creates releases; does not deploy.", people, join(contribute, []Permission{ReleaseCreate, ReleaseEdit, ReleaseDelete})},
		{"userroles-projectdeployer", "Project deployer", "Contributor who deploys; does not create releases.", people, join(contribute, []Permission{DeploymentCreate, InterruptionSubmit, TaskCancel})},
		{"userroles-projectinitiator", "Project initiator", "Creates and deletes projects.", people, join(read, []Permission{ProjectCreate, ProjectEdit, ProjectDelete, DefectReport, DefectResolve})},
		{"userroles-releasecreator", "Release creator", "Creates releases.", nil, []Permission{EnvironmentView, FeedView, ProcessView, ProjectView, ReleaseView, ReleaseCreate}},
		{"userroles-deploymentcreator", "Deployment creator", "Deploys releases.", nil, []Permission{DeploymentView, DeploymentCreate, EnvironmentView, LifecycleView, ProcessView, ProjectView, ReleaseView, TaskView}},
		{"userroles-environmentviewer", "Environment viewer", "Sees environments and targets.", nil, []Permission{EnvironmentView, MachineView, TaskView, TeamView}},
		{"userroles-environmentmanager", "Environment manager", "Manages environments and targets.", nil, []Permission{EnvironmentView, EnvironmentCreate, EnvironmentEdit, EnvironmentDelete, MachineView, MachineCreate, MachineEdit, MachineDelete, TaskView, TaskCreate, TaskCancel, TeamView}},
		{"userroles-packagepublisher", "Package publisher", "Pushes packages.", nil, []Permission{BuiltInFeedPush, BuiltInFeedDownload, BuiltInFeedAdminister, FeedView}},
		{"userroles-buildserver", "Build server", "Pushes packages, creates releases and deploys them.", nil, []Permission{BuiltInFeedPush, BuiltInFeedDownload, BuiltInFeedAdminister, FeedView, DeploymentCreate, DeploymentView, ReleaseCreate, ReleaseView, EnvironmentView, LifecycleView, ProcessView, ProjectView, TaskView}},
		{"userroles-promoter", "Promoter", "Promotes releases to other zones and exports them as files.", nil, join(read, []Permission{ReleasePromote, BundleExport, ReceiptImport})},
		{"userroles-acceptor", "Acceptor", "Reviews and accepts what other zones promote.", nil, join(read, []Permission{BundleImport, BundleApprove, ReceiptExport})},
	}
}

// RoleByID finds a built-in role by API id, without case.
func RoleByID(id string) (Role, bool) {
	for _, r := range Roles() {
		if strings.EqualFold(r.ID, id) {
			return r, true
		}
	}
	return Role{}, false
}
