package app

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces"
)

// crashStory is something that people do with two zones, from the first request until
// nothing moves any more.
type crashStory struct {
	name, way string
	tell      func(p *pair) error
}

var crashStories = []crashStory{
	{"deployed", "pull", func(p *pair) error {
		return inOrder(p.promote(crashVersion, false), p.accept, p.deploy(false), p.settle(spaces.PromotionDeployed))
	}},
	{"deployed", "push", func(p *pair) error {
		return inOrder(p.promote(crashVersion, false), p.accept, p.deploy(false), p.settle(spaces.PromotionDeployed))
	}},
	{"failed", "pull", func(p *pair) error {
		return inOrder(p.raise("fail"), p.promote(crashVersion, false), p.accept, p.deploy(false), p.settle(spaces.PromotionFailed))
	}},
	{"asked", "push", func(p *pair) error {
		return inOrder(p.raise("fail"), p.promote(crashVersion, false), p.accept, p.deploy(true), p.asked(2), p.lower("fail"), p.answer("listens", "Retry"), p.answer("polls", "Exclude"), p.settle(spaces.PromotionDeployed))
	}},
	{"canceled", "pull", func(p *pair) error {
		return inOrder(p.raise("hold"), p.promote(crashVersion, false), p.accept, p.deploy(false), p.marked(2), p.cancel, p.settle(spaces.PromotionAccepted))
	}},
	{"rejected", "push", func(p *pair) error {
		return inOrder(p.promote(crashVersion, false), p.reject, p.settle(spaces.PromotionRejected))
	}},
	{"superseded", "pull", func(p *pair) error {
		return inOrder(p.promote(crashVersion, false), p.verified, p.promote(laterVersion, false), p.superseded, p.settle(spaces.PromotionDelivered, spaces.PromotionSuperseded))
	}},
	{"refused", "deaf", func(p *pair) error {
		return inOrder(p.promote(crashVersion, false), p.settle(spaces.PromotionRefused))
	}},
	{"carried", "pull", func(p *pair) error {
		return inOrder(p.pause("paused"), p.promote(crashVersion, true), p.carry, p.pause("active"), p.accept, p.settle(spaces.PromotionAccepted))
	}},
	{"held", "pull", func(p *pair) error {
		return inOrder(p.pauseAt(p.target, "paused"), p.promote(crashVersion, false), p.outbox(spaces.OutboxHeld), p.pauseAt(p.target, "active"), p.stays(spaces.PromotionHeld), p.outbox(spaces.OutboxQueued), p.accept, p.settle(spaces.PromotionAccepted))
	}},
	{"withdrawn", "pull", func(p *pair) error {
		return inOrder(p.pauseAt(p.target, "paused"), p.promote(crashVersion, false), p.outbox(spaces.OutboxCanceled), p.pauseAt(p.target, "active"), p.stays(spaces.PromotionCanceled), p.promote(laterVersion, false), p.accept, p.settle(spaces.PromotionAccepted, spaces.PromotionCanceled))
	}},
	{"recalled", "pull", func(p *pair) error {
		return inOrder(p.promote(crashVersion, false), p.accept, p.recall, p.promote(laterVersion, false), p.laterWhole, p.settle(spaces.PromotionRecalled, spaces.PromotionDelivered))
	}},
	{"recalled early", "push", func(p *pair) error {
		return inOrder(p.promote(crashVersion, false), p.verified, p.recall, p.settle(spaces.PromotionRecalled))
	}},
	{"lost", "pull", func(p *pair) error {
		return inOrder(p.raise("hold"), p.promote(crashVersion, false), p.accept, p.deploy(false), p.marked(2), p.heard, p.powerCut, p.asked(2), p.lower("hold"), p.answer("listens", "Succeeded"), p.answer("polls", "Retry"), p.settle(spaces.PromotionDeployed))
	}},
}

