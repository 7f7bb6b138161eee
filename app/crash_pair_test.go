package app

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A pair is two linked servers with their data folders, and two agents of the second: one
// that listens, one that polls. Its folders are made once for each way to be linked, and
// copied for each case. The agents are those of all cases: they know work by its id alone.
type pair struct {
	dir    string
	source *crashZone // promotes
	target *crashZone // deploys
	agents []*process
	roots  []string // of the agents
	note   string   // about the case that runs, for whoever reads of its failure
}

// ways to be linked: who dials, or that the target takes no releases.
var linkedBy = map[string]func(p *pair) error{
	"pull": func(p *pair) error { return p.link(p.source, "source", p.target, "target") },
	"push": func(p *pair) error { return p.link(p.target, "target", p.source, "source") },
	"deaf": func(p *pair) error { return p.link(p.source, "source", p.target, "source") },
}

const crashVersion, laterVersion = "1.0.0", "1.1.0"

// newPair makes a pair; change is done to it before anything runs.
func newPair(t testing.TB, dir string, change ...func(*pair)) (*pair, error) {
	t.Helper()
	ports := freePorts(t, 7)
	zone := func(name string, at int) *crashZone {
		return &crashZone{name: name, data: filepath.Join(dir, "run", name), key: "API-" + strings.ToUpper(rand.Text()), web: ports[at], agents: ports[at+1], zones: ports[at+2]}
	}
	p := &pair{dir: dir, source: zone("source", 0), target: zone("target", 3)}
	for _, c := range change {
		c(p)
	}
	t.Cleanup(func() {
		p.source.kill()
		p.target.kill()
		for _, a := range p.agents {
			a.kill()
		}
	})
	if err := p.furnish(ports[6]); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, p.account())
	}
	return p, nil
}

// furnish makes the folders of all ways.
func (p *pair) furnish(agentPort string) error {
	if err := os.MkdirAll(filepath.Join(p.dir, "run"), 0o700); err != nil {
		return err
	}
	for _, z := range []*crashZone{p.source, p.target} {
		if err := z.run("", ""); err != nil {
			return err
		}
		var made struct{ Id string }
		if err := z.call(http.MethodPost, "/api/spaces", object{"Name": strings.ToUpper(z.name[:1]) + z.name[1:], "SpaceManagersTeamMembers": []string{"Users-1"}}, &made); err != nil {
			return err
		}
		z.space = made.Id
		folders, err := filepath.Glob(filepath.Join(z.data, "spaces", z.name+"-*"))
		if err != nil || len(folders) != 1 {
			return fmt.Errorf("the folder of space %s: %v, %w", z.name, folders, err)
		}
		z.folder = filepath.Base(folders[0])
	}
	var production struct{ Id string }
	if err := p.target.in(http.MethodPost, "/environments", object{"Name": "Production"}, &production); err != nil {
		return err
	}
	for i, name := range []string{"listens", "polls"} {
		var token struct{ Token string }
		if err := p.target.in(http.MethodPost, "/machines/registration", object{"EnvironmentIds": []string{production.Id}, "Roles": []string{"web"}}, &token); err != nil {
			return err
		}
		root := filepath.Join(p.dir, name)
		args := []string{"agent", "register", token.Token, "--root", root, "--name", name}
		if i == 0 {
			args = append(args, "--listen", agentPort, "--address", agentPort)
		}
		if out, err := exec.Command("octopuses", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("register agent %s: %w: %s", name, err, out)
		}
		p.roots = append(p.roots, root)
		p.agents = append(p.agents, nil)
		if err := p.runAgent(i); err != nil {
			return err
		}
	}
	if err := p.describe(); err != nil {
		return err
	}
	if err := p.target.await("the agents were asked for their health", `SELECT count(*) = 2 FROM task WHERE kind = 'Health' AND completed_at IS NOT NULL`); err != nil {
		return err
	}
	if err := errors.Join(p.stop(), os.Rename(filepath.Join(p.dir, "run"), filepath.Join(p.dir, "apart"))); err != nil {
		return err
	}
	for way, link := range linkedBy {
		if err := copyFolder(filepath.Join(p.dir, "apart"), filepath.Join(p.dir, "run")); err != nil {
			return err
		}
		if err := errors.Join(p.source.run("", ""), p.target.run("", "")); err != nil {
			return err
		}
		if err := link(p); err != nil {
			return fmt.Errorf("link %s: %w", way, err)
		}
		if err := errors.Join(p.stop(), os.Rename(filepath.Join(p.dir, "run"), filepath.Join(p.dir, way))); err != nil {
			return err
		}
	}
	return nil
}

