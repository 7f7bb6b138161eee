package api

import (
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

func userRoutes() []Row {
	return []Row{
		get("/users", SignedIn, "", listUsers),
		get("/users/all", SignedIn, "", allUsers),
		post("/users", SignedIn, access.UserInvite, createUser),
		get("/users/me", SignedIn, "", func(r *request) error { return r.ok(r.userResource(r.user)) }),
		get("/users/:id", SignedIn, "", showUser),
		put("/users/:id", SignedIn, "", updateUser),
		del("/users/:id", SignedIn, "", deleteUser),
		get("/users/:id/spaces", SignedIn, "", userSpaces),
		get("/users/:id/teams", SignedIn, "", userTeams),
		get("/users/:id/permissions", SignedIn, "", userPermissions),
		get("/users/:id/apikeys", SignedIn, "", listAPIKeys),
		post("/users/:id/apikeys", SignedIn, "", createAPIKey),
		get("/users/:id/apikeys/:key", SignedIn, "", showAPIKey),
		del("/users/:id/apikeys/:key", SignedIn, "", revokeAPIKey),
	}
}

func userID(n int64) string { return "Users-" + strconv.FormatInt(n, 10) }

type userResource struct {
	ID                  string   `json:"Id"`
	Username            string   `json:"Username"`
	DisplayName         string   `json:"DisplayName"`
	EmailAddress        string   `json:"EmailAddress"`
	IsActive            bool     `json:"IsActive"`
	IsService           bool     `json:"IsService"`
	IsRequestor         bool     `json:"IsRequestor"`
	CanPasswordBeEdited bool     `json:"CanPasswordBeEdited"`
	Identities          []string `json:"Identities"`
	Links               links    `json:"Links"`
}

func (r *request) userResource(u instance.User) userResource {
	self := r.api("users", u.APIID())
	return userResource{ID: u.APIID(), Username: u.Username, DisplayName: u.DisplayName, EmailAddress: u.Email, IsActive: u.IsActive, IsService: u.IsService,
		IsRequestor: u.ID == r.user.ID, CanPasswordBeEdited: !u.IsService, Identities: []string{},
		Links: links{"Self": self, "ApiKeys": self + "/apikeys{/id}{?skip,take}", "Permissions": self + "/permissions", "PermissionsConfiguration": self + "/permissions/configuration", "Spaces": self + "/spaces", "Teams": self + "/teams{?spaces,includeSystem}"}}
}

// seeable is a user whom the caller may know: oneself, or anybody with UserView.
func (r *request) seeable() (instance.User, error) {
	text := r.param("id")
	u, err := r.s.Instance.UserBy(r.ctx, text)
	if err != nil {
		return u, err
	}
	if u.ID != r.user.ID && !r.system.Permissions.Any(access.UserView) {
		return u, errs.Missing("user", text)
	}
	return u, nil
}

func (r *request) users() ([]instance.User, error) {
	list, err := r.s.Instance.Users(r.ctx)
	if err != nil {
		return nil, err
	}
	out := []instance.User{}
	filter := strings.ToLower(r.query("filter"))
	for _, u := range list {
		known := u.ID == r.user.ID || r.system.Permissions.Any(access.UserView)
		found := filter == "" || strings.Contains(strings.ToLower(u.Username+"\n"+u.DisplayName+"\n"+u.Email), filter)
		if known && found && r.asked(u.APIID()) {
			out = append(out, u)
		}
	}
	return out, nil
}

func listUsers(r *request) error {
	list, err := r.users()
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "User", slice(r, list), r.userResource))
}

func allUsers(r *request) error {
	list, err := r.users()
	if err != nil {
		return err
	}
	return r.ok(each(list, r.userResource))
}

type userInput struct {
	userResource
	Password string `json:"Password"`
}

func (in userInput) input() instance.UserInput {
	return instance.UserInput{Username: in.Username, DisplayName: in.DisplayName, Email: in.EmailAddress, Password: in.Password, IsActive: in.IsActive, IsService: in.IsService}
}

func createUser(r *request) error {
	in, err := readOver[userInput](r, userResource{IsActive: true})
	if err != nil {
		return err
	}
	u, err := r.s.Instance.CreateUser(r.ctx, r.system, in.input())
	if err != nil {
		return err
	}
	return r.created(r.userResource(u))
}

func showUser(r *request) error {
	u, err := r.seeable()
	if err != nil {
		return err
	}
	return r.ok(r.userResource(u))
}

func updateUser(r *request) error {
	u, err := r.seeable()
	if err != nil {
		return err
	}
	in, err := readOver[userInput](r, r.userResource(u))
	if err != nil {
		return err
	}
	if u, err = r.s.Instance.UpdateUser(r.ctx, r.system, u.ID, in.input()); err != nil {
		return err
	}
	return r.ok(r.userResource(u))
}

func deleteUser(r *request) error {
	u, err := r.seeable()
	if err != nil {
		return err
	}
	if err := r.s.Instance.DeleteUser(r.ctx, r.system, u.ID); err != nil {
		return err
	}
	return r.gone()
}