// crashed are stories in which more dies than one server at one stored state. They leave
// what "deployed" leaves.
var crashed = map[string]func(p *pair) error{
	"target while scripts run": func(p *pair) error {
		return inOrder(p.raise("hold"), p.promote(crashVersion, false), p.accept, p.deploy(false), p.marked(2), p.die(p.target), p.lower("hold"), p.settle(spaces.PromotionDeployed))
	},
	"agents while scripts run": func(p *pair) error {
		return inOrder(p.raise("hold"), p.promote(crashVersion, false), p.accept, p.deploy(false), p.marked(2), p.killAgents, p.lower("hold"), p.settle(spaces.PromotionDeployed))
	},
	"all while scripts run": func(p *pair) error {
		return inOrder(p.raise("hold"), p.promote(crashVersion, false), p.accept, p.deploy(false), p.marked(2), p.die(p.target), p.die(p.source), p.killAgents, p.lower("hold"), p.settle(spaces.PromotionDeployed))
	},
	// What the source was told to be there, is there.
	"target when its word has come": func(p *pair) error {
		return inOrder(p.promote(crashVersion, false), p.acked, p.die(p.target), p.accept, p.deploy(false), p.settle(spaces.PromotionDeployed))
	},
	// A deployment needs nothing of the source any more.
	"source until it is deployed": func(p *pair) error {
		return inOrder(p.promote(crashVersion, false), p.verified, p.acked, p.end(p.source), p.accept, p.deploy(false), p.succeeded, p.begin(p.source), p.settle(spaces.PromotionDeployed))
	},
	"random moments, pull 1": randomly(1),
	"random moments, pull 2": randomly(2),
	"random moments, pull 3": randomly(3),
}

// randomly is the story of a deployment in which servers are killed whenever it happens,
// four times. CRASH_SEED repeats it as far as that goes: the moments are those, and what
// the servers have done by then is not.
func randomly(n uint64) func(p *pair) error {
	return func(p *pair) error {
		seed, err := strconv.ParseUint(os.Getenv("CRASH_SEED"), 10, 64)
		if err != nil {
			seed = rand.Uint64()
		}
		random := rand.New(rand.NewPCG(seed, n))
		killed := make(chan string, 1)
		go func() {
			var all []string
			for range 4 {
				pause := time.Duration(random.IntN(900)) * time.Millisecond
				z := []*crashZone{p.source, p.target}[random.IntN(2)]
				time.Sleep(pause)
				_ = p.die(z)()
				all = append(all, fmt.Sprint(z.name, " after ", pause))
			}
			killed <- strings.Join(all, ", ")
		}()
		settle := p.settle(spaces.PromotionDeployed)
		err = inOrder(p.promote(crashVersion, false), p.accept, p.deploy(false), settle)
		moments := <-killed // before the servers are taken away
		if err == nil {
			err = inOrder(p.serves(p.source), p.serves(p.target), settle)
		}
		p.note = fmt.Sprintf("CRASH_SEED=%d: killed %s", seed, moments)
		return err
	}
}

// own tells which states are a case of their own in a story though another story, of a
// pair that is linked in another way, has it: what the way of the release has to do with.
func (s crashStory) own(state string) bool {
	kind, _, _ := strings.Cut(state, " ")
	switch s.name + " " + s.way {
	case "deployed push":
		return slices.Contains([]string{"promotion", "outbox", "inbox", "inbound", "want", "receipt"}, kind)
	case "carried pull":
		return kind == "promotion" || kind == "inbound"
	}
	return false
}

// crashCase is a story in which one server is killed when it has stored a state.
type crashCase struct {
	story crashStory
	zone  string
	at    []string // states that one commit brought; the first is where it dies
}

func (c crashCase) name() string {
	return strings.ReplaceAll(c.story.name+" by "+c.story.way+"/"+c.zone+" at "+strings.Join(c.at, ", "), " ", "_")
}

