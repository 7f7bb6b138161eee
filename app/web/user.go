package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/people"
	"octopuses.dev/octopuses/views/ui"
)

func userRoutes() []route {
	const p = "/admin/users"
	return []route{
		get(p, signedIn, access.UserView, userList),
		get(p+"/new", signedIn, access.UserInvite, newUser), post(p, signedIn, access.UserInvite, createUser),
		get(p+"/:user", signedIn, access.UserView, userPage),
		get(p+"/:user/permissions", signedIn, access.UserView, permissionsOfUser),
		post(p+"/:user/profile", signedIn, access.UserEdit, changeUser("profile", saveProfile)),
		post(p+"/:user/active", signedIn, access.UserEdit, changeUser("active", setActive)),
		post(p+"/:user/password", signedIn, access.UserEdit, changeUser("password", setPassword)),
		post(p+"/:user/factors", signedIn, access.UserEdit, changeUser("factors", removeFactors)),
		post(p+"/:user/passkeys/:passkey/remove", signedIn, access.UserEdit, changeUser("passkeys", removePasskeyOf)),
		post(p+"/:user/sessions/:session/end", signedIn, access.UserEdit, changeUser("sessions", endSessionOf)),
		post(p+"/:user/keys", signedIn, access.UserEdit, makeKeyFor),
		post(p+"/:user/keys/:key/delete", signedIn, access.UserEdit, changeUser("keys", revokeKeyOf)),
		post(p+"/:user/delete", signedIn, access.UserEdit, changeUser("delete", deleteUser)),
		get("/account/permissions", signedIn, "", ownPermissions),
	}
}

const userRows = 100

func shownName(u instance.User) string {
	if u.DisplayName == "" {
		return u.Username
	}
	return u.DisplayName
}

func userList(r *request) error {
	all, err := r.s.Instance.Users(r.ctx)
	if err != nil {
		return err
	}
	admins, err := r.s.Instance.HoldersInSystem(r.ctx, access.AdministerSystem)
	if err != nil {
		return err
	}
	seen, err := r.s.Instance.LastSeen(r.ctx)
	if err != nil {
		return err
	}
	m := people.Users{Page: r.pageFor("People", ""), Query: r.Query("q")}
	m.CanInvite, m.Why = r.canFor(access.UserInvite, 0)
	skip, _ := strconv.Atoi(r.Query("skip"))
	skip = max(skip, 0)
	total := 0
	for _, u := range all {
		if !matches(m.Query, u.Username, u.DisplayName, u.Email) {
			continue
		}
		if total++; total > skip && len(m.Rows) < userRows {
			m.Rows = append(m.Rows, people.UserRow{ID: u.APIID(), Username: u.Username, Name: shownName(u), Email: u.Email, Admin: admins[u.ID], Disabled: !u.IsActive, Service: u.IsService, LastSeen: seen[u.ID]})
		}
	}
	if total > userRows {
		to := func(n int) string {
			return "?q=" + strings.ReplaceAll(templ.EscapeString(m.Query), " ", "+") + "&skip=" + strconv.Itoa(n)
		}
		m.Pager.Text = fmt.Sprintf("%d–%d of %d", min(skip+1, total), skip+len(m.Rows), total)
		if skip > 0 {
			m.Pager.Prev = to(max(0, skip-userRows))
		}
		if skip+userRows < total {
			m.Pager.Next = to(skip + userRows)
		}
	}
	return r.render(fiber.StatusOK, people.ShowUsers(m))
}

func newUser(r *request) error {
	return r.render(fiber.StatusOK, people.ShowNewUser(people.NewUser{Page: r.usersPage("Add somebody")}))
}

func (r *request) usersPage(title string) views.Page {
	p := r.pageFor(title, "")
	p.Crumbs = []ui.Crumb{{Label: "People", Href: views.UsersURL()}, {Label: title}}
	return p
}