func (p *pair) runAgent(i int) (err error) {
	p.agents[i], err = spawn(p.roots[i]+".log", nil, "octopuses", "agent", "run", "--root", p.roots[i])
	return err
}

func (p *pair) stop() error {
	var all []error
	for _, z := range []*crashZone{p.source, p.target} {
		z.mu.Lock()
		z.ended = true
		z.mu.Unlock()
		all = append(all, z.running.end())
	}
	return errors.Join(all...)
}

// describe makes the project at the source, two releases of it, and what they deploy: a
// script and a package, each of which leaves a mark for every time that it runs.
func (p *pair) describe() error {
	mark := func(what string) string {
		return fmt.Sprintf("echo \"%s $(get_octopusvariable Octopus.Machine.Name)\" >> %q\necho \"%s is done here\"\n", what, p.marks(), what)
	}
	script := mark("script") + fmt.Sprintf("sleep 0.15\nwhile [ -e %q ]; do sleep 0.05; done\nif [ -e %q ]; then echo broken >&2; exit 3; fi\n", p.flag("hold"), p.flag("fail"))
	for _, version := range []string{crashVersion, laterVersion} {
		kind, body, err := crashPackage("Shop."+version+".zip", "#!/bin/bash\n"+mark("package"))
		if err != nil {
			return err
		}
		if err := p.source.send(http.MethodPost, "/api/"+p.source.space+"/packages/raw", kind, body, nil); err != nil {
			return err
		}
	}
	step := func(name, kind string, properties object, packages ...object) object {
		return object{"Name": name, "Properties": object{"Octopus.Action.TargetRoles": "web"}, "Actions": []object{{"Name": name, "ActionType": kind, "Packages": append([]object{}, packages...), "Properties": properties}}}
	}
	var project struct{ Id, DeploymentProcessId string }
	if err := p.source.in(http.MethodPost, "/projects", object{"Name": "Shop"}, &project); err != nil {
		return err
	}
	err := p.source.in(http.MethodPut, "/deploymentprocesses/"+project.DeploymentProcessId, object{"Version": 0, "Steps": []object{
		step("Mark", "Octopus.Script", object{"Octopus.Action.Script.ScriptSource": "Inline", "Octopus.Action.Script.Syntax": "Bash", "Octopus.Action.Script.ScriptBody": script}),
		step("Install", "Octopus.TentaclePackage", object{"Octopus.Action.Package.PackageId": "Shop", "Octopus.Action.Package.FeedId": "feeds-builtin"}, object{"Name": "", "PackageId": "Shop", "FeedId": "feeds-builtin"}),
	}}, nil)
	for _, version := range []string{crashVersion, laterVersion} {
		if err == nil {
			err = p.source.in(http.MethodPost, "/releases/create/v1", object{"projectName": "Shop", "releaseVersion": version, "packageVersion": version}, nil)
		}
	}
	return err
}

// link lets one zone invite and the other join, and opens the way in the lifecycle.
func (p *pair) link(inviter *crashZone, inviterIs string, joiner *crashZone, joinerIs string) error {
	var invitation struct{ Invitation string }
	if err := inviter.in(http.MethodPost, "/zones/links/invite", object{"Name": joiner.name, "Role": inviterIs}, &invitation); err != nil {
		return err
	}
	if err := joiner.in(http.MethodPost, "/zones/links/join", object{"Invitation": invitation.Invitation, "Name": inviter.name, "Role": joinerIs}, nil); err != nil {
		return err
	}
	var lifecycles []struct{ Id, Name string }
	if err := p.source.in(http.MethodGet, "/lifecycles/all", nil, &lifecycles); err != nil {
		return err
	}
	return p.source.in(http.MethodPut, "/lifecycles/"+lifecycles[0].Id, object{"Name": lifecycles[0].Name, "Phases": []object{{"Name": "Production", "OptionalDeploymentTargets": []string{}, "AutomaticDeploymentTargets": []string{}, "RemoteSpaces": []object{{"Id": "Links-1"}}}}}, nil)
}

func (p *pair) marks() string           { return filepath.Join(p.dir, "marks") }
func (p *pair) flag(name string) string { return filepath.Join(p.dir, name) }