// TestCrash kills either server, with SIGKILL, behind each commit that brought a state
// which none had before, in stories that come by every state of a promotion and of a
// deployment. Each time the server is started again, and what is left in the end is what
// the same story leaves without a crash: the same rows on both sides, each script and
// each package once for every time that it was asked for.
func TestCrash(t *testing.T) {
	t.Parallel()
	pairs := make(chan *pair, 2)
	dir := t.TempDir()
	for _, err := range together(cap(pairs), func(i int) error {
		p, err := newPair(t, filepath.Join(dir, strconv.Itoa(i)))
		pairs <- p
		return err
	}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	type told struct {
		left string
		seen map[string][][]string // zone → its commits
		err  error
	}
	references := together(len(crashStories), func(i int) told {
		p := <-pairs
		defer func() { pairs <- p }()
		left, err := p.run(crashCase{story: crashStories[i]})
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, p.account())
		}
		seen := map[string][][]string{}
		for _, z := range []*crashZone{p.source, p.target} {
			b, rerr := os.ReadFile(p.seen(z))
			if rerr != nil && !errors.Is(rerr, fs.ErrNotExist) && err == nil { // one that stored no state is fine
				err = rerr
			}
			for line := range strings.Lines(string(b)) {
				seen[z.name] = append(seen[z.name], strings.Split(strings.TrimSpace(line), "\t"))
			}
		}
		return told{left, seen, err}
	})
	var cases []crashCase
	left := map[string]string{}
	known := map[string]bool{} // way, zone and state
	all := map[string]bool{}
	for i, s := range crashStories {
		r := references[i]
		if r.err != nil {
			t.Fatalf("%s by %s, without a crash: %v", s.name, s.way, r.err)
		}
		left[s.name+s.way] = r.left
		for _, zone := range slices.Sorted(maps.Keys(r.seen)) {
			for _, commit := range r.seen[zone] {
				var at []string
				for _, state := range commit {
					key := zone + " " + state
					if s.own(state) {
						key = s.name + " " + s.way + " " + key
					}
					if !known[key] {
						known[key] = true
						at = append(at, state)
					}
					all[state] = true
				}
				if len(at) > 0 {
					cases = append(cases, crashCase{s, zone, at})
				}
			}
		}
	}
	everyState(t, all)
	t.Logf("%d cases", len(cases))
	for name, tell := range crashed {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			p := <-pairs
			defer func() { pairs <- p }()
			got, err := p.run(crashCase{story: crashStory{"deployed", "pull", tell}})
			if err != nil {
				t.Fatalf("%v\n%s", err, p.account())
			}
			if p.note != "" {
				t.Log(p.note)
			}
			if d := difference(left["deployedpull"], got); d != "" {
				t.Errorf("left besides (+) and not left (-), against the same without a crash:\n%s\n%s", d, p.account())
			}
		})
	}
	for _, c := range cases {
		t.Run(c.name(), func(t *testing.T) {
			t.Parallel()
			p := <-pairs
			defer func() { pairs <- p }()
			got, err := p.run(c)
			if err != nil {
				t.Fatalf("%v\n%s", err, p.account())
			}
			if d := difference(left[c.story.name+c.story.way], got); d != "" {
				t.Errorf("left besides (+) and not left (-), against the same without a crash:\n%s\n%s", d, p.account())
			}
		})
	}
}

// together does n things at once and returns what they made.
func together[T any](n int, f func(i int) T) []T {
	out := make([]T, n)
	var group sync.WaitGroup
	for i := range out {
		group.Go(func() { out[i] = f(i) })
	}
	group.Wait()
	return out
}

// unreached are states of the code that no story comes by, and why.
var unreached = map[string]string{
	"inbound needs input":       "worked out of what is stored: a verified one that asks for values",
	"inbound awaiting approval": "worked out of what is stored: a verified one with fewer approvals than its link asks for",
	"task TimedOut":             "it is never started: TestQueueTimeExpiry",
	"execution absent":          "the answer of a target that knows nothing of it; app/runner",
	"execution accepted":        "so short that the server mostly hears of the next one first; agents are killed there in app/targets",
	"run Skipped":               "a rolling step; one decision of the engine, taken in the commit that ends another run",
	"step Canceled":             "taken in the commit that ends the deployment",
	"deployment Canceled":       "taken in the commit that ends the task",
}

// everyState wants each state that the code has a name for to be one at which some server
// was killed, so that a new one comes with a case.
func everyState(t *testing.T, seen map[string]bool) {
	t.Helper()
	for _, x := range []struct{ file, kind, as string }{
		{"../spaces/promotion.go", "PromotionState", "promotion"},
		{"../spaces/mailbox.go", "OutboxState", "outbox"},
		{"../spaces/inbound.go", "InboundState", "inbound"},
		{"../spaces/inbound.go", "WantState", "want"},
		{"../spaces/task.go", "TaskState", "task"},
		{"../spaces/deploy/state.go", "Status", "deployment"},
		{"../spaces/deploy/state.go", "WorkState", "work"},
		{"../spaces/execution/spec.go", "State", "execution"},
	} {
		states := constants(t, x.file, x.kind)
		if len(states) < 2 {
			t.Errorf("%s has no constants of type %s", x.file, x.kind)
		}
		for _, s := range states {
			name := x.as + " " + s
			reached := seen[name]
			if x.as == "outbox" {
				reached = seen["outbox bundle "+s] || seen["outbox receipt "+s]
			}
			if x.kind == "WorkState" { // steps and runs have the same
				reached = reached || seen["step "+s] || seen["run "+s]
			}
			if _, excused := unreached[name]; !reached && !excused && s != "" {
				t.Errorf("no story comes by '%s': add one, so that a server is killed there", name)
			}
		}
	}
}

