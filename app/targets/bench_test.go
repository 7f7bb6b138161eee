package targets_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/targets"
	"octopuses.dev/octopuses/app/targets/targettest"
	"octopuses.dev/octopuses/zones/pin"
)

func listening(b *testing.B) targets.Transport {
	b.Helper()
	server, _ := pin.New()
	root, reg := register(b, server, "127.0.0.1:0", "")
	tr, err := targets.NewDirectory(server, nil).Transport(targets.Machine{Style: "TentaclePassive", URI: "https://" + run(b, root) + "/", Thumbprint: reg.Thumbprint})
	if err != nil {
		b.Fatal(err)
	}
	return tr
}

// Budget: a median of 10 ms from Start to the end that the server sees, over a kept
// connection.
func BenchmarkTrivialScript(b *testing.B) {
	tr := listening(b)
	var all []time.Duration
	for b.Loop() {
		began := time.Now()
		s := targettest.Script("true")
		if _, err := tr.Start(context.Background(), s); err != nil {
			b.Fatal(err)
		}
		targettest.Finish(b, tr, s.ID)
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "median-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}

// Budget: at least a third of what writing, hashing and reading back the same bytes
// takes without any network (BenchmarkBarePut).
func BenchmarkPut100MB(b *testing.B) {
	tr := listening(b)
	content := make([]byte, 100<<20)
	rand.Read(content)
	b.SetBytes(int64(len(content)))
	for i := byte(0); b.Loop(); i++ {
		b.StopTimer()
		content[0] = i
		sum := sha256.Sum256(content)
		b.StartTimer()
		if _, err := tr.Put(context.Background(), hex.EncodeToString(sum[:]), int64(len(content)), bytes.NewReader(content)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBarePut is what BenchmarkPut100MB is compared with: a file written, synced
// and read back through SHA-256.
func BenchmarkBarePut(b *testing.B) {
	content := make([]byte, 100<<20)
	rand.Read(content)
	b.SetBytes(int64(len(content)))
	dir := b.TempDir()
	for b.Loop() {
		f, err := os.Create(filepath.Join(dir, "file"))
		if err != nil {
			b.Fatal(err)
		}
		f.Write(content)
		f.Sync()
		f.Seek(0, io.SeekStart)
		h := sha256.New()
		io.Copy(h, f)
		f.Close()
	}
}
