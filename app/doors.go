package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
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
	app, err := s.fiberApp(streams, config != nil)
	if err != nil {
		endStreams()
		return "", err
	}
	life.loop(stage, "door for people", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() {
			endStreams() // an open event stream would hold up the shutdown
			if err := app.ShutdownWithTimeout(s.cfg.Stop / 8); err != nil {
				s.log.Warn("door for people closed with requests open", "err", err)
			}
		})
		defer stop()
		return app.Listener(listener)
	})
	return s.url, nil
}

// welcome tells whoever started the server where to go.
func (s *server) welcome(_ context.Context, _ Stdio, _ string) error { return nil }

// probes answer those who watch the server: /healthz while the process works, /readyz
// while it can serve requests.
func (s *server) probes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := s.healthy(ctx); err != nil {
			s.log.Error("not ready", "err", err)
			http.Error(w, "not ready: the server's own file does not answer", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	return mux
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

// serveHTTP serves until ctx ends and then lets running requests end within patience.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, patience time.Duration) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		limit, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stopped <- server.Shutdown(limit)
	})
	err := server.Serve(l)
	if stop() { // nobody asked for it
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	if err := <-stopped; err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