// constants reads the values of the constants of a type.
func constants(t *testing.T, file, kind string) (values []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == kind {
				text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, text)
			}
		}
	}
	return values
}

// run tells a story on fresh folders and returns what is left.
func (p *pair) run(c crashCase) (string, error) {
	p.note = ""
	if err := p.fresh(c.story.way, c); err != nil {
		return "", err
	}
	if err := c.story.tell(p); err != nil {
		return "", err
	}
	if c.zone != "" {
		// The last states of a story are seen before the server is gone.
		if err := p.zone(c.zone).diedAndCameBack(); err != nil {
			return "", fmt.Errorf("killed at %s: %w", c.at[0], err)
		}
	}
	return p.leftovers()
}

// account is what the two servers said.
func (p *pair) account() string {
	out := p.note + "\n"
	for _, z := range []*crashZone{p.source, p.target} {
		if z.running != nil {
			out += "--- " + z.name + "\n" + z.running.said()
		}
		b, _ := os.ReadFile(p.seen(z))
		out += "stored:\n" + string(b)
	}
	left, err := p.leftovers()
	return out + fmt.Sprintf("--- left, %v\n%s", err, left)
}

func inOrder(steps ...func() error) error {
	for _, s := range steps {
		if err := s(); err != nil {
			return err
		}
	}
	return nil
}

// The steps of stories. Each goes on where its server died in the middle of it.

func (p *pair) promote(version string, byHand bool) func() error {
	return func() error {
		var id string
		err := patiently("the release is read", func() (read bool, err error) {
			id, err = p.source.rows(`SELECT 'Releases-'||id FROM release WHERE version = '` + version + `'`)
			return err == nil, nil // its file cannot be read at each moment of a start
		})
		if err != nil {
			return err
		}
		return p.source.once(`SELECT count(*) FROM promotion WHERE version = '`+version+`'`, func() error {
			return p.source.in(http.MethodPost, "/zones/promotions", object{"ReleaseId": id, "Link": "Links-1", "ByHand": byHand}, nil)
		})
	}
}

// verified waits until nothing is missing of what came last.
func (p *pair) verified() error {
	return p.target.await("the last release is whole", `SELECT state IN ('verified', 'accepted') FROM inbound ORDER BY id DESC LIMIT 1`)
}

// laterWhole waits until nothing is missing of the later release.
func (p *pair) laterWhole() error {
	return p.target.await("the later release is whole", `SELECT count(*) FROM inbound WHERE version = '`+laterVersion+`' AND state = 'verified'`)
}

// acked waits until the source was told that its message is there.
func (p *pair) acked() error {
	return p.source.await("the message is acknowledged", `SELECT count(*) FROM zone_outbox WHERE kind = 'bundle' AND state = 'acked'`)
}

func (p *pair) succeeded() error {
	return p.target.await("the deployment has succeeded", `SELECT count(*) FROM task WHERE kind = 'Deploy' AND state = 'Success'`)
}

func (p *pair) superseded() error {
	return p.target.await("the later release has come", `SELECT count(*) FROM inbound WHERE state = 'superseded'`)
}

func (p *pair) accept() error {
	if err := p.verified(); err != nil {
		return err
	}
	return p.target.once(`SELECT count(*) FROM inbound WHERE state = 'accepted'`, func() error {
		return p.target.in(http.MethodPost, "/zones/inbox/Inbound-1/accept", object{"Values": object{}}, nil)
	})
}

func (p *pair) recall() error {
	return p.source.once(`SELECT count(*) FROM promotion WHERE recalled_at IS NOT NULL`, func() error {
		return p.source.in(http.MethodPost, "/zones/promotions/Promotions-1/recall", object{"Reason": "It loses orders."}, nil)
	})
}

