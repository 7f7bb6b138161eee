package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/zones/pin"
)

// This file is where the rooms of the house are joined to the server.

// openPeopleDoor listens for browsers and API clients, and returns the URL under which
// they reach us.
func (s *server) openPeopleDoor(ctx context.Context, life *lifetime, stage *stage) (string, error) {
	config, certificate, err := webTLS(&s.cfg, s.data.keysFolder(), s.log, time.Now())
	if err != nil {
		return "", err
	}
	listener, err := listen(s.cfg.Listen, "--listen")
	if err != nil {
		return "", err
	}
	address := listener.Addr().String()
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	s.url = s.cfg.url(address)
	if certificate != nil && s.cfg.TLSCert == "" {
		s.webPin = pin.Of(certificate) // our own certificate: agents know it by its key
	}
	streams, endStreams := context.WithCancel(context.WithoutCancel(ctx))
	app, err := s.fiberApp(streams, strings.HasPrefix(s.url, "https://")) // by ourselves, or by a proxy in front
	if err != nil {
		endStreams()
		return "", err
	}
	life.loop(stage, "door for people", func(ctx context.Context) error {
		closed := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(closed)
			endStreams() // an open event stream would hold up the shutdown
			if err := app.ShutdownWithTimeout(s.cfg.Stop / 8); err != nil {
				s.log.Warn("door for people closed with requests open", "err", err)
			}
			_ = listener.Close() // where it was not served yet, shutting down closes nothing
		})
		err := app.Listener(listener)
		if !stop() {
			<-closed // Listener returns as soon as nobody new is let in
			if errors.Is(err, net.ErrClosed) {
				err = nil
			}
		}
		return err
	})
	return s.url, nil
}

// welcome tells whoever started the server where to go. A server without people gets a
// one-time token, with which the first administrator is created in the browser.
func (s *server) welcome(ctx context.Context, stdio Stdio, url string) error {
	people, err := s.instance.HasPeople(ctx)
	if err != nil {
		return err
	}
	if people {
		_, err = fmt.Fprintf(stdio.Out, "Octopuses serves at %s\n", url)
		return err
	}
	token, err := s.instance.SetupToken(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdio.Out, "Octopuses serves at %s\n\nOpen this once, to create the administrator and the first space:\n\n    %s%s?token=%s\n\n", url, url, views.SetupURL(), token)
	return err
}

// listen opens a port. flag is named in the error.
func listen(address, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "The server cannot listen on %s.", address).
			WithHint("Another program may have the port; choose another with %s.", flag)
	}
	return l, nil
}
