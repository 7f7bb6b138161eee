package variables

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// run is one evaluation.
type run struct {
	dict      *Dictionary
	sensitive bool
	missing   []string
	path      []string // names being expanded, for cycles
	loops     []loop   // innermost last
	written   int
}

// loop is the variable of an #{each}.
type loop struct {
	name   string // lower case
	prefix symbol // what it stands for: an indexed child of a name ...
	value  any    // ... or a JSON value
	isJSON bool
	text   string // its own text
	key    string
	index  int
	last   bool
	secret bool
}

func (r *run) text(nodes []node) (string, error) {
	if len(nodes) == 1 {
		if t, ok := nodes[0].(textNode); ok {
			return t.text, nil
		}
	}
	var b strings.Builder
	for _, n := range nodes {
		s, err := r.node(n)
		if err != nil {
			return "", err
		}
		if r.written += len(s); r.written > maxOutput {
			return "", &Error{Message: fmt.Sprintf("the result is longer than %d MB", maxOutput>>20)}
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

func (r *run) node(n node) (string, error) {
	switch n := n.(type) {
	case textNode:
		return n.text, nil
	case exprNode:
		v, ok, err := r.expr(n.expr)
		if err != nil {
			return "", err
		}
		if !ok {
			r.miss(n.src)
			return n.src, nil
		}
		return v, nil
	case condNode:
		for _, b := range n.branches {
			yes, err := r.cond(b.cond)
			if err != nil {
				return "", err
			}
			if yes != b.not {
				return r.text(b.body)
			}
		}
		return r.text(n.orElse)
	case eachNode:
		return r.each(n)
	case calcNode:
		v, ok, err := r.calc(n.text)
		if err != nil {
			return "", err
		}
		if !ok {
			return n.src, nil
		}
		return v, nil
	}
	return "", fmt.Errorf("unknown node %T", n)
}

func (r *run) miss(src string) {
	if !slices.Contains(r.missing, src) {
		r.missing = append(r.missing, src)
	}
}

func (r *run) cond(c cond) (bool, error) {
	left, err := r.operand(c.left)
	if err != nil || c.op == "" {
		return truthy(left), err
	}
	right, err := r.operand(c.right)
	return (left == right) == (c.op == "=="), err
}

func (r *run) operand(o operand) (string, error) {
	if o.quoted {
		return o.text, nil
	}
	v, _, err := r.expr(o.expr)
	return v, err
}

func (r *run) expr(e expr) (text string, ok bool, err error) {
	ok = true
	if len(e.symbol) > 0 {
		if text, ok, err = r.symbol(e.symbol); err != nil {
			return "", false, err
		}
	}
	for _, f := range e.filters {
		fn, known := filters[strings.ToLower(f.name)]
		if !known {
			return "", false, nil
		}
		if !ok && !fn.noInput {
			return "", false, nil
		}
		args := make([]string, len(f.options))
		for i, o := range f.options {
			args[i] = o.text
			if o.nodes != nil {
				if args[i], err = r.text(o.nodes); err != nil {
					return "", false, err
				}
			}
		}
		if text, ok = fn.apply(r.dict, text, args); !ok {
			return "", false, nil
		}
		if len(text) > maxOutput {
			return "", false, &Error{Message: fmt.Sprintf("the result is longer than %d MB", maxOutput>>20)}
		}
	}
	return text, ok, nil
}

// plain resolves indexes that are references and the variables of loops, and gives
// either the path of a variable or a JSON value.
func (r *run) plain(s symbol) (path symbol, value any, isJSON bool, err error) {
	path = make(symbol, 0, len(s))
	for _, seg := range s {
		if seg.inner != nil {
			text, ok, err := r.symbol(seg.inner)
			if err != nil {
				return nil, nil, false, err
			}
			if !ok {
				r.miss("#{" + seg.inner.String() + "}")
			}
			seg = segment{text: text, index: true}
		}
		path = append(path, seg)
	}
	for i := len(r.loops) - 1; i >= 0; i-- {
		l := &r.loops[i]
		if !strings.EqualFold(l.name, path[0].text) {
			continue
		}
		r.sensitive = r.sensitive || l.secret
		if l.isJSON {
			if len(path) == 1 {
				return path, l.text, true, nil
			}
			if len(path) == 2 && !path[1].index && l.key != "" {
				switch strings.ToLower(path[1].text) {
				case "key":
					return path, l.key, true, nil
				case "value":
					return path, l.value, true, nil
				}
			}
			v, ok := inside(l.value, path[1:])
			if !ok {
				return path, nil, true, nil
			}
			return path, v, true, nil
		}
		if len(path) == 1 {
			return path, l.text, true, nil
		}
		return append(slices.Clone(l.prefix), path[1:]...), nil, false, nil
	}
	return path, nil, false, nil
}

// symbol finds and expands the value of a reference.
func (r *run) symbol(s symbol) (string, bool, error) {
	path, value, isJSON, err := r.plain(s)
	if err != nil {
		return "", false, err
	}
	if isJSON {
		return renderJSON(value), true, nil
	}
	name := path.String()
	if v, ok := r.special(name); ok {
		return v, true, nil
	}
	for i, seg := range path {
		if seg.index && seg.text == "*" {
			if all := r.dict.children(path[:i].String()); len(all) > 0 {
				path[i].text = all[0]
				name = path.String()
			}
		}
	}
	if v, ok := r.dict.Get(name); ok {
		text, err := r.expand(name, v)
		return text, err == nil, err
	}
	// The longest prefix that holds JSON answers for what is inside it.
	for i := len(path) - 1; i > 0; i-- {
		v, ok := r.dict.Get(path[:i].String())
		if !ok {
			continue
		}
		text, err := r.expand(path[:i].String(), v)
		if err != nil {
			return "", false, err
		}
		doc, ok := asJSON(text)
		if !ok {
			return "", false, nil
		}
		found, _ := inside(doc, path[i:])
		return renderJSON(found), true, nil
	}
	return "", false, nil
}

func (r *run) expand(name string, v Value) (string, error) {
	r.sensitive = r.sensitive || v.Sensitive
	if !strings.Contains(v.Text, "#{") {
		return v.Text, nil
	}
	key := strings.ToLower(name)
	if i := slices.Index(r.path, key); i >= 0 {
		return "", &Error{Message: "the variables refer to each other in a circle: " + strings.Join(append(slices.Clone(r.path[i:]), key), " -> ")}
	}
	if len(r.path) >= maxDepth {
		return "", &Error{Message: fmt.Sprintf("variables refer to each other more than %d levels deep", maxDepth)}
	}
	nodes, err := parse(v.Text)
	if err != nil {
		return v.Text, nil // as Octopus: a malformed value is plain text
	}
	r.path = append(r.path, key)
	defer func() { r.path = r.path[:len(r.path)-1] }()
	return r.text(nodes)
}

// inside walks into a JSON value; names are compared without case.
func inside(v any, path symbol) (any, bool) {
	for _, seg := range path {
		switch x := v.(type) {
		case map[string]any:
			found := false
			if y, ok := x[seg.text]; ok {
				v, found = y, true
			} else {
				for _, k := range slices.Sorted(maps.Keys(x)) {
					if strings.EqualFold(k, seg.text) {
						v, found = x[k], true
						break
					}
				}
			}
			if !found {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(seg.text)
			if err != nil || i < 0 || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

func (r *run) special(name string) (string, bool) {
	if len(r.loops) == 0 {
		return "", false
	}
	l := r.loops[len(r.loops)-1]
	yes := func(b bool) string {
		if b {
			return "True"
		}
		return "False"
	}
	switch strings.ToLower(name) {
	case "octopus.template.each.index":
		return strconv.Itoa(l.index), true
	case "octopus.template.each.first":
		return yes(l.index == 0), true
	case "octopus.template.each.last":
		return yes(l.last), true
	}
	return "", false
}

func (r *run) each(n eachNode) (string, error) {
	items, err := r.items(n.in)
	if err != nil {
		return "", err
	}
	if len(r.loops) >= maxDepth {
		return "", &Error{Message: "loops are nested too deep"}
	}
	var b strings.Builder
	for i, l := range items {
		l.name, l.index, l.last = strings.ToLower(n.name), i, i == len(items)-1
		r.loops = append(r.loops, l)
		s, err := r.text(n.body)
		r.loops = r.loops[:len(r.loops)-1]
		if err != nil {
			return "", err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// items lists what an #{each} goes over: indexed children, a JSON array or object,
// or a text split at commas.
func (r *run) items(s symbol) ([]loop, error) {
	path, value, isJSON, err := r.plain(s)
	if err != nil {
		return nil, err
	}
	secret := false
	if !isJSON {
		name := path.String()
		if children := r.dict.children(name); len(children) > 0 {
			out := make([]loop, len(children))
			for i, c := range children {
				out[i] = loop{prefix: append(slices.Clone(path), segment{text: c, index: true}), text: c}
			}
			return out, nil
		}
		before := r.sensitive
		r.sensitive = false
		text, ok, err := r.symbol(s)
		secret = r.sensitive
		r.sensitive = r.sensitive || before
		if err != nil || !ok || text == "" {
			return nil, err
		}
		if value, isJSON = asJSON(text); !isJSON {
			value = text
		}
	}
	var out []loop
	switch v := value.(type) {
	case []any:
		for _, x := range v {
			out = append(out, loop{isJSON: true, value: x, text: renderJSON(x), secret: secret})
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			out = append(out, loop{isJSON: true, value: v[k], key: k, text: k, secret: secret})
		}
	case string:
		for _, part := range strings.Split(v, ",") {
			out = append(out, loop{isJSON: true, value: part, text: part, secret: secret})
		}
	case json.Number:
		out = append(out, loop{isJSON: true, value: v, text: v.String(), secret: secret})
	}
	return out, nil
}

// calc works out + - * / and parentheses over numbers and references. ok is false
// when an operand is missing or no number.
func (r *run) calc(text string) (string, bool, error) {
	c := &calculator{run: r, src: text}
	v, ok := c.sum()
	c.space()
	if c.err != nil {
		return "", false, c.err
	}
	if !ok || c.pos != len(c.src) {
		return "", false, nil
	}
	return strconv.FormatFloat(v, 'f', -1, 64), true, nil
}

type calculator struct {
	run   *run
	src   string
	pos   int
	depth int
	err   error
}

func (c *calculator) space() {
	for c.pos < len(c.src) && (c.src[c.pos] == ' ' || c.src[c.pos] == '\t') {
		c.pos++
	}
}

func (c *calculator) op(ops string) byte {
	c.space()
	if c.pos < len(c.src) && strings.IndexByte(ops, c.src[c.pos]) >= 0 {
		c.pos++
		return c.src[c.pos-1]
	}
	return 0
}

func (c *calculator) sum() (float64, bool) {
	v, ok := c.product()
	for ok {
		o := c.op("+-")
		if o == 0 {
			break
		}
		var w float64
		if w, ok = c.product(); o == '+' {
			v += w
		} else {
			v -= w
		}
	}
	return v, ok
}

func (c *calculator) product() (float64, bool) {
	v, ok := c.operand()
	for ok {
		o := c.op("*/")
		if o == 0 {
			break
		}
		var w float64
		if w, ok = c.operand(); o == '*' {
			v *= w
		} else {
			ok = ok && w != 0
			v /= w
		}
	}
	return v, ok
}

func (c *calculator) operand() (float64, bool) {
	if c.depth++; c.depth > maxDepth {
		return 0, false
	}
	defer func() { c.depth-- }()
	if c.op("(") != 0 {
		v, ok := c.sum()
		return v, ok && c.op(")") != 0
	}
	if c.op("-") != 0 {
		v, ok := c.operand()
		return -v, ok
	}
	c.space()
	start := c.pos
	name := ""
	if c.pos < len(c.src) && c.src[c.pos] == '{' {
		end := strings.IndexByte(c.src[c.pos:], '}')
		if end < 0 {
			return 0, false
		}
		name = c.src[c.pos+1 : c.pos+end]
		c.pos += end + 1
	} else {
		for c.pos < len(c.src) && strings.IndexByte("+-*/()", c.src[c.pos]) < 0 {
			c.pos++
		}
		name = c.src[start:c.pos]
	}
	name = strings.TrimSpace(name)
	if v, err := strconv.ParseFloat(name, 64); err == nil {
		return v, true
	}
	p := &parser{src: name}
	e, err := p.expr()
	if err != nil || p.pos != len(name) {
		return 0, false
	}
	text, ok, err := c.run.expr(e)
	if err != nil {
		c.err = err
		return 0, false
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	return v, ok && err == nil
}
