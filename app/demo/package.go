package demo

import (
	"archive/zip"
	"compress/flate"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"octopuses.dev/octopuses/spaces/versions"
)

//go:embed payload
var payload embed.FS

// PackageID is the id of the application's package.
const PackageID = "Storefront"

// program is the name of the application's program in its package.
const program = "storefront"

// PackageVersions are the versions that the demonstration deploys, oldest first. Each adds
// to the files of the one before what is in its folder of the payload.
var PackageVersions = [...]string{"1.0.0", "1.1.0", "1.2.0"}

// BuildPackage packs a version of the application into folder and returns the path of
// the file, as Storefront.1.1.0.zip. The program in it is the one that calls. The same
// program and version give the same bytes.
func BuildPackage(version, folder string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the running program: %w", err)
	}
	files, err := filesOf(version)
	if err != nil {
		return "", err
	}
	out := filepath.Join(folder, PackageID+"."+version+".zip")
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", fmt.Errorf("pack %s %s: %w", PackageID, version, err)
	}
	if err = errors.Join(pack(f, version, self, files), f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("pack %s %s: %w", PackageID, version, err), os.Remove(out))
	}
	return out, nil
}

// filesOf maps the names of a version's files to where they are in the payload.
func filesOf(version string) (map[string]string, error) {
	asked, err := versions.Parse(version)
	if err != nil {
		return nil, fmt.Errorf("version of the application: %w", err)
	}
	files := map[string]string{}
	for _, v := range PackageVersions {
		layer, err := versions.Parse(v)
		if err != nil {
			return nil, err
		}
		if versions.Compare(layer, asked) > 0 {
			break
		}
		root := path.Join("payload", v)
		err = fs.WalkDir(payload, root, func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files[p[len(root)+1:]] = p
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there is no version %s of the application; the first is %s", version, PackageVersions[0])
	}
	return files, nil
}

func pack(w io.Writer, version, self string, files map[string]string) error {
	z := zip.NewWriter(w)
	// The program is large and packed three times while people look on.
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	add := func(name string, mode fs.FileMode, r io.Reader) error {
		// A fixed time, so that the same version is the same file wherever it is made.
		h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(2017, time.May, 1, 0, 0, 0, 0, time.UTC)}
		h.SetMode(mode)
		to, err := z.CreateHeader(h)
		if err == nil {
			_, err = io.Copy(to, r)
		}
		return err
	}
	bin, err := os.Open(self)
	if err != nil {
		return err
	}
	defer bin.Close()
	if err := add(program, 0o755, bin); err != nil {
		return err
	}
	for _, n := range names {
		f, err := payload.Open(files[n])
		if err != nil {
			return err
		}
		if err := errors.Join(add(n, 0o644, f), f.Close()); err != nil {
			return err
		}
	}
	v, err := z.Create("VERSION")
	if err != nil {
		return err
	}
	if _, err := io.WriteString(v, version+"\n"); err != nil {
		return err
	}
	return z.Close()
}
