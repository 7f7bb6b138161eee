package packages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
)

// Blob is a stored file: the lower-case hex SHA-256 of its bytes, and their number.
type Blob struct {
	Digest string
	Size   int64
}

// Store is a folder of blobs: ab/abcdef…. It is safe for concurrent use, also by
// several processes.
type Store struct{ dir string }

// NewStore opens a store over a folder, which is created if needed.
func NewStore(dir string) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, "incoming"), 0o700); err != nil {
		return nil, fmt.Errorf("open package store: %w", err)
	}
	return &Store{dir}, nil
}

// CheckDigest is nil for 64 lower-case hex digits, and [errs.Invalid] otherwise.
// Nothing else ever becomes part of a path.
func CheckDigest(digest string) error {
	if len(digest) != 64 || strings.Trim(digest, "0123456789abcdef") != "" {
		return errs.New(errs.Invalid, "'%.80s' is no SHA-256 digest (64 lower-case hexadecimal digits).", digest)
	}
	return nil
}

// Path is where a blob is, or would be.
func (s *Store) Path(digest string) string {
	if CheckDigest(digest) != nil {
		return filepath.Join(s.dir, "invalid")
	}
	return filepath.Join(s.dir, digest[:2], digest)
}

// Has reports whether a blob is there.
func (s *Store) Has(digest string) bool {
	info, err := os.Stat(s.Path(digest))
	return err == nil && info.Mode().IsRegular()
}

// Open opens a blob for reading. The error is [errs.NotFound] when it is not there.
func (s *Store) Open(digest string) (*os.File, error) {
	f, err := os.Open(s.Path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.Missing("package file", digest)
	}
	return f, err
}

// Verify reads a blob and compares its bytes with its name. The error is
// [errs.Unavailable] and names the digest that was found.
func (s *Store) Verify(ctx context.Context, digest string) error {
	f, err := s.Open(digest)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, reader{ctx, f}); err != nil {
		return fmt.Errorf("verify %s: %w", digest, err)
	}
	if found := hex.EncodeToString(h.Sum(nil)); found != digest {
		return errs.New(errs.Unavailable, "The stored package file %s is damaged: its bytes hash to %s.", digest, found).WithHint("Remove it and push or promote the package again.")
	}
	return nil
}

// Put stores what r gives, at most limit bytes. Errors: [errs.TooLarge],
// [errs.Unavailable] for a full disk. Nothing is left behind by a failure.
func (s *Store) Put(ctx context.Context, r io.Reader, limit int64) (Blob, error) {
	return s.PutChecked(ctx, r, limit, func(string, Blob) error { return nil })
}

// PutChecked is Put for bytes that are stored only if check agrees: it is called once,
// with the path of the file that has all of them, and may read it. Its error is given on,
// and nothing is left behind.
func (s *Store) PutChecked(ctx context.Context, r io.Reader, limit int64, check func(file string, b Blob) error) (Blob, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, "incoming"), "put-")
	if err != nil {
		return Blob{}, diskError(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(reader{ctx, r}, oneMore(limit)))
	if err != nil {
		return Blob{}, diskError(err)
	}
	if n > limit {
		return Blob{}, TooLarge(limit)
	}
	b := Blob{hex.EncodeToString(h.Sum(nil)), n}
	if err := check(f.Name(), b); err != nil {
		return Blob{}, err
	}
	return b, s.settle(f, b.Digest)
}

// oneMore is the byte that tells "as much as allowed" from "more"; without overflow,
// which would turn no limit into nothing at all.
func oneMore(limit int64) int64 {
	if limit == math.MaxInt64 {
		return limit
	}
	return limit + 1
}

// TooLarge is the refusal of more than limit bytes.
func TooLarge(limit int64) error {
	return errs.New(errs.TooLarge, "The file is larger than the limit of %s.", Bytes(limit)).WithHint("Make it smaller, or ask the operator of the server to raise the limit.")
}

// Bytes renders a number of bytes for people.
func Bytes(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 40, "TB"}, {1 << 30, "GB"}, {1 << 20, "MB"}, {1 << 10, "KB"}} {
		if n >= u.size {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/float64(u.size)), ".0") + " " + u.name
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// settle makes a written temporary file durable under its digest.
func (s *Store) settle(f *os.File, digest string) error {
	if s.Has(digest) {
		return nil
	}
	if err := errors.Join(f.Chmod(0o600), f.Sync()); err != nil {
		return diskError(err)
	}
	to := s.Path(digest)
	if err := os.Mkdir(filepath.Dir(to), 0o700); err == nil {
		if err := syncDir(s.dir); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return diskError(err)
	}
	if err := os.Rename(f.Name(), to); err != nil {
		return diskError(err)
	}
	return syncDir(filepath.Dir(to))
}

// syncDir makes the names in a folder survive a power cut.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return diskError(err)
	}
	return errors.Join(diskError(dir.Sync()), dir.Close())
}

// A blob may also arrive in parts and over days: Partial says how much is there,
// Append adds, Finish checks and settles.

func (s *Store) part(digest string) string {
	return filepath.Join(s.dir, "incoming", "part-"+digest)
}