func (p *pair) reject() error {
	if err := p.verified(); err != nil {
		return err
	}
	return p.target.once(`SELECT count(*) FROM inbound WHERE state = 'rejected'`, func() error {
		return p.target.in(http.MethodPost, "/zones/inbox/Inbound-1/reject", object{"Reason": "Not before Monday."}, nil)
	})
}

func (p *pair) deploy(guided bool) func() error {
	return func() error {
		return p.target.once(`SELECT count(*) FROM deployment`, func() error {
			return p.target.in(http.MethodPost, "/deployments/create/untenanted/v1", object{"projectName": "source: Shop", "releaseVersion": crashVersion, "environmentNames": []string{"Production"}, "useGuidedFailure": guided}, nil)
		})
	}
}

func (p *pair) raise(flag string) func() error {
	return func() error { return os.WriteFile(p.flag(flag), nil, 0o600) }
}

func (p *pair) lower(flag string) func() error {
	return func() error { return os.Remove(p.flag(flag)) }
}

// marked waits until n scripts have begun.
func (p *pair) marked(n int) func() error {
	return func() error {
		return patiently(fmt.Sprintf("%d scripts run", n), func() (bool, error) {
			b, _ := os.ReadFile(p.marks())
			return strings.Count(string(b), "\n") >= n, nil
		})
	}
}

// heard waits until the log has what both scripts said: a power cut loses what is on its
// way from a script to the log beside it.
func (p *pair) heard() error {
	return patiently("both scripts are heard", func() (bool, error) {
		lines, err := p.target.told()
		n := 0
		for _, l := range lines {
			if strings.HasSuffix(l, "script is done here") {
				n++
			}
		}
		return n >= 2 && err == nil, nil // it may read half a line
	})
}

func (p *pair) asked(n int) func() error {
	return func() error {
		return p.target.await("a person is asked", fmt.Sprintf(`SELECT count(*) = %d FROM interruption WHERE answered_at IS NULL`, n))
	}
}

// answer answers the open question about an agent.
func (p *pair) answer(agent, with string) func() error {
	return func() error {
		id, err := p.target.rows(`SELECT 'Interruptions-'||id FROM interruption WHERE answered_at IS NULL AND title LIKE '%''` + agent + `''%'`)
		if err != nil {
			return err
		}
		return p.target.once(`SELECT count(*) FROM interruption WHERE answer = '`+with+`'`, func() error {
			return p.target.in(http.MethodPost, "/interruptions/"+id+"/submit", object{"Guidance": with}, nil)
		})
	}
}

func (p *pair) cancel() error {
	id, err := p.target.rows(`SELECT 'ServerTasks-'||task_id FROM deployment`)
	if err != nil {
		return err
	}
	return p.target.once(`SELECT count(*) FROM task WHERE canceled_by <> ''`, func() error {
		return p.target.in(http.MethodPost, "/tasks/"+id+"/cancel", object{}, nil)
	})
}

func (p *pair) pause(state string) func() error {
	return func() error { return inOrder(p.pauseAt(p.source, state), p.pauseAt(p.target, state)) }
}

// pauseAt pauses the link, or lets it go on, on one side. What the other side has to send
// waits in its outbox meanwhile.
func (p *pair) pauseAt(z *crashZone, state string) func() error {
	return func() error {
		return patiently("the link of "+z.name+" is "+state, func() (bool, error) {
			return z.in(http.MethodPost, "/zones/links/Links-1/state", object{"State": state}, nil) == nil, nil
		})
	}
}

// outbox holds the message of the promotion back, queues it again, or cancels it.
func (p *pair) outbox(state spaces.OutboxState) func() error {
	return func() error {
		if err := p.source.await("the message is signed", `SELECT count(*) FROM zone_outbox WHERE promotion_id = 1 AND state IN ('queued', 'held')`); err != nil {
			return err
		}
		return p.source.once(`SELECT count(*) FROM zone_outbox WHERE promotion_id = 1 AND state IN ('acked', '`+state+`')`, func() error {
			return p.source.in(http.MethodPost, "/zones/promotions/Promotions-1/state", object{"State": state}, nil)
		})
	}
}

// stays waits until the server that stored a state for the promotion serves, perhaps
// again, and is told by it that it stands there.
func (p *pair) stays(state spaces.PromotionState) func() error {
	return func() error {
		var is struct{ State string }
		err := patiently("the source serves", func() (bool, error) {
			return p.source.in(http.MethodGet, "/zones/promotions/Promotions-1", nil, &is) == nil, nil
		})
		if err == nil && is.State != state {
			err = fmt.Errorf("the promotion is %s, not %s", is.State, state)
		}
		return err
	}
}

