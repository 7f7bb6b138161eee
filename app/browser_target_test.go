package app

import (
	"bytes"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Somebody asks for a command and pastes it in a terminal as it stands: a real agent
// registers and runs, and the page says so, and that it is healthy, without being loaded
// again. The second command makes an agent that listens.
func testAddTarget(t *testing.T, b *browser, _ *shopSite) {
	s := newSite(t)
	ports := freePorts(t, 2)
	s.stop()
	s.config.Agents, s.config.AgentsAddress = ports[0], ports[0]
	s.start()
	p := b.tab(t)
	p.signIn(s)
	p.open(s.url + "/spaces/shop/new-environment")
	p.eval(`document.querySelector('#f-name').value = 'Test'; document.querySelector('main form').requestSubmit()`, nil)
	p.until(`location.pathname === '/spaces/shop/environments/test'`)
	for i, name := range []string{"web 'one'", "web-two"} {
		p.open(s.url + "/spaces/shop/new-target?environment=test")
		p.until(`document.querySelector('[name=environment]:checked') !== null`)
		p.eval(`document.querySelector('[name=tags]').value = 'web, linux'; document.querySelector('#f-name').value = "`+name+`"; document.querySelector('main form').requestSubmit()`, nil)
		p.until(`document.querySelectorAll('main .copy pre').length === 2 && document.querySelector('main').innerText.includes('Waiting for the machine')`)
		p.eval(`window.mark = 'not reloaded'`, nil)
		var commands []string
		p.eval(`[...document.querySelectorAll('main .copy pre')].map((e) => e.textContent)`, &commands)
		command := commands[i]
		if i == 1 { // the port of the page may be taken on this machine
			command = strings.Replace(command, "--listen :10933", "--listen "+ports[1]+" --address "+ports[1], 1)
		}
		var said bytes.Buffer
		agent := exec.Command("sh", "-c", command)
		agent.Dir, agent.Stdout, agent.Stderr, agent.SysProcAttr = t.TempDir(), &said, &said, &syscall.SysProcAttr{Setpgid: true}
		if err := agent.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = syscall.Kill(-agent.Process.Pid, syscall.SIGTERM) // the shell and the agent
			_ = agent.Wait()
			if t.Failed() {
				t.Logf("%s\n%s", command, said.String())
			}
		}()
		p.until(`document.querySelector('#registered').innerText.includes("` + name + ` has registered") && window.mark === 'not reloaded'`)
		if at := p.text(`document.querySelector('#targets a').pathname`); i == 0 {
			p.open(s.url + at)
			p.eval(`window.mark = 'not reloaded'`, nil)
			p.until(`document.querySelector('#target').innerText.includes('Healthy')`)
			// And once more by hand, with the task beside it.
			p.eval(`document.querySelector('form[action$="/check"] button').click()`, nil)
			p.until(`document.querySelectorAll('#target a[href*="/tasks/"]').length === 2 && document.querySelectorAll('#target td .t-good').length === 2`)
		}
	}
	p.open(s.url + "/spaces/shop/environments")
	p.until(`document.querySelector('#row-Environments-1 .counts').innerText.includes('2 healthy')`)
}
