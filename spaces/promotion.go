package spaces

import (
	"fmt"
	"slices"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
)

// PromotionState is where a promotion stands.
type PromotionState = string

// The states of a promotion. It goes from preparing to delivered by what this server
// does; from then on it follows the receipts of the other side. Deployed and failed can
// still change: the release may be deployed again there.
const (
	PromotionPreparing  PromotionState = "preparing"   // stored; not sealed and signed yet
	PromotionQueued     PromotionState = "queued"      // in the outbox
	PromotionHandedOver PromotionState = "handed over" // in the outbox, to be carried as a file
	PromotionHeld       PromotionState = "held"        // a person keeps it back
	PromotionCanceled   PromotionState = "canceled"
	PromotionDelivered  PromotionState = "delivered"
	PromotionRefused    PromotionState = "refused"    // by the other side's program
	PromotionRejected   PromotionState = "rejected"   // by a person there
	PromotionSuperseded PromotionState = "superseded" // a later release came whole before anybody decided
	PromotionAccepted   PromotionState = "accepted"
	PromotionDeploying  PromotionState = "deploying"
	PromotionDeployed   PromotionState = "deployed"
	PromotionFailed     PromotionState = "failed"   // to be prepared, or its deployment there
	PromotionRecalled   PromotionState = "recalled" // by us, and the other side has said so
)

// Promotion is a release on its way to another space.
type Promotion struct {
	ID          PromotionID
	ULID        string
	LinkID      LinkID
	LinkName    string
	ProjectID   ProjectID
	ReleaseID   ReleaseID
	ReleaseULID string
	Version     string
	CoreDigest  string
	Digest      string // of the signed message; "" while preparing
	State       PromotionState
	Reason      string
	ByHand      bool
	BytesTotal  int64
	BytesSent   int64
	CreatedAt   time.Time
	CreatedBy   string
	UpdatedAt   time.Time
	Recalled    *PromotionRecall
}

// PromotionRecall is our withdrawal of a promoted release.
type PromotionRecall struct {
	Reason, By string
	At         time.Time
}

const promotionColumns = `p.id, p.ulid, p.link_id, l.local_name, p.project_id, p.release_id, p.release_ulid, p.version, p.core_digest, p.digest, p.state, p.reason, p.by_hand, p.bytes_total, p.bytes_sent, p.created_at, p.created_by, p.updated_at, p.recall_reason, p.recalled_at, p.recalled_by`
const promotionFrom = `promotion p JOIN zone_link l ON l.id = p.link_id`

func scanPromotion(scan func(...any) error) (Promotion, error) {
	var p Promotion
	var created, updated string
	var recalled nullText
	var c PromotionRecall
	err := scan(&p.ID, &p.ULID, &p.LinkID, &p.LinkName, &p.ProjectID, &p.ReleaseID, &p.ReleaseULID, &p.Version, &p.CoreDigest, &p.Digest, &p.State, &p.Reason, &p.ByHand, &p.BytesTotal, &p.BytesSent, &created, &p.CreatedBy, &updated, &c.Reason, &recalled, &c.By)
	p.CreatedAt, p.UpdatedAt = parseTime(created), parseTime(updated)
	if at := parseTimePtr(recalled); at != nil {
		c.At = *at
		p.Recalled = &c
	}
	return p, err
}

