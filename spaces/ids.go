package spaces

import (
	"strconv"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
)

// Identifiers are numbers in the file and texts such as "Projects-42" outside.
// A type for each kind keeps one from being passed for another.
type (
	EnvironmentID  int64
	LifecycleID    int64
	ProjectGroupID int64
	ProjectID      int64
	ChannelID      int64
	PackageRowID   int64
	ReleaseID      int64
	DeploymentID   int64
	TaskID         int64
	TargetID       int64
	InterruptionID int64
	EventID        int64
	LinkID         int64
	PromotionID    int64
	InboundID      int64
	DocumentID     int64
	SecretID       int64
	RegistrationID int64
	SubscriptionID int64
	FeedID         int64
)

const (
	prefixEnvironment  = "Environments-"
	prefixLifecycle    = "Lifecycles-"
	prefixProjectGroup = "ProjectGroups-"
	prefixProject      = "Projects-"
	prefixChannel      = "Channels-"
	prefixRelease      = "Releases-"
	prefixDeployment   = "Deployments-"
	prefixTask         = "ServerTasks-"
	prefixTarget       = "Machines-"
	prefixInterruption = "Interruptions-"
	prefixEvent        = "Events-"
	prefixLink         = "Links-"
	prefixPromotion    = "Promotions-"
	prefixInbound      = "Inbound-"
	prefixRegistration = "Registrations-"
	prefixSubscription = "Subscriptions-"
	prefixFeed         = "Feeds-"
)

func apiID(prefix string, n int64) string {
	if n == 0 {
		return ""
	}
	return prefix + strconv.FormatInt(n, 10)
}

func (id EnvironmentID) String() string  { return apiID(prefixEnvironment, int64(id)) }
func (id LifecycleID) String() string    { return apiID(prefixLifecycle, int64(id)) }
func (id ProjectGroupID) String() string { return apiID(prefixProjectGroup, int64(id)) }
func (id ProjectID) String() string      { return apiID(prefixProject, int64(id)) }
func (id ChannelID) String() string      { return apiID(prefixChannel, int64(id)) }
func (id ReleaseID) String() string      { return apiID(prefixRelease, int64(id)) }
func (id DeploymentID) String() string   { return apiID(prefixDeployment, int64(id)) }
func (id TaskID) String() string         { return apiID(prefixTask, int64(id)) }
func (id TargetID) String() string       { return apiID(prefixTarget, int64(id)) }
func (id InterruptionID) String() string { return apiID(prefixInterruption, int64(id)) }
func (id EventID) String() string        { return apiID(prefixEvent, int64(id)) }
func (id LinkID) String() string         { return apiID(prefixLink, int64(id)) }
func (id PromotionID) String() string    { return apiID(prefixPromotion, int64(id)) }
func (id InboundID) String() string      { return apiID(prefixInbound, int64(id)) }
func (id SubscriptionID) String() string { return apiID(prefixSubscription, int64(id)) }
func (id FeedID) String() string         { return apiID(prefixFeed, int64(id)) }
func (id RegistrationID) String() string { return apiID(prefixRegistration, int64(id)) }

// cutID returns the number of an id with this prefix, compared without case, as
// Octopus's own server does; ok is false for any other text.
func cutID(prefix, text string) (int64, bool) {
	if len(text) <= len(prefix) || !strings.EqualFold(text[:len(prefix)], prefix) {
		return 0, false
	}
	n, err := strconv.ParseInt(text[len(prefix):], 10, 64)
	return n, err == nil && n > 0
}

func parseID(prefix, entity, text string) (int64, error) {
	n, ok := cutID(prefix, text)
	if !ok {
		return 0, errs.Missing(entity, text)
	}
	return n, nil
}

// The Parse functions read an API id; the error is [errs.NotFound], since a text
// that is no id names nothing.

func ParseEnvironmentID(text string) (EnvironmentID, error) {
	n, err := parseID(prefixEnvironment, "environment", text)
	return EnvironmentID(n), err
}

func ParseLifecycleID(text string) (LifecycleID, error) {
	n, err := parseID(prefixLifecycle, "lifecycle", text)
	return LifecycleID(n), err
}

func ParseProjectGroupID(text string) (ProjectGroupID, error) {
	n, err := parseID(prefixProjectGroup, "project group", text)
	return ProjectGroupID(n), err
}

func ParseProjectID(text string) (ProjectID, error) {
	n, err := parseID(prefixProject, "project", text)
	return ProjectID(n), err
}

func ParseChannelID(text string) (ChannelID, error) {
	n, err := parseID(prefixChannel, "channel", text)
	return ChannelID(n), err
}

func ParseReleaseID(text string) (ReleaseID, error) {
	n, err := parseID(prefixRelease, "release", text)
	return ReleaseID(n), err
}

func ParseDeploymentID(text string) (DeploymentID, error) {
	n, err := parseID(prefixDeployment, "deployment", text)
	return DeploymentID(n), err
}

func ParseTaskID(text string) (TaskID, error) {
	n, err := parseID(prefixTask, "task", text)
	return TaskID(n), err
}

func ParseTargetID(text string) (TargetID, error) {
	n, err := parseID(prefixTarget, "deployment target", text)
	return TargetID(n), err
}

func ParseSubscriptionID(text string) (SubscriptionID, error) {
	n, err := parseID(prefixSubscription, "subscription", text)
	return SubscriptionID(n), err
}

func ParseFeedID(text string) (FeedID, error) {
	n, err := parseID(prefixFeed, "feed", text)
	return FeedID(n), err
}

func ParseInterruptionID(text string) (InterruptionID, error) {
	n, err := parseID(prefixInterruption, "interruption", text)
	return InterruptionID(n), err
}

func ParseLinkID(text string) (LinkID, error) {
	n, err := parseID(prefixLink, "link", text)
	return LinkID(n), err
}

func ParsePromotionID(text string) (PromotionID, error) {
	n, err := parseID(prefixPromotion, "promotion", text)
	return PromotionID(n), err
}

func ParseInboundID(text string) (InboundID, error) {
	n, err := parseID(prefixInbound, "inbound release", text)
	return InboundID(n), err
}

func ParseRegistrationID(text string) (RegistrationID, error) {
	n, err := parseID(prefixRegistration, "registration token", text)
	return RegistrationID(n), err
}
