package app

// commands are what a person may call, in the order of the help.
func commands() []*command {
	return []*command{
		serveCommand(),
		agentCommand(),
		demoCommand(),
		spaceCommand(),
		zoneCommand(),
		bundleCommand(),
		adminCommand(),
		configCommand(),
		versionCommand(),
		storefrontCommand(),
	}
}
