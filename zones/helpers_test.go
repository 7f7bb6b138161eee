package zones_test

import "octopuses.dev/octopuses/spaces/deploy"

func phase(name, environment, link string) deploy.Phase {
	p := deploy.Phase{Name: name}
	if environment != "" {
		p.OptionalDeploymentTargets = []string{environment}
	}
	if link != "" {
		p.RemoteSpaces = []deploy.RemoteSpace{{ID: link, MinimumEnvironmentsBeforePromotion: 1}}
	}
	return p
}
