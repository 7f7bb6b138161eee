package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options of the demonstration.
type Options struct {
	Folder string // of everything that it makes; it must be empty
	Exit   bool   // end when the story is told
	Out    io.Writer
}

// zone is a running server of the story.
type zone struct {
	client
	name, folder       string
	web, agents, zones string // host:port
	process            *exec.Cmd
	password           string
	environments       []string
	environmentIDs     map[string]string
	shops              map[string]string // environment → host:port of the application
}

// story is everything that runs while it is told.
type story struct {
	Options
	told     *Narrator
	self     string
	dev      *zone
	prod     *zone
	packages map[string]string // version → file
	children []*exec.Cmd
	link     string // id of the link at Dev
	back     string // and at Prod
	project  string
}

const (
	adminName = "admin"
	spaceDev  = "Storefront"
	spaceProd = "Storefront Production"
	secretDev = "dev-key-0001"
)

// ProductionSecret is the value that must never be seen in the Dev zone. A new one is
// made for each run.
func productionSecret() string { return fmt.Sprintf("live-%d-%d", os.Getpid(), time.Now().UnixNano()) }

// Run tells the story: two servers with two agents each, one release promoted from Dev to
// Prod over the link, a second of which only the difference travels, a third carried as a
// file. It returns when ctx ends, or with Exit when the story is told.
func Run(ctx context.Context, o Options) (err error) {
	s := &story{Options: o, told: NewNarrator(o.Out), packages: map[string]string{}}
	if s.self, err = os.Executable(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	began := time.Now()
	steps := []struct {
		text string
		do   func(ctx context.Context) (string, error)
	}{
		{"Pack three versions of the application", s.pack},
		{"Start the Dev zone and the Prod zone", s.startZones},
		{"Register two agents in each zone", s.startAgents},
		{"Link the zones", s.linkZones},
		{"Describe the project in the Dev zone", s.describe},
	}
	for _, st := range steps {
		if err := s.step(ctx, st.text, st.do); err != nil {
			return err
		}
	}
	secret := productionSecret()
	for i, version := range PackageVersions {
		if err := s.version(ctx, version, i == len(PackageVersions)-1, secret); err != nil {
			return err
		}
	}
	if err := s.step(ctx, "Look for the production secret where it must not be", func(context.Context) (string, error) { return s.searchSecret(secret) }); err != nil {
		return err
	}
	s.told.Say("The story took %s.", time.Since(began).Round(100*time.Millisecond))
	if o.Exit {
		return nil
	}
	s.told.Say("%s", "")
	s.told.Say("%s", "Dev zone   "+s.dev.base+"   sign in as "+adminName+" with the password "+s.dev.password)
	s.told.Say("%s", "Prod zone  "+s.prod.base+"   sign in as "+adminName+" with the password "+s.prod.password)
	for _, z := range []*zone{s.dev, s.prod} {
		for _, e := range z.environments {
			s.told.Say("           http://%s   the application in %s", z.shops[e], e)
		}
	}
	s.told.Say("%s", "")
	s.told.Say("%s", "Click first: the dashboard of the space "+spaceDev+" shows the whole pipeline, then open release 1.2.0.")
	s.told.Say("%s", "Ctrl-C ends everything.")
	<-ctx.Done()
	return nil
}

func (s *story) step(ctx context.Context, text string, do func(ctx context.Context) (string, error)) error {
	err := s.told.Step(text, func(p *Progress) error {
		detail, err := do(ctx)
		if err == nil && detail != "" {
			p.Note("%s", detail)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", strings.ToLower(text[:1])+text[1:], err)
	}
	return nil
}

func (s *story) pack(context.Context) (string, error) {
	folder := filepath.Join(s.Folder, "packages")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	size := int64(0)
	for _, v := range PackageVersions {
		file, err := BuildPackage(v, folder)
		if err != nil {
			return "", err
		}
		info, err := os.Stat(file)
		if err != nil {
			return "", err
		}
		s.packages[v], size = file, info.Size()
	}
	return fmt.Sprintf("%.1f MB each", float64(size)/1e6), nil
}

// freePort finds a port of this machine that nobody uses now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (s *story) startZones(ctx context.Context) (string, error) {
	s.dev = &zone{name: spaceDev, folder: filepath.Join(s.Folder, "dev"), environments: []string{"Development", "Test"}}
	s.prod = &zone{name: spaceProd, folder: filepath.Join(s.Folder, "prod"), environments: []string{"Staging", "Production"}}
	for _, z := range []*zone{s.dev, s.prod} {
		for _, to := range []*string{&z.web, &z.agents, &z.zones} {
			var err error
			if *to, err = freePort(); err != nil {
				return "", err
			}
		}
		z.base = "http://" + z.web
		z.password, z.key = randomWord(20), "API-"+strings.ToUpper(randomWord(26))
		cmd, err := s.spawn(ctx, filepath.Base(z.folder)+"-server", []string{"ADMIN_USERNAME=" + adminName, "ADMIN_PASSWORD=" + z.password, "ADMIN_API_KEY=" + z.key},
			"serve", "--data", z.folder, "--listen", z.web, "--agents", z.agents, "--zones", z.zones)
		if err != nil {
			return "", err
		}
		z.process = cmd
	}
	for _, z := range []*zone{s.dev, s.prod} {
		err := until(ctx, 20*time.Second, "the server of "+z.name+" answers", func() (bool, error) {
			if z.process.ProcessState != nil {
				return false, fmt.Errorf("the server of %s ended; see %s", z.name, s.logFile(filepath.Base(z.folder)+"-server"))
			}
			res, err := http.Get(z.base + "/readyz")
			if err != nil {
				return false, nil
			}
			res.Body.Close()
			return res.StatusCode == http.StatusOK, nil
		})
		if err != nil {
			return "", err
		}
		if err := z.furnish(ctx); err != nil {
			return "", err
		}
	}
	return s.dev.base + " and " + s.prod.base, nil
}

// furnish makes the space and its environments.
func (z *zone) furnish(ctx context.Context) error {
	var me, made struct{ Id string }
	if err := z.call(ctx, http.MethodGet, "/users/me", nil, &me); err != nil {
		return err
	}
	if err := z.call(ctx, http.MethodPost, "/spaces", object{"Name": z.name, "SpaceManagersTeamMembers": []string{me.Id}}, &made); err != nil {
		return err
	}
	z.space = made.Id
	z.environmentIDs, z.shops = map[string]string{}, map[string]string{}
	for _, e := range z.environments {
		if err := z.call(ctx, http.MethodPost, "/environments", object{"Name": e}, &made); err != nil {
			return err
		}
		z.environmentIDs[e] = made.Id
		port, err := freePort()
		if err != nil {
			return err
		}
		z.shops[e] = port
	}
	return nil
}

func (s *story) startAgents(ctx context.Context) (string, error) {
	names := []string{}
	for _, z := range []*zone{s.dev, s.prod} {
		for i, e := range z.environments {
			name := strings.ToLower(e) + "-01"
			var token struct{ Token string }
			if err := z.call(ctx, http.MethodPost, "/machines/registration", object{"EnvironmentIds": []string{z.environmentIDs[e]}, "Roles": []string{TargetTag}}, &token); err != nil {
				return "", err
			}
			root := filepath.Join(s.Folder, "agents", name)
			args := []string{"agent", "register", token.Token, "--root", root, "--name", name}
			if i == 0 { // the first listens, the second polls
				port, err := freePort()
				if err != nil {
					return "", err
				}
				args = append(args, "--listen", port, "--address", port)
			}
			if out, err := exec.CommandContext(ctx, s.self, args...).CombinedOutput(); err != nil {
				return "", fmt.Errorf("register agent %s: %w: %s", name, err, out)
			}
			if _, err := s.spawn(ctx, "agent-"+name, nil, "agent", "run", "--root", root); err != nil {
				return "", err
			}
			names = append(names, name)
		}
	}
	for _, z := range []*zone{s.dev, s.prod} {
		if err := z.healthy(ctx); err != nil {
			return "", err
		}
	}
	return strings.Join(names, ", "), nil
}

func (z *zone) healthy(ctx context.Context) error {
	return until(ctx, 30*time.Second, "the agents of "+z.name+" are healthy", func() (bool, error) {
		var all []struct{ Id, HealthStatus string }
		if err := z.call(ctx, http.MethodGet, "/machines/all", nil, &all); err != nil {
			return false, err
		}
		good := 0
		for _, m := range all {
			if m.HealthStatus == "Healthy" {
				good++
				continue
			}
			if m.HealthStatus != "Unknown" {
				if err := z.call(ctx, http.MethodPost, "/tasks", object{"Name": "Health", "Arguments": object{"MachineIds": []string{m.Id}}}, nil); err != nil {
					return false, err
				}
				time.Sleep(300 * time.Millisecond)
			}
		}
		return good == len(z.environments), nil
	})
}

func (s *story) linkZones(ctx context.Context) (string, error) {
	var invitation struct{ Invitation string }
	if err := s.dev.call(ctx, http.MethodPost, "/zones/links/invite", object{"Name": "Prod", "Role": "source"}, &invitation); err != nil {
		return "", err
	}
	var link struct {
		Id    string
		Words []string
	}
	if err := s.prod.call(ctx, http.MethodPost, "/zones/links/join", object{"Invitation": invitation.Invitation, "Name": "Dev", "Role": "target"}, &link); err != nil {
		return "", err
	}
	s.back = link.Id
	var links []struct{ Id string }
	if err := s.dev.call(ctx, http.MethodGet, "/zones/links", nil, &links); err != nil {
		return "", err
	}
	if len(links) != 1 {
		return "", fmt.Errorf("the Dev zone has %d links", len(links))
	}
	s.link = links[0].Id
	return "the words of Dev end in " + strings.Join(link.Words[9:], " "), nil
}

// describe makes the project: process, variables, templates and the way to Prod.
func (s *story) describe(ctx context.Context) (string, error) {
	d := s.dev
	var lifecycles []struct {
		Id, Name string
	}
	if err := d.call(ctx, http.MethodGet, "/lifecycles/all", nil, &lifecycles); err != nil {
		return "", err
	}
	phase := func(name string, environments []string, remote []object) object {
		return object{"Name": name, "OptionalDeploymentTargets": environments, "AutomaticDeploymentTargets": []string{}, "RemoteSpaces": remote}
	}
	way := object{"Name": lifecycles[0].Name, "Phases": []object{phase("Development", []string{d.environmentIDs["Development"]}, nil), phase("Test", []string{d.environmentIDs["Test"]}, nil),
		phase("Production zone", []string{}, []object{{"Id": s.link, "MinimumEnvironmentsBeforePromotion": 1}})}}
	if err := d.call(ctx, http.MethodPut, "/lifecycles/"+lifecycles[0].Id, way, nil); err != nil {
		return "", err
	}
	control := func(kind string) map[string]string { return map[string]string{"Octopus.ControlType": kind} }
	var project struct{ Id, DeploymentProcessId, VariableSetId string }
	err := d.call(ctx, http.MethodPost, "/projects", object{"Name": "Storefront", "Description": "The shop of the demonstration.", "Templates": []object{
		{"Name": "Storefront:Listen", "Label": "Address", "HelpText": "host:port on which the shop listens", "DisplaySettings": control("SingleLineText")},
		{"Name": "Storefront:Greeting", "Label": "Greeting", "HelpText": "What visitors read first", "DisplaySettings": control("SingleLineText")},
		{"Name": StateVariable, "Label": "Folder of the state", "HelpText": "Where the shop keeps its process id and log", "DisplaySettings": control("SingleLineText")},
		{"Name": "Payments:Key", "Label": "Key of the payment provider", "HelpText": "A secret of this environment", "DisplaySettings": control("Sensitive")}}}, &project)
	if err != nil {
		return "", err
	}
	s.project = project.Id
	if err := d.call(ctx, http.MethodPut, "/deploymentprocesses/"+project.DeploymentProcessId, object{"Version": 0, "Steps": Process()["Steps"]}, nil); err != nil {
		return "", err
	}
	scoped := func(name, value, environment string, sensitive bool) object {
		v := object{"Name": name, "Value": value, "IsSensitive": sensitive, "Type": map[bool]string{true: "Sensitive", false: "String"}[sensitive]}
		if environment != "" {
			v["Scope"] = object{"Environment": []string{d.environmentIDs[environment]}}
		}
		return v
	}
	vars := []object{scoped("Storefront:Title", "Storefront", "", false), scoped("Storefront:Currency", "EUR", "", false), scoped("Payments:Provider", "acme", "", false), scoped(OwnerVariable, strconv.Itoa(os.Getpid()), "", false), scoped("Shop.Signature", "sealed-for-prod", "", true)}
	for _, e := range d.environments {
		vars = append(vars, scoped("Storefront:Listen", d.shops[e], e, false), scoped("Storefront:Greeting", "Hello from "+e+".", e, false), scoped(StateVariable, s.state(e), e, false), scoped("Payments:Key", secretDev, e, true))
	}
	if err := d.call(ctx, http.MethodPut, "/variables/"+project.VariableSetId, object{"Version": 0, "Variables": vars}, nil); err != nil {
		return "", err
	}
	return "three steps, four variable templates", nil
}

// version brings one version all the way.
func (s *story) version(ctx context.Context, version string, byFile bool, secret string) error {
	var release struct{ ReleaseId string }
	err := s.step(ctx, "Push Storefront "+version+" and create a release", func(ctx context.Context) (string, error) {
		if err := s.dev.push(ctx, s.packages[version]); err != nil {
			return "", err
		}
		return "", s.dev.call(ctx, http.MethodPost, "/releases/create/v1", object{"projectName": "Storefront", "releaseVersion": version, "packageVersion": version}, &release)
	})
	if err != nil {
		return err
	}
	for _, e := range s.dev.environments {
		if err := s.deployAndLook(ctx, s.dev, "Storefront", version, e); err != nil {
			return err
		}
	}
	var inbound string
	if byFile {
		inbound, err = s.carry(ctx, release.ReleaseId, version)
	} else {
		inbound, err = s.promote(ctx, release.ReleaseId, version)
	}
	if err != nil {
		return err
	}
	var accepted struct{ ProjectId string }
	err = s.step(ctx, "Review and accept "+version+" in the Prod zone", func(ctx context.Context) (string, error) {
		var review struct {
			Evidence                        []struct{ Environment, State string }
			Warnings                        []string
			ProcessChanges, VariableChanges []any
			PackageChanges                  []struct{ Before, After string }
			Previous                        string
		}
		if err := s.prod.call(ctx, http.MethodGet, "/zones/inbox/"+inbound, nil, &review); err != nil {
			return "", err
		}
		values := object{}
		if review.Previous == "" { // the first time: fill in what is Prod's own
			for _, e := range s.prod.environments {
				values[e] = map[string]string{"Storefront:Listen": s.prod.shops[e], "Storefront:Greeting": "Welcome to " + e + ".", StateVariable: s.state(e), "Payments:Key": secret}
			}
		}
		if err := s.prod.call(ctx, http.MethodPost, "/zones/inbox/"+inbound+"/accept", object{"Values": values}, &accepted); err != nil {
			return "", err
		}
		detail := fmt.Sprintf("proven: %d deployments before", len(review.Evidence))
		if review.Previous != "" {
			detail += fmt.Sprintf(", %d package changed since %s", len(review.PackageChanges), review.Previous)
		} else {
			detail += ", a production value and a production secret filled in"
		}
		return detail, nil
	})
	if err != nil {
		return err
	}
	for _, e := range s.prod.environments {
		if err := s.deployAndLook(ctx, s.prod, accepted.ProjectId, version, e); err != nil {
			return err
		}
	}
	if byFile {
		return s.carryBack(ctx, version)
	}
	return s.step(ctx, "Wait for the signed receipts in the Dev zone", func(ctx context.Context) (string, error) {
		return "the dashboard of Dev shows Production at " + version, s.awaitState(ctx, release.ReleaseId, "deployed")
	})
}

func (s *story) awaitState(ctx context.Context, release, state string) error {
	last := ""
	return until(ctx, 30*time.Second, "the promotion is "+state, func() (bool, error) {
		var all []struct{ State string }
		if err := s.dev.call(ctx, http.MethodGet, "/zones/promotions?releaseId="+release, nil, &all); err != nil {
			return false, err
		}
		if len(all) > 0 {
			last = all[0].State
		}
		if last == "failed" || last == "refused" || last == "rejected" {
			return false, fmt.Errorf("the promotion is %s", last)
		}
		return last == state, nil
	})
}

func (s *story) deployAndLook(ctx context.Context, z *zone, project, version, environment string) error {
	return s.step(ctx, "Deploy "+version+" to "+environment, func(ctx context.Context) (string, error) {
		if err := z.deploy(ctx, project, version, environment); err != nil {
			return "", err
		}
		var status struct{ Version, Environment, Greeting string }
		res, err := http.Get("http://" + z.shops[environment] + "/api/status")
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(&status); err != nil {
			return "", err
		}
		if status.Version != version || status.Environment != environment {
			return "", fmt.Errorf("http://%s serves %s in %s", z.shops[environment], status.Version, status.Environment)
		}
		return fmt.Sprintf("http://%s says: %s", z.shops[environment], status.Greeting), nil
	})
}

// searchSecret looks into every file of the Dev zone, and into Prod's own.
func (s *story) searchSecret(secret string) (string, error) {
	n := 0
	for _, folder := range []string{s.dev.folder, s.prod.folder, filepath.Join(s.Folder, "logs"), filepath.Join(s.Folder, "packages")} {
		err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n++
			if bytes.Contains(b, []byte(secret)) {
				return fmt.Errorf("the secret of production is readable in %s", path)
			}
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return strconv.Itoa(n) + " files read, none holds it", nil
}

// state is where the application of an environment keeps what outlives its versions.
func (s *story) state(environment string) string {
	return filepath.Join(s.Folder, "state", environment)
}

func (s *story) logFile(name string) string { return filepath.Join(s.Folder, "logs", name+".log") }

// spawn starts this program again. It ends with us, however we end.
func (s *story) spawn(ctx context.Context, name string, env []string, args ...string) (*exec.Cmd, error) {
	if err := os.MkdirAll(filepath.Join(s.Folder, "logs"), 0o755); err != nil {
		return nil, err
	}
	log, err := os.Create(s.logFile(name))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(s.self, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = parentDeath(&syscall.SysProcAttr{Setpgid: true})
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	s.children = append(s.children, cmd)
	go cmd.Wait()
	return cmd, nil
}

// stop ends what was started: agents and servers, then the application.
func (s *story) stop() error {
	for i := len(s.children) - 1; i >= 0; i-- {
		s.children[i].Process.Signal(syscall.SIGTERM)
	}
	deadline := time.Now().Add(5 * time.Second)
	for _, c := range s.children {
		for c.ProcessState == nil && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
		}
		c.Process.Kill()
	}
	pids, err := filepath.Glob(filepath.Join(s.Folder, "state", "*", "storefront.pid"))
	for _, file := range pids {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && pid > 1 {
			syscall.Kill(pid, syscall.SIGTERM)
		}
	}
	return err
}

// randomWord makes a text that nobody guesses.
func randomWord(n int) string {
	word := ""
	for len(word) < n {
		word += strings.ToLower(rand.Text())
	}
	return word[:n]
}
