package views

import (
	"net/url"
	"strconv"
)

// One function for each page. Arguments are slugs, ids or versions as the domain
// has them; they are escaped here and nowhere else.

func seg(parts ...string) string {
	s := ""
	for _, p := range parts {
		s += "/" + url.PathEscape(p)
	}
	return s
}

// Pages of the instance.
func SignInURL() string     { return "/signin" }
func SignInCodeURL() string { return "/signin/code" }
func SignOutURL() string    { return "/signout" }
func SetupURL() string      { return "/setup" }
func SpacesURL() string     { return "/spaces" }
func AccountURL() string    { return "/account" }
func ThemeURL() string      { return "/account/theme" }
func PasswordURL() string   { return "/account/password" }
func SessionsURL() string   { return "/account/sessions" }
func TOTPURL() string       { return "/account/authenticator" }
func RecoveryURL() string   { return "/account/recovery-codes" }
func PasskeysURL() string   { return "/account/passkeys" }
func APIKeysURL() string    { return "/account/keys" }
func UsersURL() string      { return "/admin/users" }
func AdminAuditURL() string { return "/admin/audit" }

// PasskeyURL is one of one's own. The others take the answer of a passkey: as the only
// factor, and after the password.
func PasskeyURL(id string) string  { return PasskeysURL() + seg(id) }
func SignInPasskeyURL() string     { return SignInURL() + "/passkey" }
func SignInCodePasskeyURL() string { return SignInCodeURL() + "/passkey" }

// NewUserURL adds somebody; UserURL is a person or a service account; PermissionsOfURL is
// what they may do, and OwnPermissionsURL what oneself may.
func NewUserURL() string                { return UsersURL() + "/new" }
func UserURL(id string) string          { return UsersURL() + seg(id) }
func PermissionsOfURL(id string) string { return UserURL(id) + "/permissions" }
func OwnPermissionsURL() string         { return "/account/permissions" }

// RolesURL lists roles; RoleURL is one.
func RolesURL() string         { return "/admin/roles" }
func NewRoleURL() string       { return RolesURL() + "/new" }
func RoleURL(id string) string { return RolesURL() + seg(id) }

// WhoURL answers who may do something in a space.
func WhoURL(space string) string { return DashboardURL(space) + "/who" }

// KeysURL is where the master key and those of spaces are exchanged.
func KeysURL() string { return "/admin/keys" }

// ArchivesURL is where the archived days of a space's audit are; with "" of the server's.
func ArchivesURL(space string) string {
	if space == "" {
		return AdminAuditURL() + "/archives"
	}
	return AuditURL(space) + "/archives"
}

// SubscriptionsURL is the list of the subscriptions of a space.
func SubscriptionsURL(space string) string    { return DashboardURL(space) + "/subscriptions" }
func NewSubscriptionURL(space string) string  { return SubscriptionsURL(space) + "/new" }
func SubscriptionURL(space, id string) string { return SubscriptionsURL(space) + seg(id) }

// AuditStreamURL is where the collector of the audit is set up.
func AuditStreamURL() string { return AdminAuditURL() + "/streaming" }

// TeamsURL is the list of the teams of a space; with "" of the system. So are the others.
func TeamsURL(space string) string {
	if space == "" {
		return "/admin/teams"
	}
	return DashboardURL(space) + "/teams"
}
func NewTeamURL(space string) string  { return TeamsURL(space) + "/new" }
func TeamURL(space, id string) string { return TeamsURL(space) + seg(id) }

// SignInSettingsURL is where identity providers are configured.
func SignInSettingsURL() string { return "/admin/signin" }

// NewProviderURL has the form of a new one.
func NewProviderURL() string { return SignInSettingsURL() + "/new" }

// ProviderURL has the form of an identity provider.
func ProviderURL(id string) string { return SignInSettingsURL() + "/providers" + seg(id) }

// ProviderDeleteURL takes a POST.
func ProviderDeleteURL(id string) string { return ProviderURL(id) + "/delete" }

// SignInWithURL sends a browser to a provider, SignInReturnURL takes it back.
func SignInWithURL(id string) string   { return SignInURL() + "/with" + seg(id) }
func SignInReturnURL(id string) string { return SignInWithURL(id) + "/return" }

// SessionEndURL takes a POST.
func SessionEndURL(id string) string { return SessionsURL() + seg(id) + "/end" }

// APIKeyDeleteURL takes a POST.
func APIKeyDeleteURL(id string) string { return "/account/keys" + seg(id) + "/delete" }

