package spaces

import (
	"strings"
)

// ListOptions choose and page a list; zero values choose all.
type ListOptions struct {
	IDs         []string // only these API ids
	Name        string   // exact, without case
	PartialName string   // part of the name, without case; whole names first
	Skip        int
	Take        int // at most so many; 0: 30. All callers clamp to 10,000
}

// MaxTake is the most rows that one page holds, whatever a client asks for.
const MaxTake = 10_000

// All chooses everything.
var All = ListOptions{Take: MaxTake}

// Page is a part of a list and the number of all rows that match.
type Page[T any] struct {
	Items []T
	Total int
	Skip  int
	Take  int
}

// filter collects the conditions of a list query.
type filter struct {
	where []string
	args  []any
}

func (f *filter) add(clause string, args ...any) {
	f.where = append(f.where, clause)
	f.args = append(f.args, args...)
}

// ids restricts to API ids with a prefix; texts that are no such ids match nothing.
func (f *filter) ids(column, prefix string, ids []string) {
	if len(ids) == 0 {
		return
	}
	marks := make([]string, 0, len(ids))
	args := make([]any, 0, len(ids))
	for _, id := range ids {
		if n, ok := cutID(prefix, id); ok {
			marks = append(marks, "?")
			args = append(args, n)
		}
	}
	f.add(column+" IN ("+strings.Join(marks, ", ")+")", args...)
}

func (f *filter) names(column string, o ListOptions) {
	if o.Name != "" {
		f.add(column+" = ? COLLATE NOCASE", o.Name)
	}
	if o.PartialName != "" {
		f.add(column+` LIKE ? ESCAPE '\'`, like(o.PartialName))
	}
}

func (f *filter) sql() string {
	if len(f.where) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(f.where, " AND ")
}

// pageOf runs "SELECT columns FROM from WHERE ... ORDER BY order LIMIT ... OFFSET".
// A whole match of PartialName on nameColumn comes first, since clients look for it
// in the first page.
func pageOf[T any](tx *ReadTx, scan func(func(...any) error) (T, error), columns, from, nameColumn, order string, f filter, o ListOptions) (Page[T], error) {
	p := Page[T]{Skip: max(o.Skip, 0), Take: o.Take}
	if p.Take <= 0 {
		p.Take = 30
	}
	p.Take = min(p.Take, MaxTake)
	args := f.args
	if o.PartialName != "" {
		order = "(" + nameColumn + " = ? COLLATE NOCASE) DESC, " + order
		args = append(append([]any{}, args...), o.PartialName)
	}
	var err error
	p.Items, err = list(tx, scan, "SELECT "+columns+" FROM "+from+f.sql()+" ORDER BY "+order+" LIMIT ? OFFSET ?", append(append([]any{}, args...), p.Take, p.Skip)...)
	if err != nil {
		return p, err
	}
	if p.Skip == 0 && len(p.Items) < p.Take {
		p.Total = len(p.Items)
		return p, nil
	}
	p.Total, err = one[int](tx, "SELECT count(*) FROM "+from+f.sql(), f.args...)
	return p, err
}
