package api

import (
	"net/url"
	"strconv"
	"strings"

	"octopuses.dev/octopuses/spaces"
)

// envelope is a page of a list. LastPageNumber counts from 0.
type envelope[R any] struct {
	ItemType       string `json:"ItemType"`
	TotalResults   int    `json:"TotalResults"`
	ItemsPerPage   int    `json:"ItemsPerPage"`
	NumberOfPages  int    `json:"NumberOfPages"`
	LastPageNumber int    `json:"LastPageNumber"`
	Items          []R    `json:"Items"`
	Links          links  `json:"Links"`
}

// pageOf wraps a page of a store. The last page has no Page.Next: a client would
// otherwise ask for ever.
func pageOf[T, R any](r *request, itemType string, p spaces.Page[T], resource func(T) R) envelope[R] {
	e := envelope[R]{ItemType: itemType, TotalResults: p.Total, ItemsPerPage: p.Take, Items: make([]R, 0, len(p.Items)), Links: links{}}
	for _, v := range p.Items {
		e.Items = append(e.Items, resource(v))
	}
	e.NumberOfPages = max(1, (p.Total+p.Take-1)/p.Take)
	e.LastPageNumber = e.NumberOfPages - 1
	at := func(skip int) string { return r.pageURL(skip, p.Take) }
	self := r.s.prefix() + string(r.Request().URI().Path())
	e.Links["Self"] = at(p.Skip)
	e.Links["Template"] = self + "{?skip,take,ids,partialName}"
	e.Links["Page.All"] = at(0)
	e.Links["Page.Current"] = at(p.Skip)
	e.Links["Page.Last"] = at(e.LastPageNumber * p.Take)
	if p.Skip > 0 {
		e.Links["Page.Previous"] = at(max(0, p.Skip-p.Take))
	}
	// What the caller may not see is missing from Items and from Total alike.
	if p.Skip+len(p.Items) < p.Total {
		e.Links["Page.Next"] = at(p.Skip + p.Take)
	}
	return e
}

func (r *request) pageURL(skip, take int) string {
	var q []string
	r.Context().QueryArgs().VisitAll(func(k, v []byte) {
		if name := strings.ToLower(string(k)); name != "skip" && name != "take" {
			q = append(q, url.QueryEscape(string(k))+"="+url.QueryEscape(string(v)))
		}
	})
	q = append(q, "skip="+strconv.Itoa(skip), "take="+strconv.Itoa(take))
	return r.s.prefix() + string(r.Request().URI().PathOriginal()) + "?" + strings.Join(q, "&")
}

// slice pages a list that is held whole.
func slice[T any](r *request, all []T) spaces.Page[T] {
	o := r.options()
	take := o.Take
	if take <= 0 {
		take = 30
	}
	p := spaces.Page[T]{Total: len(all), Skip: o.Skip, Take: min(take, spaces.MaxTake)}
	if o.Skip < len(all) {
		p.Items = all[o.Skip:min(len(all), o.Skip+p.Take)]
	}
	return p
}

// listed answers a page of a store.
func listed[T, R any](r *request, itemType string, read func(tx *spaces.ReadTx, o spaces.ListOptions) (spaces.Page[T], error), resource func(T) R) error {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[T], error) { return read(tx, r.options()) })
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, itemType, p, resource))
}

// all answers everything as a bare array.
func all[T, R any](r *request, read func(tx *spaces.ReadTx, o spaces.ListOptions) (spaces.Page[T], error), resource func(T) R) error {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[T], error) { return read(tx, r.everything()) })
	if err != nil {
		return err
	}
	return r.ok(each(p.Items, resource))
}

func each[T, R any](items []T, f func(T) R) []R {
	out := make([]R, len(items))
	for i, v := range items {
		out[i] = f(v)
	}
	return out
}

func same[T any](v T) T { return v }

// matches keeps what partialName and name ask for, of lists that are held whole.
func (r *request) matches(name string) bool {
	if n := r.query("name"); n != "" && !strings.EqualFold(n, name) {
		return false
	}
	part := r.query("partialName")
	return part == "" || strings.Contains(strings.ToLower(name), strings.ToLower(part))
}

// asked keeps what ids ask for, of lists that are held whole.
func (r *request) asked(id string) bool {
	ids := r.list("ids")
	if len(ids) == 0 {
		return true
	}
	for _, want := range ids {
		if strings.EqualFold(want, id) {
			return true
		}
	}
	return false
}
