package app

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/spaces/execution"
)

func agentCommand() *command {
	return &command{
		name: "agent", summary: "Take deployments on this machine: register it as a target, and run the agent", def: "run",
		detail: "An agent takes work from the one server that it was registered with. A polling agent\n" +
			"connects to the server, a listening one waits for it. The page of an environment's\n" +
			"targets shows the command to register with.",
		sub: []*command{agentRegisterCommand(), agentRunCommand()},
	}
}

const (
	agentRoot = "octopuses-agent"
	agentStop = 10 * time.Second // budget of a shutdown; running work is not waited for
)

func agentRegisterCommand() *command {
	o := agent.RegisterOptions{Version: Version()}
	return &command{
		name: "register", args: "TOKEN", min: 1, max: 1,
		summary: "Register this machine as a target, once",
		detail:  "TOKEN is what the server shows for a new target. Registering makes the agent's key\nand writes its configuration; 'octopuses agent run' then does the work.",
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&o.Root, "root", agentRoot, "`folder` of the agent: its key, configuration and work")
			f.StringVar(&o.Name, "name", "", "`name` of the target; by default that of the machine")
			f.StringVar(&o.Listen, "listen", "", "`host:port` to listen on, as :10933; without it the agent polls the server")
			f.StringVar(&o.Address, "address", "", "`host:port` under which the server reaches a listening agent; by default the machine's name and the port of --listen")
		},
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			o.Token = args[0]
			r, err := agent.Register(ctx, o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(stdio.Out, "Registered as %s (%s) in the space %s. Now run it:\n\n    octopuses agent run --root %s\n", r.Name, r.MachineID, r.Space, o.Root)
			return err
		},
	}
}

func agentRunCommand() *command {
	var root, format, level string
	return &command{
		name: "run", summary: "Run the agent of this machine until it is stopped",
		detail: "Work that runs goes on when the agent is stopped, and the server hears of it when the\nagent is back.",
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&root, "root", agentRoot, "`folder` of the agent")
			f.StringVar(&format, "log-format", "auto", "text, json, or auto: text on a terminal")
			f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
		},
		run: func(ctx context.Context, stdio Stdio, _ []string) error {
			log := newLogger(stdio.Err, format, level, new(execution.Masker))
			notify := newNotifier(os.LookupEnv, log)
			a, err := agent.Open(agent.Options{Root: root, Version: Version(), Logger: log, Ready: func(address string) {
				log.Info("agent is ready", "address", address)
				notify.ready("ready at " + address)
			}})
			if err != nil {
				return err
			}
			life := newLifetime(log)
			stage := life.stage("agent", agentStop)
			life.loop(stage, "agent", a.Run)
			life.loop(stage, "watchdog", func(ctx context.Context) error {
				return notify.run(ctx, func(context.Context) error { return nil })
			})
			context.AfterFunc(ctx, func() { notify.stopping(agentStop) })
			return life.wait(ctx)
		},
	}
}
