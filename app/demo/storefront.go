package demo

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// shop is the application as its files configure it.
type shop struct {
	Title, Greeting, Currency, Version, Release, Environment, Machine, Payments, KeyMark, Since string
	Catalogue                                                                                   []struct {
		Name, Note string
		Price      json.Number
	}
	listen string
	owner  int
}

// Serve is the application: it reads its configuration file and what stands beside it, and
// serves until ctx ends or its owner is gone.
func Serve(ctx context.Context, config string) error {
	folder := filepath.Dir(config)
	s, err := readShop(config)
	if err != nil {
		return fmt.Errorf("storefront: %w", err)
	}
	page, err := template.ParseFiles(filepath.Join(folder, "templates", "index.html"))
	if err != nil {
		return fmt.Errorf("storefront: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /assets/", http.FileServerFS(os.DirFS(folder)))
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s.status())
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if err := page.Execute(w, s); err != nil {
			fmt.Fprintln(os.Stderr, "storefront:", err)
		}
	})
	l, err := net.Listen("tcp", s.listen)
	if err != nil {
		return fmt.Errorf("storefront: %w", err)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if s.owner > 1 {
		go func() { // the demonstration leaves nothing running when it ends, however it ends
			for syscall.Kill(s.owner, 0) == nil {
				time.Sleep(time.Second)
			}
			cancel()
		}()
	}
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("storefront: %w", err)
	}
	return nil
}

// Status is what the application tells of itself.
type Status struct{ Version, Release, Environment, Machine, Greeting, Payments, Key string }

func (s *shop) status() Status {
	return Status{s.Version, s.Release, s.Environment, s.Machine, s.Greeting, s.Payments, s.KeyMark}
}

// Check waits until the application of a configuration file serves the version that lies
// beside it, and returns its answer.
func Check(ctx context.Context, config string, patience time.Duration) (string, error) {
	s, err := readShop(config)
	if err != nil {
		return "", fmt.Errorf("storefront: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var got Status
		body, err := fetch(ctx, "http://"+s.listen+"/api/status")
		if err == nil {
			if err = json.Unmarshal(body, &got); err == nil && got.Version == s.Version {
				return strings.TrimSpace(string(body)), nil
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("storefront %s does not serve at %s: %w", s.Version, s.listen, errors.Join(err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(io.LimitReader(res.Body, 1<<20))
}

func readShop(config string) (*shop, error) {
	folder := filepath.Dir(config)
	var settings struct {
		Storefront struct {
			Listen, Title, Greeting, Currency string
			Owner                             int
		}
		Payments struct{ Provider, Key string }
	}
	if err := readJSON(config, &settings); err != nil {
		return nil, err
	}
	s := &shop{Title: settings.Storefront.Title, Greeting: settings.Storefront.Greeting, Currency: settings.Storefront.Currency, Payments: settings.Payments.Provider, listen: settings.Storefront.Listen, owner: settings.Storefront.Owner, Since: time.Now().UTC().Format(time.RFC1123)}
	if key := settings.Payments.Key; key != "" {
		s.KeyMark = mark(key)
	}
	if err := readJSON(filepath.Join(folder, "catalogue.json"), &s.Catalogue); err != nil {
		return nil, err
	}
	version, err := os.ReadFile(filepath.Join(folder, "VERSION"))
	if err != nil {
		return nil, err
	}
	s.Version = strings.TrimSpace(string(version))
	f, err := os.Open(filepath.Join(folder, "config", "release.env"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		switch name {
		case "RELEASE":
			s.Release = value
		case "ENVIRONMENT":
			s.Environment = value
		case "MACHINE":
			s.Machine = value
		}
	}
	return s, nil
}

// mark shows which secret the application got without telling any of it.
func mark(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:4])
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}