// Pages of a space; space is its slug.
func DashboardURL(space string) string       { return "/spaces" + seg(space) }
func SearchURL(space string) string          { return DashboardURL(space) + "/search" }
func StreamURL(space string) string          { return DashboardURL(space) + "/events" }
func ProjectsURL(space string) string        { return DashboardURL(space) + "/projects" }
func NewProjectURL(space string) string      { return ProjectsURL(space) + "/new" }
func TasksURL(space string) string           { return DashboardURL(space) + "/tasks" }
func PackagesURL(space string) string        { return DashboardURL(space) + "/packages" }
func FeedsURL(space string) string           { return DashboardURL(space) + "/feeds" }
func NewFeedURL(space string) string         { return FeedsURL(space) + "/new" }
func FeedURL(space, id string) string        { return FeedsURL(space) + seg(id) }
func InfrastructureURL(space string) string  { return EnvironmentsURL(space) }
func EnvironmentsURL(space string) string    { return DashboardURL(space) + "/environments" }
func TargetsURL(space string) string         { return DashboardURL(space) + "/targets" }
func LibraryURL(space string) string         { return PackagesURL(space) }
func LifecyclesURL(space string) string      { return DashboardURL(space) + "/lifecycles" }
func PromotionsURL(space string) string      { return DashboardURL(space) + "/promotions" }
func OutboxURL(space string) string          { return PromotionsURL(space) + "/outbox" }
func ZonesURL(space string) string           { return DashboardURL(space) + "/zones" }
func LinkZoneURL(space string) string        { return ZonesURL(space) + "/link" }
func SettingsURL(space string) string        { return DashboardURL(space) + "/settings" }
func DeleteSpaceURL(space string) string     { return SettingsURL(space) + "/delete" }
func AuditURL(space string) string           { return DashboardURL(space) + "/audit" }
func TaskURL(space, id string) string        { return TasksURL(space) + seg(id) }
func TargetURL(space, id string) string      { return TargetsURL(space) + seg(id) }
func EnvironmentURL(space, id string) string { return EnvironmentsURL(space) + seg(id) }
func LifecycleURL(space, id string) string   { return LifecyclesURL(space) + seg(id) }
func NewLifecycleURL(space string) string    { return LifecyclesURL(space) + "/new" }
func InboundURL(space, id string) string     { return PromotionsURL(space) + "/inbox" + seg(id) }
func ImportBundleURL(space string) string    { return PromotionsURL(space) + "/import" }
func ImportReceiptsURL(space string) string  { return OutboxURL(space) + "/receipts" }
func BundleURL(space, id string) string      { return PromotionURL(space, id) + "/bundle" }
func CardURL(space string) string            { return ZonesURL(space) + "/card" }
func LinkURL(space, id string) string        { return ZonesURL(space) + "/links" + seg(id) }
func PromotionURL(space, id string) string   { return PromotionsURL(space) + seg(id) }
func PackageURL(space, id, version string) string {
	return PackagesURL(space) + seg(id, version)
}

// Pages of a package and its versions.
func PackageVersionsURL(space, id string) string { return PackagesURL(space) + seg(id) }
func PackageFileURL(space, id, version string) string {
	return PackageURL(space, id, version) + "/download"
}
func PackageDeleteURL(space, id, version string) string {
	return PackageURL(space, id, version) + "/delete"
}

// PackageCompareURL tells what version has and with has not, and the other way round;
// with "" is the form's target, which takes it as ?with=.
func PackageCompareURL(space, id, version, with string) string {
	to := PackageURL(space, id, version) + "/compare"
	if with != "" {
		to += seg(with)
	}
	return to
}

// Pages of a project; project is its slug.
func ProjectURL(space, project string) string    { return ProjectsURL(space) + seg(project) }
func ProcessURL(space, project string) string    { return ProjectURL(space, project) + "/process" }
func VariablesURL(space, project string) string  { return ProjectURL(space, project) + "/variables" }
func ReleasesURL(space, project string) string   { return ProjectURL(space, project) + "/releases" }
func NewReleaseURL(space, project string) string { return ProjectURL(space, project) + "/new-release" }

// LogoURL is a project's picture; digest makes another picture another address.
func LogoURL(space, project, digest string) string {
	return ProjectURL(space, project) + "/logo?v=" + digest[:min(len(digest), 16)]
}

func ProjectSettingsURL(space, project string) string {
	return ProjectURL(space, project) + "/settings"
}
func ReleaseURL(space, project, version string) string {
	return ReleasesURL(space, project) + seg(version)
}
func DeployURL(space, project, version string) string {
	return ReleaseURL(space, project, version) + "/deploy"
}
func DeploymentURL(space, project, version, id string) string {
	return ReleaseURL(space, project, version) + "/deployments" + seg(id)
}

// LineURL is the anchor of a log line on a page that shows the node.
func LineURL(page, node string, line int) string {
	return page + "#" + url.PathEscape(node) + "-L" + strconv.Itoa(line)
}

// Forms of a project and of a release.
func ProcessNewURL(space, project, kind string) string {
	return ProcessURL(space, project) + "/new?type=" + url.QueryEscape(kind)
}
func StepURL(space, project, step string) string {
	return ProcessURL(space, project) + "/steps" + seg(step)
}
func VariableURL(space, project, id string) string {
	return VariablesURL(space, project) + seg(id)
}
func PreviewURL(space, project string) string { return ProjectURL(space, project) + "/preview" }
func CompareURL(space, project, version, with string) string {
	return ReleaseURL(space, project, version) + "/compare" + seg(with)
}

// Forms of infrastructure.
func NewEnvironmentURL(space string) string      { return DashboardURL(space) + "/new-environment" }
func EnvironmentEditURL(space, id string) string { return EnvironmentURL(space, id) + "/edit" }
func EnvironmentOrderURL(space string) string    { return EnvironmentsURL(space) + "/order" }
func NewTargetURL(space string) string           { return DashboardURL(space) + "/new-target" }
func TargetEditURL(space, id string) string      { return TargetURL(space, id) + "/edit" }
func RegistrationURL(space, id string) string {
	return DashboardURL(space) + "/registrations" + seg(id)
}