// fresh gives the pair new folders, linked in a way, and starts the servers; one of them
// may be told where it kills itself.
func (p *pair) fresh(way string, c crashCase) error {
	p.source.kill()
	p.target.kill()
	run := filepath.Join(p.dir, "run")
	var all []error
	for _, gone := range []string{run, p.marks(), p.flag("hold"), p.flag("fail"), p.seen(p.source), p.seen(p.target)} {
		all = append(all, os.RemoveAll(gone))
	}
	all = append(all, copyFolder(filepath.Join(p.dir, way), run))
	for _, z := range []*crashZone{p.source, p.target} {
		at := ""
		if c.zone == z.name {
			at = c.at[0]
		}
		all = append(all, z.run(at, p.seen(z)))
	}
	return errors.Join(all...)
}

// seen is the file of the states that a server has stored.
func (p *pair) seen(z *crashZone) string { return filepath.Join(p.dir, z.name+".seen") }

func (p *pair) zone(name string) *crashZone {
	if name == p.source.name {
		return p.source
	}
	return p.target
}

type object = map[string]any

func (z *crashZone) in(method, path string, in, out any) error {
	return z.call(method, "/api/"+z.space+path, in, out)
}

func (z *crashZone) call(method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	return z.send(method, path, "application/json", body, out)
}

// errNoAnswer is the error of a request whose server died: it may have done it.
var errNoAnswer = errors.New("no answer")

var crashClient = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (z *crashZone) send(method, path, kind string, body []byte, out any) error {
	req, err := http.NewRequest(method, "http://"+z.web+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Octopus-ApiKey", z.key)
	req.Header.Set("Content-Type", kind)
	res, err := crashClient.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w: %w", method, path, errNoAnswer, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w: %w", method, path, errNoAnswer, err)
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %d %s", method, path, res.StatusCode, b)
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out = b
		return nil
	}
	return json.Unmarshal(b, out)
}

// once does what a careful client does whose request was not answered: it looks whether
// the thing is there, and asks again only if it is not.
func (z *crashZone) once(there string, ask func() error) error {
	return patiently("a request to "+z.name+" is answered", func() (bool, error) {
		n, err := z.rows(there)
		if err != nil || n != "0" {
			return err == nil, nil
		}
		err = ask()
		if errors.Is(err, errNoAnswer) {
			return false, nil
		}
		return err == nil, err
	})
}

// rows runs a query with one number in the file of the zone's space.
func (z *crashZone) rows(query string) (string, error) {
	db := z.file()
	defer db.Close()
	out, err := column(db, query)
	return strings.Join(out, "\n"), err
}

func (z *crashZone) file() *sql.DB { return readOnly(filepath.Join(z.data, "spaces", z.folder)) }

// await waits until a query in the file of the zone's space says 1.
func (z *crashZone) await(what, query string) error {
	return patiently(z.name+": "+what, func() (bool, error) {
		n, err := z.rows(query)
		return err == nil && n == "1", nil
	})
}

func patiently(what string, ok func() (bool, error)) error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(15 * time.Millisecond) {
		if done, err := ok(); done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within 30 s: %s", what)
		}
	}
}

var changing = regexp.MustCompile(`/\S+/applications/\S+|[0-9a-f]{64}|\b01[0-9A-HJKMNP-TV-Z]{24}\b|\bcore [0-9a-f]+`)