// CreatePromotion starts to promote a release to the space of a link. It needs
// ReleasePromote, and BundleExport when it is carried by hand. Errors: [errs.Blocked]
// when the lifecycle or the link does not allow it, or a package file is missing.
func (tx *Tx) CreatePromotion(release ReleaseID, link LinkID, byHand bool) (Promotion, error) {
	r, err := tx.Release(release)
	if err != nil {
		return Promotion{}, err
	}
	p, err := tx.ownProject(r.ProjectID)
	if err != nil {
		return Promotion{}, err
	}
	need := []access.Permission{access.ReleasePromote}
	if byHand {
		need = append(need, access.BundleExport)
	}
	for _, permission := range need {
		if err := tx.require(permission, p.scope()); err != nil {
			return Promotion{}, err
		}
	}
	l, err := tx.link(link)
	if err != nil {
		return Promotion{}, err
	}
	usable := l.Usable
	if byHand {
		usable = l.Trusted
	}
	if err := usable(); err != nil {
		return Promotion{}, err
	}
	if !l.SendBundles {
		return Promotion{}, errs.New(errs.Blocked, "Releases are not sent to '%s'.", l.LocalName).WithHint("Allow it on the page of the link.")
	}
	if l.Mode == ModeByHand {
		byHand = true
	}
	if recalled, err := one[bool](tx.ReadTx, `SELECT EXISTS (SELECT 1 FROM promotion WHERE release_id = ? AND link_id = ? AND recalled_at IS NOT NULL)`, int64(r.ID), int64(link)); err != nil {
		return Promotion{}, err
	} else if recalled {
		return Promotion{}, errs.New(errs.Blocked, "Release %s was recalled from '%s'.", r.Version, l.LocalName).WithHint("Create a new release.")
	}
	progress, err := tx.progress(p, r)
	if err != nil {
		return Promotion{}, err
	}
	if ok, why := progress.MayPromote(link.String(), l.LocalName); !ok {
		return Promotion{}, errs.New(errs.Blocked, "Release %s may not be promoted to '%s'. %s", r.Version, l.LocalName, why)
	}
	if missing, err := tx.MissingPackages(r.ID); err != nil {
		return Promotion{}, err
	} else if len(missing) > 0 {
		return Promotion{}, errs.New(errs.Blocked, "The file of package %s %s is not here.", missing[0].PackageID, missing[0].Version).WithHint("Push it again.")
	}
	var total int64
	for _, pkg := range r.Packages {
		total += pkg.Size
	}
	n, err := tx.insert(`INSERT INTO promotion (ulid, link_id, project_id, release_id, release_ulid, version, state, by_hand, bytes_total, created_at, created_by, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		NewULID(tx.Now), int64(link), int64(p.ID), int64(r.ID), r.ULID, r.Version, PromotionPreparing, byHand, total, formatTime(tx.Now), tx.Actor.Name, formatTime(tx.Now))
	if err != nil {
		return Promotion{}, err
	}
	out, err := tx.promotion(PromotionID(n))
	if err != nil {
		return out, err
	}
	tx.record(Event{Category: "ReleasePromoted", Entity: "release", EntityID: r.ID.String(), ProjectID: p.ID, Reference: out.ULID, Message: fmt.Sprintf("Release %s of %s is promoted to %s", r.Version, p.Name, l.LocalName)})
	tx.changed("promotions", "project/"+p.ID.String(), TopicLinks)
	return out, nil
}

// PromotionPrepared stores what was sealed, once. core is the release's core digest.
func (tx *Tx) PromotionPrepared(id PromotionID, prepared []byte, core string) error {
	p, err := tx.promotion(id)
	if err != nil {
		return err
	}
	known, err := one[string](tx.ReadTx, `SELECT core_digest FROM release WHERE id = ?`, int64(p.ReleaseID))
	if err != nil {
		return err
	}
	if known != "" && known != core {
		return errs.New(errs.Blocked, "Release %s is not what it was at its first promotion (core %s, now %s).", p.Version, known[:12], core[:12]).WithHint("Its records were changed outside of this program. Create a new release.")
	}
	if _, err := tx.exec(`UPDATE release SET core_digest = ? WHERE id = ?`, core, int64(p.ReleaseID)); err != nil {
		return err
	}
	// Of two that prepare at once the first one's counts, and both go on with it.
	_, err = tx.exec(`UPDATE promotion SET prepared = ?, core_digest = ?, updated_at = ? WHERE id = ? AND prepared IS NULL`, prepared, core, formatTime(tx.Now), int64(id))
	return err
}

// Prepared returns what PromotionPrepared stored, or nil.
func (tx *ReadTx) Prepared(id PromotionID) ([]byte, error) {
	return one[[]byte](tx, `SELECT prepared FROM promotion WHERE id = ?`, int64(id))
}

// PromotionQueued says that the signed message is in the outbox.
func (tx *Tx) PromotionQueued(id PromotionID, digest string, seq int64) error {
	p, err := tx.promotion(id)
	if err != nil {
		return err
	}
	state := PromotionQueued
	if p.ByHand {
		state = PromotionHandedOver
	}
	tx.record(Event{Category: "PromotionSigned", Entity: "release", EntityID: p.ReleaseID.String(), ProjectID: p.ProjectID, Reference: p.ULID, Message: fmt.Sprintf("Release %s was signed for %s (message %d, sha256 %s)", p.Version, p.LinkName, seq, digest)})
	tx.changed("promotions", "project/"+p.ProjectID.String())
	return tx.update(`UPDATE promotion SET digest = ?, seq = ?, state = ?, updated_at = ? WHERE id = ?`, digest, seq, state, formatTime(tx.Now), int64(id))
}

// promotionState moves a promotion on, if it is in one of the states from.
func (tx *Tx) promotionState(id PromotionID, state PromotionState, reason string, from ...PromotionState) error {
	p, err := tx.promotion(id)
	if err != nil {
		return err
	}
	if p.State == state || len(from) > 0 && !slices.Contains(from, p.State) {
		return nil
	}
	if err := tx.update(`UPDATE promotion SET state = ?, reason = ?, updated_at = ? WHERE id = ?`, state, reason, formatTime(tx.Now), int64(id)); err != nil {
		return err
	}
	tx.record(Event{Category: "PromotionState", Entity: "release", EntityID: p.ReleaseID.String(), ProjectID: p.ProjectID, Reference: p.ULID, Message: fmt.Sprintf("The promotion of %s to %s is %s", p.Version, p.LinkName, state)})
	tx.changed("promotions", "dashboard", "project/"+p.ProjectID.String())
	return nil
}

// PromotionFailed stores why a promotion could not be prepared.
func (tx *Tx) PromotionFailed(id PromotionID, reason string) error {
	return tx.promotionState(id, PromotionFailed, reason, PromotionPreparing)
}

// PromotionProgress notes how many bytes of packages went over the link.
func (tx *Tx) PromotionProgress(id PromotionID, sent int64) error {
	p, err := tx.promotion(id)
	if err != nil {
		return err
	}
	tx.changed("promotions", "project/"+p.ProjectID.String())
	return tx.update(`UPDATE promotion SET bytes_sent = ?, updated_at = ? WHERE id = ?`, sent, formatTime(tx.Now), int64(id))
}

func (tx *ReadTx) promotion(id PromotionID) (Promotion, error) {
	p, err := scanPromotion(tx.queryRow(`SELECT `+promotionColumns+` FROM `+promotionFrom+` WHERE p.id = ?`, int64(id)).Scan)
	return p, notFound(err, "promotion", id.String())
}

// Promotion returns one. It needs ReleaseView.
func (tx *ReadTx) Promotion(id PromotionID) (Promotion, error) {
	p, err := tx.promotion(id)
	if err != nil {
		return p, err
	}
	_, err = tx.Release(p.ReleaseID)
	return p, err
}

// PromotionFilter chooses promotions; zero values choose all.
type PromotionFilter struct {
	Release ReleaseID
	Link    LinkID
	State   string
	Take    int
}

// Promotions lists them, newest first, as far as the actor may see the releases.
func (tx *ReadTx) Promotions(o PromotionFilter) ([]Promotion, error) {
	sight, err := tx.sight(access.ReleaseView)
	if err != nil {
		return nil, err
	}
	var f filter
	if o.Release != 0 {
		f.add("p.release_id = ?", int64(o.Release))
	}
	if o.Link != 0 {
		f.add("p.link_id = ?", int64(o.Link))
	}
	if o.State != "" {
		f.add("p.state = ?", o.State)
	}
	if o.Take <= 0 {
		o.Take = 100
	}
	found, err := list(tx, scanPromotion, `SELECT `+promotionColumns+` FROM `+promotionFrom+f.sql()+` ORDER BY p.id DESC LIMIT ?`, append(f.args, o.Take)...)
	if err != nil {
		return nil, err
	}
	return seen(sight, found, func(p Promotion) (ProjectID, EnvironmentID) { return p.ProjectID, 0 })
}

// OpenPromotions counts the promotions that are not delivered yet and the messages that
// wait to be sent over a wire.
func (tx *ReadTx) OpenPromotions() (int, error) {
	return one[int](tx, `SELECT (SELECT count(*) FROM promotion WHERE state = 'preparing') + (SELECT count(*) FROM zone_outbox o JOIN zone_link l ON l.id = o.link_id WHERE o.state = 'queued' AND l.mode <> 'by-hand')`)
}

// ReleaseContent is a release with everything that goes to another space. Secrets are
// open: it is for sealing and never leaves memory otherwise.
type ReleaseContent struct {
	Project        Project
	Logo           []byte // nil: none
	Release        Release
	Channel        Channel
	Process        steps.Process
	ProcessSecrets map[string]string // by the path of the property
	Variables      []OpenVariable
	Evidence       []LocalEvidence
}

// OpenVariable is a variable with its secret.
type OpenVariable struct {
	variables.Variable
	Plain string
}

// LocalEvidence is a deployment of the release in this space.
type LocalEvidence struct {
	Environment string
	State       TaskState
	Ended       *time.Time
}

// ReleaseContent gathers a release for another space. What is limited to this space's own
// environments, targets, channels and tenants stays here.
func (tx *ReadTx) ReleaseContent(id ReleaseID) (ReleaseContent, error) {
	var c ReleaseContent
	var err error
	if c.Release, err = tx.Release(id); err != nil {
		return c, err
	}
	if c.Project, err = tx.project(c.Release.ProjectID); err != nil {
		return c, err
	}
	if c.Project.Logo != "" {
		l, err := tx.logo(c.Project)
		if err != nil {
			return c, err
		}
		c.Logo = l.Bytes
	}
	if c.Channel, err = tx.channel(c.Release.ChannelID); err != nil {
		return c, err
	}
	process, err := tx.ReleaseProcess(c.Release)
	if err != nil {
		return c, err
	}
	secrets := map[int64]string{}
	for _, s := range process.Secrets() {
		if secrets[s.Secret], err = tx.OpenSecret(s.Secret); err != nil {
			return c, err
		}
	}
	c.ProcessSecrets = map[string]string{}
	portable := *process.Clone()
	portable.Steps = slices.DeleteFunc(portable.Steps, func(s steps.Step) bool {
		return !slices.ContainsFunc(s.Actions, func(a steps.Action) bool { return len(a.Environments) == 0 })
	})
	for i := range portable.Steps {
		st := &portable.Steps[i]
		st.Actions = slices.DeleteFunc(st.Actions, func(a steps.Action) bool { return len(a.Environments) > 0 })
		for j := range st.Actions {
			a := &st.Actions[j]
			a.ExcludedEnvironments, a.Channels, a.TenantTags, a.WorkerPoolID = nil, nil, nil, ""
		}
	}
	for _, s := range portable.Secrets() {
		c.ProcessSecrets[s.Path] = secrets[s.Secret]
	}
	c.Process = *portable.Public()
	set, err := tx.ReleaseVariables(c.Release)
	if err != nil {
		return c, err
	}
	for _, v := range set.Variables {
		if len(v.Scope[variables.Environment])+len(v.Scope[variables.Machine])+len(v.Scope[variables.TenantTag]) > 0 {
			continue
		}
		if ch := v.Scope[variables.Channel]; len(ch) > 0 && !slices.Contains(ch, c.Channel.ID.String()) {
			continue
		}
		o := OpenVariable{Variable: v}
		o.Scope = variables.Scope{}
		for _, d := range []variables.Dimension{variables.Role, variables.Action} {
			if ids := v.Scope[d]; len(ids) > 0 {
				o.Scope[d] = ids
			}
		}
		if v.Secret != 0 {
			if o.Plain, err = tx.OpenSecret(v.Secret); err != nil {
				return c, err
			}
		}
		o.Secret = 0
		c.Variables = append(c.Variables, o)
	}
	c.Evidence, err = list(tx, func(scan func(...any) error) (LocalEvidence, error) {
		var e LocalEvidence
		var ended nullText
		err := scan(&e.Environment, &e.State, &ended)
		e.Ended = parseTimePtr(ended)
		return e, err
	}, `SELECT e.name, t.state, t.completed_at FROM deployment d JOIN task t ON t.id = d.task_id JOIN environment e ON e.id = d.environment_id
		WHERE d.release_id = ? AND d.id = (SELECT max(x.id) FROM deployment x WHERE x.release_id = d.release_id AND x.environment_id = d.environment_id) ORDER BY e.sort_order, e.id`, int64(id))
	return c, err
}