func createUser(r *request) error {
	in := instance.UserInput{Username: r.value("username"), DisplayName: r.value("displayName"), Email: r.value("email"), Password: r.form.Get("password"), IsActive: true, IsService: r.value("kind") == "service"}
	u, err := r.s.Instance.CreateUser(r.ctx, r.system, in)
	if err != nil {
		return r.again(err, nil, func(e []ui.FieldError) templ.Component {
			return people.ShowNewUser(people.NewUser{Page: r.usersPage("Add somebody"), Username: in.Username, DisplayName: in.DisplayName, Email: in.Email, Kind: r.value("kind"), Errors: e})
		})
	}
	return r.see(views.UserURL(u.APIID()))
}

func (r *request) user() (instance.User, error) {
	u, err := r.s.Instance.UserBy(r.ctx, r.param("user"))
	if err == nil && u.APIID() != r.param("user") { // a name may change: pages have the id
		err = errs.Missing("user", r.param("user"))
	}
	return u, err
}

func userPage(r *request) error {
	u, err := r.user()
	if err != nil {
		return err
	}
	m, err := r.userModel(u)
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, people.ShowUser(m))
}

func (r *request) userModel(u instance.User) (people.User, error) {
	i := r.s.Instance
	m := people.User{Page: r.usersPage(shownName(u)), ID: u.APIID(), Username: u.Username, Name: shownName(u), Email: u.Email, Disabled: !u.IsActive, Service: u.IsService, HasPassword: u.HasPassword, Self: u.ID == r.session.User.ID, Created: u.CreatedAt}
	m.CanEdit, m.Why = r.canFor(access.UserEdit, 0)
	theirs, err := i.SystemPermissions(r.ctx, u.ID)
	if err != nil {
		return m, err
	}
	m.Admin = theirs.Any(access.AdministerSystem)
	for _, p := range theirs.Permissions() { // nobody acts for who may do more
		if m.CanEdit && !m.Self && !r.system.Permissions.Any(p) {
			m.CanEdit, m.Why = false, fmt.Sprintf("%s has the permission %s, which you have not.", u.Username, p)
		}
	}
	teams, err := i.TeamsOf(r.ctx, u.ID)
	if err != nil {
		return m, err
	}
	known, err := r.spaceNames()
	if err != nil {
		return m, err
	}
	for _, t := range teams {
		if ref, ok := known.team(t); ok {
			m.Teams = append(m.Teams, ref)
		}
	}
	factors, err := i.SecondFactors(r.ctx, u)
	if err != nil {
		return m, err
	}
	m.Authenticator, m.RecoveryCodes = factors.TOTP, factors.RecoveryCodes
	passkeys, err := i.Passkeys(r.ctx, u)
	if err != nil {
		return m, err
	}
	for _, k := range passkeys {
		m.Passkeys = append(m.Passkeys, people.UserPasskey{ID: strconv.FormatInt(k.ID, 10), Name: k.Name, Added: k.CreatedAt, Used: when(k.UsedAt)})
	}
	if m.Identities, err = i.IdentitiesOf(r.ctx, u.ID); err != nil {
		return m, err
	}
	sessions, err := i.Sessions(r.ctx, u)
	if err != nil {
		return m, err
	}
	for _, s := range sessions {
		m.Sessions = append(m.Sessions, people.UserSession{ID: s.ID, Address: s.Address, Agent: agentName(s.UserAgent), Created: s.CreatedAt, Seen: s.SeenAt})
		if s.SeenAt.After(m.LastSeen) {
			m.LastSeen = s.SeenAt
		}
	}
	keys, err := i.APIKeys(r.ctx, u)
	if err != nil {
		return m, err
	}
	for _, k := range keys {
		m.Keys = append(m.Keys, people.UserKey{ID: strconv.FormatInt(k.ID, 10), Purpose: k.Purpose, Hint: k.Hint, Created: k.CreatedAt, LastUsed: when(k.UsedAt), Expires: when(k.ExpiresAt)})
	}
	return m, nil
}

// changeUser answers a form of the page of a user.
func changeUser(form string, do func(*request, instance.User) error) func(*request) error {
	return func(r *request) error {
		u, err := r.user()
		if err != nil {
			return err
		}
		if err = do(r, u); err == nil {
			if form == "delete" {
				return r.see(views.UsersURL())
			}
			return r.see(views.UserURL(u.APIID()))
		}
		return r.userAgain(u, form, err)
	}
}