// leftovers is what the end of a case is compared by: everything in the files of both
// spaces but times, ids and how often something was tried.
func (p *pair) leftovers() (string, error) {
	var out []string
	for _, z := range []*crashZone{p.source, p.target} {
		db := z.file()
		defer db.Close()
		for name, query := range map[string]string{
			"integrity":   `PRAGMA integrity_check`,
			"promotion":   `SELECT p.version||' '||p.state||' '||p.reason||' '||p.by_hand||' '||(p.prepared IS NOT NULL) FROM promotion p`,
			"outbox":      `SELECT seq||' '||kind||' '||state||' '||COALESCE(promotion_id, 0) FROM zone_outbox`,
			"inbox":       `SELECT seq||' '||kind||' '||via FROM zone_inbox`,
			"link":        `SELECT state||' '||next_seq||' '||reason FROM zone_link`,
			"inbound":     `SELECT version||' '||state||' '||reason||' '||COALESCE(project_id, 0)||' '||COALESCE(release_id, 0) FROM inbound`,
			"recall":      `SELECT reason||' '||(allowed_at IS NULL) FROM zone_recall`,
			"want":        `SELECT inbound_id||' '||state FROM zone_blob_want`,
			"receipt":     `SELECT kind||' '||environment||' '||attempt||' '||seq||' '||via FROM receipt`,
			"remote":      `SELECT version||' '||state||' '||via||' '||seq FROM remote_current`,
			"release":     `SELECT version||' '||project_id FROM release`,
			"deployment":  `SELECT release_id||' '||environment_id||' '||attempt FROM deployment`,
			"current":     `SELECT release_id||' '||state FROM current_deployment`,
			"task":        `SELECT kind||' '||description||' '||state||' '||replace(error_message, 'polls', 'listens')||' '||has_pending_interruptions FROM task WHERE kind = 'Deploy'`,
			"execution":   `SELECT step_name||' '||target_name||' '||attempt||' '||state||' '||message FROM execution`,
			"interrupted": `SELECT kind||' '||title||' '||message||' '||answer FROM interruption`,
			"event":       `SELECT category||' '||message FROM event WHERE category NOT LIKE 'Machine%' AND category <> 'BundleReceivedAgain'`,
		} {
			// Whichever agent fails first is named; what is asked for twice, as nobody
			// answered, is noted twice.
			all, err := column(db, query)
			if err != nil {
				return "", fmt.Errorf("%s: %w", name, err)
			}
			for _, row := range all {
				out = append(out, z.name+" "+name+": "+changing.ReplaceAllString(row, "…"))
			}
		}
	}
	told, err := p.target.told()
	if err != nil {
		return "", err
	}
	out = append(out, told...)
	b, err := os.ReadFile(p.marks())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	for _, line := range strings.Fields(strings.ReplaceAll(string(b), " ", "_")) {
		out = append(out, "ran: "+line)
	}
	slices.Sort(out)
	return strings.Join(out, "\n"), nil
}

// difference shows the lines that only one of two sorted texts has.
func difference(want, got string) string {
	count := map[string]int{}
	for _, l := range strings.Split(want, "\n") {
		count[l]--
	}
	for _, l := range strings.Split(got, "\n") {
		count[l]++
	}
	var out []string
	for l, n := range count {
		if n != 0 {
			out = append(out, fmt.Sprintf("%+d %s", n, l))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// copyFolder copies files that are all of their owner alone, as the program insists.
func copyFolder(from, to string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	return filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o600)
	})
}

// crashPackage is the upload of a package with a script in it and bytes that cannot be
// made smaller.
func crashPackage(name, postDeploy string) (kind string, body []byte, err error) {
	return crashPackageOf(name, postDeploy, 200<<10)
}

// crashPackageOf is crashPackage with so many bytes.
func crashPackageOf(name, postDeploy string, size int64) (kind string, body []byte, err error) {
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	w, err := m.CreateFormFile("file", name)
	if err != nil {
		return "", nil, err
	}
	z := zip.NewWriter(w)
	for file, content := range map[string]io.Reader{"PostDeploy.sh": strings.NewReader(postDeploy), "data": io.LimitReader(rand.Reader, size)} {
		f, err := z.CreateHeader(&zip.FileHeader{Name: file, Method: zip.Store})
		if err == nil {
			_, err = io.Copy(f, content)
		}
		if err != nil {
			return "", nil, err
		}
	}
	err = errors.Join(z.Close(), m.Close())
	return m.FormDataContentType(), b.Bytes(), err
}

// told are the lines of the log of the deployment that do not tell of the crash itself:
// that of the server, or of agents which could not be reached.
func (z *crashZone) told() (lines []string, err error) {
	db := z.file()
	defer db.Close()
	ids, err := column(db, `SELECT task_id FROM deployment`)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(z.data, "spaces", z.folder, "logs", "ServerTasks-"+ids[0]+".jsonl"))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // it never began
		return nil, err
	}
	for text := range strings.Lines(string(b)) {
		var line struct {
			Category string `json:"c"`
			Text     string `json:"m"`
			Target   string `json:"g"`
			Step     int    `json:"s"`
		}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			return nil, err
		}
		if line.Target != "" && (line.Category == "Verbose" || strings.Contains(line.Text, "reached") || strings.Contains(line.Text, "connected")) || strings.HasPrefix(line.Text, "The server was restarted") {
			continue
		}
		if line.Target == "" { // whichever agent failed first
			line.Text = strings.ReplaceAll(line.Text, "polls", "listens")
		}
		lines = append(lines, fmt.Sprintf("log: %d %s %s %s", line.Step, line.Target, line.Category, changing.ReplaceAllString(line.Text, "…")))
	}
	return lines, nil
}
