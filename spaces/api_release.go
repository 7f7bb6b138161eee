package spaces

import "strings"

// FillPackages gives each release of a list its packages, with one statement for a
// hundred releases.
func (tx *ReadTx) FillPackages(releases []Release) error {
	const batch = 100
	type row struct {
		release ReleaseID
		ReleasePackage
	}
	for from := 0; from < len(releases); from += batch {
		part := releases[from:min(len(releases), from+batch)]
		at := make(map[ReleaseID]int, len(part))
		args := make([]any, len(part))
		for i := range part {
			part[i].Packages = []ReleasePackage{}
			at[part[i].ID], args[i] = i, int64(part[i].ID)
		}
		rows, err := list(tx, func(scan func(...any) error) (row, error) {
			var v row
			err := scan(&v.release, &v.ActionName, &v.ReferenceName, &v.PackageID, &v.Version, &v.Extension, &v.Digest, &v.Size)
			return v, err
		}, `SELECT release_id, action_name, reference_name, package_id, version, extension, digest, size FROM release_package WHERE release_id IN (?`+strings.Repeat(", ?", len(part)-1)+`) ORDER BY release_id, action_name, reference_name`, args...)
		if err != nil {
			return err
		}
		for _, v := range rows {
			i := at[v.release]
			part[i].Packages = append(part[i].Packages, v.ReleasePackage)
		}
	}
	return nil
}