func userSpaces(r *request) error {
	u, err := r.seeable()
	if err != nil {
		return err
	}
	list, err := r.s.Instance.SpacesOf(r.ctx, u.ID)
	if err != nil {
		return err
	}
	out := []spaceResource{}
	for _, s := range list {
		res, err := r.spaceResource(s)
		if err != nil {
			return err
		}
		out = append(out, res)
	}
	return r.ok(out)
}

func userTeams(r *request) error {
	u, err := r.seeable()
	if err != nil {
		return err
	}
	list, err := r.s.Instance.TeamsOf(r.ctx, u.ID)
	if err != nil {
		return err
	}
	return r.ok(each(list, r.teamResource))
}

func userPermissions(r *request) error {
	u, err := r.seeable()
	if err != nil {
		return err
	}
	system, err := r.s.Instance.SystemPermissions(r.ctx, u.ID)
	if err != nil {
		return err
	}
	inSpaces := map[string][]map[string]any{}
	list, err := r.s.Instance.SpacesOf(r.ctx, u.ID)
	if err != nil {
		return err
	}
	for _, s := range list {
		p, err := r.s.Instance.Permissions(r.ctx, u.ID, s.Number)
		if err != nil {
			return err
		}
		for _, name := range p.Permissions() {
			inSpaces[string(name)] = append(inSpaces[string(name)], map[string]any{"SpaceId": s.ID(), "RestrictedToProjectIds": []string{}, "RestrictedToEnvironmentIds": []string{}, "RestrictedToTenantIds": []string{}, "RestrictedToProjectGroupIds": []string{}})
		}
	}
	return r.ok(map[string]any{"Id": u.APIID(), "SystemPermissions": orEmpty(system.Permissions()), "SpacePermissions": inSpaces, "Teams": []string{}, "Links": links{"Self": r.api("users", u.APIID(), "permissions")}})
}

// API keys. The key itself is in the answer that makes it, once; afterwards there is
// only its hint.

type apiKeyResource struct {
	ID      string     `json:"Id"`
	UserID  string     `json:"UserId"`
	Purpose string     `json:"Purpose"`
	Created time.Time  `json:"Created"`
	Expires *time.Time `json:"Expires"`
	APIKey  any        `json:"ApiKey"`
	Links   links      `json:"Links"`
}

func (r *request) apiKeyResource(k instance.APIKey) apiKeyResource {
	id := "apikeys-" + strconv.FormatInt(k.ID, 10)
	return apiKeyResource{ID: id, UserID: userID(k.UserID), Purpose: k.Purpose, Created: k.CreatedAt, Expires: k.ExpiresAt,
		APIKey: map[string]any{"HasValue": true, "Hint": k.Hint, "NewValue": nil}, Links: links{"Self": r.api("users", userID(k.UserID), "apikeys", id)}}
}

// keyOwner is the user of the path, if the caller may see those keys: one's own, or any
// with UserEdit.
func (r *request) keyOwner() (instance.User, error) {
	u, err := r.seeable()
	if err == nil && u.ID != r.user.ID && !r.system.Permissions.Any(access.UserEdit) {
		err = access.Missing(access.UserEdit)
	}
	return u, err
}

func listAPIKeys(r *request) error {
	u, err := r.keyOwner()
	if err != nil {
		return err
	}
	list, err := r.s.Instance.APIKeys(r.ctx, u)
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "ApiKey", slice(r, list), r.apiKeyResource))
}

func createAPIKey(r *request) error {
	u, err := r.keyOwner()
	if err != nil {
		return err
	}
	in, err := readJSON[struct {
		Purpose string
		Expires *time.Time
	}](r)
	if err != nil {
		return err
	}
	k, key, err := r.s.Instance.CreateAPIKey(r.ctx, r.system, u, in.Purpose, in.Expires, "")
	if err != nil {
		return err
	}
	out := r.apiKeyResource(k)
	out.APIKey = key
	return r.respond(fiber.StatusCreated, out)
}

func (r *request) apiKey() (instance.User, instance.APIKey, error) {
	u, err := r.keyOwner()
	if err != nil {
		return u, instance.APIKey{}, err
	}
	text := r.param("key")
	_, digits, _ := strings.Cut(strings.ToLower(text), "apikeys-")
	n, perr := strconv.ParseInt(digits, 10, 64)
	if perr != nil {
		return u, instance.APIKey{}, errs.Missing("API key", text)
	}
	k, err := r.s.Instance.APIKey(r.ctx, u, n)
	return u, k, err
}

func showAPIKey(r *request) error {
	_, k, err := r.apiKey()
	if err != nil {
		return err
	}
	return r.ok(r.apiKeyResource(k))
}

func revokeAPIKey(r *request) error {
	u, k, err := r.apiKey()
	if err != nil {
		return err
	}
	if err := r.s.Instance.RevokeAPIKey(r.ctx, r.system, u, k.ID); err != nil {
		return err
	}
	return r.gone()
}