// Partial is how many bytes of an unfinished blob are there.
func (s *Store) Partial(digest string) int64 {
	info, err := os.Stat(s.part(digest))
	if err != nil {
		return 0
	}
	return info.Size()
}

// Append adds bytes at offset, up to a total of size, and returns the new total.
// The error is [errs.Stale] when offset is not what is there, and [errs.TooLarge]
// for more than size. What arrived before an error of r is kept.
func (s *Store) Append(ctx context.Context, digest string, offset, size int64, r io.Reader) (int64, error) {
	if err := CheckDigest(digest); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(s.part(digest), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return 0, diskError(err)
	}
	defer f.Close()
	if err := lock(f); err != nil {
		return 0, err
	}
	have, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, diskError(err)
	}
	if have != offset {
		return have, errs.New(errs.Stale, "%d bytes are here, not %d.", have, offset)
	}
	n, err := io.Copy(f, io.LimitReader(reader{ctx, r}, oneMore(size-offset)))
	total := offset + n
	if total > size {
		return offset, errors.Join(diskError(f.Truncate(offset)), errs.New(errs.TooLarge, "More than the declared %d bytes arrived.", size))
	}
	if serr := f.Sync(); err == nil {
		err = serr
	}
	return total, diskError(err)
}

// lock holds a part file against other connections and processes until it is closed.
func lock(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errs.New(errs.Busy, "This package file is already being received.").WithHint("Try again in a moment.")
	}
	return nil
}

// Finish checks a blob that arrived in parts and settles it. Bytes that do not hash
// to digest are thrown away; the error is [errs.Invalid] and names both digests.
func (s *Store) Finish(ctx context.Context, digest string, size int64) error {
	if err := CheckDigest(digest); err != nil {
		return err
	}
	if s.Has(digest) {
		os.Remove(s.part(digest))
		return nil
	}
	f, err := os.OpenFile(s.part(digest), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return errs.New(errs.Stale, "0 of %d bytes are here.", size)
	}
	if err != nil {
		return diskError(err)
	}
	defer f.Close()
	// Without the lock, bytes appended after the hash was taken would settle too.
	if err := lock(f); err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(h, reader{ctx, f})
	if err != nil {
		return diskError(err)
	}
	if n < size {
		return errs.New(errs.Stale, "%d of %d bytes are here.", n, size)
	}
	if found := hex.EncodeToString(h.Sum(nil)); found != digest || n != size {
		os.Remove(f.Name())
		return wrongDigest(digest, found)
	}
	return s.settle(f, digest)
}

func wrongDigest(want, found string) error {
	return errs.New(errs.Invalid, "The bytes that arrived hash to %s, not to %s.", found, want).WithHint("They were damaged on the way or are of another file; send them again.")
}

// PutExpected stores what r gives if it hashes to digest. Errors: [errs.Invalid]
// for other bytes, [errs.TooLarge] for more than size.
func (s *Store) PutExpected(ctx context.Context, r io.Reader, digest string, size int64) error {
	f, err := os.CreateTemp(filepath.Join(s.dir, "incoming"), "put-")
	if err != nil {
		return diskError(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(reader{ctx, r}, oneMore(size)))
	if err != nil {
		return diskError(err)
	}
	if n > size {
		return errs.New(errs.TooLarge, "More than the declared %d bytes arrived.", size)
	}
	if found := hex.EncodeToString(h.Sum(nil)); found != digest {
		return wrongDigest(digest, found)
	}
	return s.settle(f, digest)
}

// Remove deletes a blob; one that is not there is no error.
func (s *Store) Remove(digest string) error {
	if err := CheckDigest(digest); err != nil {
		return err
	}
	if err := os.Remove(s.Path(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove package file: %w", err)
	}
	return nil
}

// Sweep removes unfinished files that nobody touched since a time.
func (s *Store) Sweep(before time.Time) (removed int, err error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "incoming"))
	if err != nil {
		return 0, fmt.Errorf("sweep package store: %w", err)
	}
	for _, e := range entries {
		if info, ierr := e.Info(); ierr == nil && info.ModTime().Before(before) {
			if os.Remove(filepath.Join(s.dir, "incoming", e.Name())) == nil {
				removed++
			}
		}
	}
	return removed, nil
}

// Abandoned removes files that were on their way in, from their beginning, when a process
// ended before a time. Parts of files that can be gone on with stay.
func (s *Store) Abandoned(before time.Time) error {
	files, err := filepath.Glob(filepath.Join(s.dir, "incoming", "put-*"))
	if err != nil {
		return err
	}
	var all []error
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.ModTime().Before(before) {
			all = append(all, os.Remove(f))
		}
	}
	return errors.Join(all...)
}

// Digests lists all blobs.
func (s *Store) Digests() ([]string, error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "??", "*"))
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(names))
	for _, n := range names {
		if CheckDigest(filepath.Base(n)) == nil {
			out = append(out, filepath.Base(n))
		}
	}
	return out, nil
}

// NewHash is the hash that names blobs.
func NewHash() hash.Hash { return sha256.New() }

func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errs.Wrap(errs.Unavailable, err, "The disk of the server is full.").WithHint("Free some space on the disk that holds the data directory; nothing was stored.")
	}
	return err
}

// reader ends with ctx.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