// carry brings the bundle to the target as a file.
func (p *pair) carry() error {
	var file []byte
	err := patiently("the bundle is exported", func() (bool, error) {
		return p.source.in(http.MethodGet, "/zones/promotions/Promotions-1/bundle", nil, &file) == nil && len(file) > 0, nil
	})
	if err != nil {
		return err
	}
	return patiently("the bundle is imported", func() (bool, error) {
		return p.target.send(http.MethodPost, "/api/"+p.target.space+"/zones/inbox", "application/octet-stream", file, nil) == nil, nil
	})
}

// die kills a server, which comes back.
func (p *pair) die(z *crashZone) func() error {
	return func() error {
		z.mu.Lock()
		running := z.running
		z.mu.Unlock()
		running.kill()
		return nil
	}
}

// end kills a server that comes back when it is begun again.
func (p *pair) end(z *crashZone) func() error {
	return func() error { z.kill(); return nil }
}

func (p *pair) begin(z *crashZone) func() error {
	return func() error { return z.run("", p.seen(z)) }
}

// serves waits until a server answers, and a moment for whatever it thinks is left to do.
func (p *pair) serves(z *crashZone) func() error { return z.cameBack }

// killAgents kills both agents and starts them again; their scripts run on meanwhile.
func (p *pair) killAgents() error {
	for i, a := range p.agents {
		a.kill()
		if err := p.runAgent(i); err != nil {
			return err
		}
	}
	return nil
}

// powerCut kills the agents and all that they started, as when the machine loses power.
func (p *pair) powerCut() error {
	for i, a := range p.agents {
		a.kill()
		n, err := killBelow(p.roots[i])
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("no work runs in %s", p.roots[i])
		}
	}
	for i := range p.agents {
		if err := p.runAgent(i); err != nil {
			return err
		}
	}
	return nil
}

// killBelow kills every session whose first process works in a folder: the work that an
// agent with this root began. It returns how many.
func killBelow(root string) (n int, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	session := map[int][]int{}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // state, parent, group, session
		if err != nil || len(fields) < 4 {
			continue
		}
		if first, err := strconv.Atoi(fields[3]); err == nil {
			session[first] = append(session[first], pid)
		}
	}
	for first, pids := range session {
		dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", first))
		if err != nil || !strings.HasPrefix(dir, root+string(filepath.Separator)) {
			continue
		}
		n++
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return n, err
			}
		}
	}
	return n, nil
}

// settle waits until the promotion stands where it is to stand and neither side has
// anything left to do or to tell.
func (p *pair) settle(states ...spaces.PromotionState) func() error {
	return func() error {
		if err := p.source.await("the promotion is "+strings.Join(states, " or "), `SELECT count(*) > 0 AND sum(state NOT IN ('`+strings.Join(states, `', '`)+`')) = 0 FROM promotion`); err != nil {
			return err
		}
		for _, z := range []*crashZone{p.source, p.target} {
			if err := z.await("everything is delivered", `SELECT (SELECT count(*) FROM zone_outbox WHERE state = 'queued') + (SELECT count(*) FROM task WHERE state IN ('Queued', 'Executing', 'Cancelling')) = 0`); err != nil {
				return err
			}
		}
		// What was told is told whole: a receipt for each thing that happened there.
		var told string
		err := patiently("the events are counted", func() (counted bool, err error) {
			told, err = p.target.rows(`SELECT count(*) FROM event WHERE category IN ('BundleReceived', 'BundleAccepted', 'BundleRejected', 'BundleSuperseded', 'BundleRecalled', 'DeploymentStarted', 'DeploymentSucceeded', 'DeploymentFailed', 'DeploymentCanceled')`)
			return err == nil, nil
		})
		if err != nil || slices.Contains(states, spaces.PromotionRefused) {
			return err
		}
		if err := p.source.await("all receipts are here", `SELECT count(*) = `+told+` FROM receipt`); err != nil {
			return err
		}
		return p.target.await("all receipts are known to be there", `SELECT count(*) = 0 FROM zone_outbox WHERE state = 'queued'`)
	}
}
