package spaces

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// RegistrationInput says what a registering agent becomes.
type RegistrationInput struct {
	Environments []EnvironmentID
	Tags         []string
	Uses         int           // how many agents may register with it; 0: 1
	Lasts        time.Duration // 0: 1 hour; at most 7 days
}

// Registration is a token as it is kept: without its secret.
type Registration struct {
	ID           RegistrationID
	Environments []EnvironmentID
	Tags         []string
	UsesLeft     int
	ExpiresAt    time.Time
	CreatedAt    time.Time
	CreatedBy    string
}

// Open reports whether another agent may register with it at a time.
func (r Registration) Open(at time.Time) bool { return r.UsesLeft > 0 && !at.After(r.ExpiresAt) }

// Registration returns one. It needs MachineCreate in its environments, as making it did.
func (tx *ReadTx) Registration(id RegistrationID) (Registration, error) {
	r := Registration{ID: id}
	var environments, tags, expires, created string
	err := tx.queryRow(`SELECT environments, tags, uses_left, expires_at, created_at, created_by FROM target_registration WHERE id = ?`, int64(id)).Scan(&environments, &tags, &r.UsesLeft, &expires, &created, &r.CreatedBy)
	if err != nil {
		return r, notFound(err, "registration token", id.String())
	}
	r.ExpiresAt, r.CreatedAt = parseTime(expires), parseTime(created)
	if r.Environments, err = environmentList(environments); err != nil {
		return r, err
	}
	if err := json.Unmarshal([]byte(tags), &r.Tags); err != nil {
		return r, err
	}
	return r, tx.requireAll(access.MachineCreate, r.Environments)
}

// environmentList reads a JSON array of API ids.
func environmentList(text string) (out []EnvironmentID, err error) {
	var ids []string
	if err := json.Unmarshal([]byte(text), &ids); err != nil {
		return nil, err
	}
	for _, s := range ids {
		e, err := ParseEnvironmentID(s)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// CreateRegistration makes a secret with which agents register themselves. It is
// returned once; only its hash is kept. It needs MachineCreate in the environments.
func (tx *Tx) CreateRegistration(in RegistrationInput) (id RegistrationID, secret string, err error) {
	if err := tx.requireAll(access.MachineCreate, in.Environments); err != nil {
		return 0, "", err
	}
	if in.Uses == 0 {
		in.Uses = 1
	}
	if in.Lasts == 0 {
		in.Lasts = time.Hour
	}
	var c errs.Check
	c.Require(len(in.Environments) > 0, "EnvironmentIds", "A target belongs to at least one environment.")
	in.Tags = slices.DeleteFunc(slices.Clone(in.Tags), func(t string) bool { return strings.TrimSpace(t) == "" })
	c.Require(len(in.Tags) > 0, "Roles", "A target has at least one target tag, by which steps find it.")
	c.Require(in.Uses >= 1 && in.Uses <= 1000, "Uses", "A token registers between 1 and 1000 agents.")
	c.Require(in.Lasts > 0 && in.Lasts <= 7*24*time.Hour, "Lasts", "A token lasts at most 7 days.")
	if err := c.Err(); err != nil {
		return 0, "", err
	}
	var ids []string
	for _, e := range in.Environments {
		if _, err := tx.environment(e); err != nil {
			return 0, "", err
		}
		ids = append(ids, e.String())
	}
	environments, err := json.Marshal(ids)
	if err != nil {
		return 0, "", err
	}
	tags, err := json.Marshal(in.Tags)
	if err != nil {
		return 0, "", err
	}
	secret = rand.Text()
	n, err := tx.insert(`INSERT INTO target_registration (secret_hash, environments, tags, uses_left, expires_at, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		hashText(secret), string(environments), string(tags), in.Uses, formatTime(tx.Now.Add(in.Lasts)), formatTime(tx.Now), tx.Actor.Name)
	if err != nil {
		return 0, "", err
	}
	tx.record(Event{Category: "Created", Entity: "registration token", Message: fmt.Sprintf("A token to register %d agents with the tags %v was made", in.Uses, in.Tags)})
	return RegistrationID(n), secret, nil
}

func hashText(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// firstCheck is how long after its registration an agent is asked for its health: it
// registers before it runs, and whoever pasted the command would see it unavailable.
const firstCheck = 3 * time.Second

// RegisterTarget makes a target out of an agent that shows a secret. Registering the same
// agent again under its name updates it. The secret is the permission: its maker had it.
// Errors: [errs.Unauthenticated] for a secret that is unknown, used up or expired.
func (tx *Tx) RegisterTarget(secret string, in TargetInput) (Target, error) {
	var id int64
	var environments, tags, expires string
	var left int
	err := tx.queryRow(`SELECT id, environments, tags, uses_left, expires_at FROM target_registration WHERE secret_hash = ?`, hashText(secret)).Scan(&id, &environments, &tags, &left, &expires)
	refused := errs.New(errs.Unauthenticated, "The registration token is unknown, used up or expired.").WithHint("Make a new one on the page of the deployment targets.")
	if err != nil {
		if errors.Is(notFound(err, "", ""), errs.NotFound) {
			return Target{}, refused
		}
		return Target{}, err
	}
	if left < 1 || tx.Now.After(parseTime(expires)) {
		return Target{}, refused
	}
	if err := json.Unmarshal([]byte(tags), &in.Tags); err != nil {
		return Target{}, err
	}
	if in.Environments, err = environmentList(environments); err != nil {
		return Target{}, err
	}
	t, err := tx.createTarget(in)
	if err != nil {
		return t, err
	}
	if err := tx.update(`UPDATE target SET registration_id = ? WHERE id = ?`, id, int64(t.ID)); err != nil {
		return t, err
	}
	if err := tx.update(`UPDATE target_registration SET uses_left = uses_left - 1 WHERE id = ?`, id); err != nil {
		return t, err
	}
	if _, err := tx.createTask(taskInput{kind: TaskHealth, description: "Check the health of " + t.Name, target: t.ID, queueAt: tx.Now.Add(firstCheck)}); err != nil {
		return t, err
	}
	return t, nil
}

// BlobUsed reports whether a package file is needed by a package, a release or an
// inbound release.
func (tx *ReadTx) BlobUsed(digest string) (bool, error) {
	return one[bool](tx, `SELECT EXISTS (SELECT 1 FROM package WHERE digest = ?1) OR EXISTS (SELECT 1 FROM release_package WHERE digest = ?1) OR EXISTS (SELECT 1 FROM zone_blob_want WHERE digest = ?1)`, digest)
}

// MayDownload needs FeedView: who may see a package may have it.
func (tx *ReadTx) MayDownload() error { return tx.require(access.FeedView, access.Scope{}) }

// ReleasesWithPackages is Releases with the Packages of each filled in.
func (tx *ReadTx) ReleasesWithPackages(o ReleaseFilter) (Page[Release], error) {
	p, err := tx.Releases(o)
	if err != nil {
		return p, err
	}
	for i := range p.Items {
		if err := tx.fillPackages(&p.Items[i]); err != nil {
			return p, err
		}
	}
	return p, nil
}
