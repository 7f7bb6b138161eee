package zones_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/zones/pin"
)

const pushSize = 256 << 20 // bytes of a package that nothing shortens

// bare is the program that a push is compared with: mutual TLS 1.3, a file, SHA-256 of
// what arrives and fsync, and nothing else.
func bare(b *testing.B) (send func(content []byte)) {
	b.Helper()
	server, err := pin.New()
	if err != nil {
		b.Fatal(err)
	}
	client, err := pin.New()
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "file")
	srv := &http.Server{TLSConfig: pin.ServerConfig(server, func(string) bool { return true }), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Create(path)
		if err != nil {
			b.Error(err)
			return
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(io.MultiWriter(f, h), r.Body); err != nil {
			b.Error(err)
		}
		if err := f.Sync(); err != nil {
			b.Error(err)
		}
		fmt.Fprintf(w, "%x", h.Sum(nil))
	})}
	go srv.ServeTLS(l, "", "")
	b.Cleanup(func() { srv.Close() })
	config := pin.ClientConfig(client, server.Pin)
	config.NextProtos = []string{"http/1.1"}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	b.Cleanup(c.CloseIdleConnections)
	return func(content []byte) {
		sum := sha256.Sum256(content)
		res, err := c.Post("https://"+l.Addr().String(), "application/octet-stream", bytes.NewReader(content))
		if err != nil {
			b.Fatal(err)
		}
		defer res.Body.Close()
		if got, err := io.ReadAll(res.Body); err != nil || string(got) != fmt.Sprintf("%x", sum) {
			b.Fatalf("%s, %v", got, err)
		}
	}
}

// push promotes a release with this package over a new link, so that nothing can be left
// out, and returns the time from the asking to the verified release in the other inbox.
func push(b *testing.B, content []byte) time.Duration {
	dev, prod := newZone(b, "Dev", "Test"), newZone(b, "Prod", "Production")
	manager := spacetest.Manager()
	invite, err := dev.service.Invite(ctx, dev.space, manager, "Prod", "source", false, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := prod.service.Join(ctx, prod.space, manager, invite.String(), "Dev", "target"); err != nil {
		b.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- prod.service.RunLinks(run, prod.space) }()
	defer func() { stop(); <-done }()
	links, err := spaces.View(ctx, dev.space, manager, func(tx *spaces.ReadTx) ([]spaces.Link, error) { return tx.Links() })
	if err != nil {
		b.Fatal(err)
	}
	dev.lifecycle(links[0])
	r := dev.release(dev.shop(), "1.0.0", content)
	dev.deployed(r, spaces.TaskSuccess)
	eventually(b, "the link talks", func() bool {
		l, err := spaces.View(ctx, prod.space, manager, func(tx *spaces.ReadTx) ([]spaces.Link, error) { return tx.Links() })
		return err == nil && l[0].LastContactAt != nil
	})
	b.StartTimer()
	began := time.Now()
	if _, err := dev.service.Promote(ctx, dev.space, manager, r.ID, links[0].ID, false); err != nil {
		b.Fatal(err)
	}
	for {
		list, err := spaces.View(ctx, prod.space, manager, func(tx *spaces.ReadTx) ([]spaces.Inbound, error) { return tx.Inbox(10, spaces.Undecided...) })
		if err != nil || time.Since(began) > time.Minute {
			b.Fatal("it does not arrive: ", err)
		}
		if len(list) > 0 {
			b.StopTimer()
			return time.Since(began)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// BenchmarkPush pushes a package of 256 MiB to another zone, and in turn sends the same
// bytes by the bare program. Budget: at least 85 % of its speed (metric "ratio").
func BenchmarkPush(b *testing.B) {
	send := bare(b)
	content := make([]byte, pushSize)
	rand.NewChaCha8([32]byte{1}).Read(content)
	var ours, theirs time.Duration
	b.SetBytes(pushSize)
	n := 0
	for b.Loop() {
		b.StopTimer()
		began := time.Now()
		send(content)
		theirs += time.Since(began)
		ours += push(b, content)
		b.StartTimer()
		n++
	}
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
	b.ReportMetric(float64(n)*pushSize/theirs.Seconds()/1e6, "bare-MB/s")
}