func (r *request) userAgain(u instance.User, form string, err error) error {
	m, failure := r.userModel(u)
	if failure != nil {
		return failure
	}
	if form == "profile" {
		m.Username, m.Name, m.Email = r.value("username"), r.value("displayName"), r.value("email")
	}
	return r.again(err, nil, func(e []ui.FieldError) templ.Component {
		if m.Failed, m.Errors = form, e; m.Self && form != "profile" {
			m.Failed = "" // whose form is not on one's own page
		}
		return people.ShowUser(m)
	})
}

// as is a user as she is, for changing something of her.
func as(u instance.User) instance.UserInput {
	return instance.UserInput{Username: u.Username, DisplayName: u.DisplayName, Email: u.Email, IsActive: u.IsActive, IsService: u.IsService}
}

func saveProfile(r *request, u instance.User) error {
	in := as(u)
	in.Username, in.DisplayName, in.Email = r.value("username"), r.value("displayName"), r.value("email")
	_, err := r.s.Instance.UpdateUser(r.ctx, r.system, u.ID, in)
	return err
}

func setActive(r *request, u instance.User) error {
	in := as(u)
	in.IsActive = r.value("active") == "true"
	_, err := r.s.Instance.UpdateUser(r.ctx, r.system, u.ID, in)
	return err
}

// notSelf refuses what a browser that was left open must not be enough for: one's own
// account asks for the password first.
func (r *request) notSelf(u instance.User) error {
	if u.ID == r.session.User.ID {
		return errs.New(errs.Blocked, "This is your own account.").WithHint("Change it on the page of your account, which asks for your password.")
	}
	return nil
}

func setPassword(r *request, u instance.User) error {
	if err := r.notSelf(u); err != nil {
		return err
	}
	in := as(u)
	if in.Password = r.form.Get("password"); in.Password == "" {
		return &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "Password", Message: "Type a password."}}}
	}
	_, err := r.s.Instance.UpdateUser(r.ctx, r.system, u.ID, in)
	return err
}

func removeFactors(r *request, u instance.User) error {
	if err := r.notSelf(u); err != nil {
		return err
	}
	return r.s.Instance.RemoveSecondFactors(r.ctx, r.system, u)
}

func removePasskeyOf(r *request, u instance.User) error {
	if err := r.notSelf(u); err != nil {
		return err
	}
	id, err := r.passkeyID()
	if err != nil {
		return err
	}
	return r.s.Instance.RemovePasskey(r.ctx, r.system, u, id)
}

func endSessionOf(r *request, u instance.User) error {
	return r.s.Instance.RevokeSession(r.ctx, r.system, u, r.param("session"))
}

func revokeKeyOf(r *request, u instance.User) error {
	id, err := strconv.ParseInt(r.param("key"), 10, 64)
	if err != nil {
		return errs.Missing("API key", r.param("key"))
	}
	return r.s.Instance.RevokeAPIKey(r.ctx, r.system, u, id)
}

func deleteUser(r *request, u instance.User) error {
	if r.value("name") != u.Username {
		return &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "name", Message: fmt.Sprintf("Type %s to delete this user.", u.Username)}}}
	}
	return r.s.Instance.DeleteUser(r.ctx, r.system, u.ID)
}

// makeKeyFor makes a key of a service account, and shows it this once.
func makeKeyFor(r *request) error {
	u, err := r.user()
	if err != nil {
		return err
	}
	if !u.IsService {
		return r.userAgain(u, "keys", errs.New(errs.Blocked, "%s is a person, who makes her own keys.", u.Username).WithHint("A key that another made would let that other act in her name."))
	}
	var expires *time.Time
	if days, err := strconv.Atoi(r.value("days")); err == nil && days > 0 {
		t := time.Now().AddDate(0, 0, min(days, 36500))
		expires = &t
	}
	_, key, err := r.s.Instance.CreateAPIKey(r.ctx, r.system, u, r.value("purpose"), expires, "")
	if err != nil {
		return r.userAgain(u, "keys", err)
	}
	m, err := r.userModel(u)
	if err != nil {
		return err
	}
	m.NewKey = key // not after a redirect: it is shown this once
	return r.render(fiber.StatusOK, people.ShowUser(m))
}
