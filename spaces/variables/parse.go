package variables

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of the language.
const (
	maxDepth    = 64       // levels of references and of nested blocks
	maxTemplate = 16 << 20 // bytes of a template
	maxOutput   = 64 << 20 // bytes of a result
)

// Error is a mistake in a template, or references that led nowhere. Offset is in
// bytes from 0; Line and Column count from 1, the column in characters.
type Error struct {
	Offset, Line, Column int
	Message              string
	Missing              []string // the references that have no value, as they were written
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// A template is a list of nodes.
type (
	node     interface{ source() string }
	textNode struct{ text string }
	exprNode struct {
		src  string
		expr expr
	}
	condNode struct {
		src      string
		branches []branch
		orElse   []node
	}
	branch struct {
		cond cond
		not  bool
		body []node
	}
	eachNode struct {
		src, name string
		in        symbol
		body      []node
	}
	calcNode struct{ src, text string }
)

func (n textNode) source() string { return n.text }
func (n exprNode) source() string { return n.src }
func (n condNode) source() string { return n.src }
func (n eachNode) source() string { return n.src }
func (n calcNode) source() string { return n.src }

// expr is a symbol with filters; the symbol may be absent before a filter.
type expr struct {
	symbol  symbol
	filters []filterCall
}

type filterCall struct {
	name    string
	options []option
}

type option struct {
	text  string
	nodes []node // a template as an option
}

// cond is an expression, or the comparison of two.
type cond struct {
	left, right operand
	op          string // "", "==", "!="
}

type operand struct {
	quoted bool
	text   string
	expr   expr
}

// symbol is a path such as A.B[C].D.
type symbol []segment

type segment struct {
	text  string
	index bool
	inner symbol // an index that is itself a reference: [#{x}]
}

type parser struct {
	src   string
	pos   int
	depth int
}

// stop is what ended a block: else, elseif, /if, /unless, /each, or "" at the end.
type stop struct {
	word string
	at   int
}

func parse(src string) ([]node, error) {
	if len(src) > maxTemplate {
		return nil, &Error{Message: fmt.Sprintf("the text is longer than %d MB", maxTemplate>>20)}
	}
	if !strings.Contains(src, "#{") {
		if src == "" {
			return nil, nil
		}
		return []node{textNode{src}}, nil
	}
	p := &parser{src: src}
	nodes, _, err := p.nodes(false)
	return nodes, err
}

func (p *parser) fail(at int, format string, args ...any) error {
	e := &Error{Offset: at, Line: 1, Column: 1, Message: fmt.Sprintf(format, args...)}
	before := p.src[:min(at, len(p.src))]
	e.Line += strings.Count(before, "\n")
	e.Column += utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return e
}

func (p *parser) nodes(inBlock bool) ([]node, stop, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > maxDepth {
		return nil, stop{}, p.fail(p.pos, "blocks are nested more than %d levels deep", maxDepth)
	}
	var out []node
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			out = append(out, textNode{text.String()})
			text.Reset()
		}
	}
	for p.pos < len(p.src) {
		i := strings.IndexByte(p.src[p.pos:], '#')
		if i < 0 {
			text.WriteString(p.src[p.pos:])
			p.pos = len(p.src)
			break
		}
		text.WriteString(p.src[p.pos : p.pos+i])
		p.pos += i
		run := 0
		for p.pos+run < len(p.src) && p.src[p.pos+run] == '#' {
			run++
		}
		if p.pos+run >= len(p.src) || p.src[p.pos+run] != '{' {
			text.WriteString(p.src[p.pos : p.pos+run])
			p.pos += run
			continue
		}
		for ; run >= 3; run -= 2 {
			text.WriteByte('#')
			p.pos += 2
		}
		if run == 2 {
			text.WriteString("#{")
			p.pos += 3
			continue
		}
		if word, end := p.closer(); word != "" {
			if inBlock {
				flush()
				at := p.pos
				p.pos = end
				return out, stop{word, at}, nil
			}
			if word == "else" || word == "elseif" {
				return nil, stop{}, p.fail(p.pos, "#{%s} stands outside of a block", word)
			}
		}
		if strings.HasPrefix(p.src[p.pos:], "#{/") {
			text.WriteString("#{/")
			p.pos += 3
			continue
		}
		flush()
		n, err := p.token()
		if err != nil {
			return nil, stop{}, err
		}
		out = append(out, n)
	}
	flush()
	return out, stop{at: p.pos}, nil
}

// closer recognises #{else}, #{elseif and #{/…} at pos and says where it ends; for
// elseif that is where its condition begins.
func (p *parser) closer() (word string, end int) {
	rest := p.src[p.pos+2:]
	for _, w := range []string{"else", "/if", "/unless", "/each"} {
		trimmed := strings.TrimLeft(rest, " \t\r\n")
		if after, ok := strings.CutPrefix(trimmed, w); ok {
			after = strings.TrimLeft(after, " \t\r\n")
			if strings.HasPrefix(after, "}") {
				return w, len(p.src) - len(after) + 1
			}
		}
	}
	trimmed := strings.TrimLeft(rest, " \t\r\n")
	if after, ok := strings.CutPrefix(trimmed, "elseif"); ok && after != "" && unicode.IsSpace(rune(after[0])) {
		return "elseif", len(p.src) - len(after)
	}
	return "", 0
}

// token reads what stands after "#{" at pos.
func (p *parser) token() (node, error) {
	start := p.pos
	p.pos += 2
	p.space()
	switch word := p.keyword("if", "unless", "each", "calc"); word {
	case "if", "unless":
		return p.conditional(start, word)
	case "each":
		return p.each(start)
	case "calc":
		end := strings.IndexByte(p.src[p.pos:], '}')
		// {name} protects names that hold an operator.
		for end >= 0 && strings.Count(p.src[p.pos:p.pos+end], "{") > strings.Count(p.src[p.pos:p.pos+end], "}") {
			next := strings.IndexByte(p.src[p.pos+end+1:], '}')
			if next < 0 {
				end = -1
				break
			}
			end += next + 1
		}
		if end < 0 {
			return nil, p.fail(start, "#{calc is not closed by }")
		}
		text := p.src[p.pos : p.pos+end]
		p.pos += end + 1
		return calcNode{p.src[start:p.pos], text}, nil
	}
	e, err := p.expr()
	if err != nil {
		return nil, err
	}
	p.space()
	if !p.eat("}") {
		return nil, p.unclosed(start)
	}
	return exprNode{p.src[start:p.pos], e}, nil
}

func (p *parser) unclosed(start int) error {
	if p.pos >= len(p.src) {
		return p.fail(start, "#{ is not closed by }")
	}
	r, _ := utf8.DecodeRuneInString(p.src[p.pos:])
	return p.fail(p.pos, "%q does not belong here", r)
}

func (p *parser) space() {
	for p.pos < len(p.src) && strings.IndexByte(" \t\r\n", p.src[p.pos]) >= 0 {
		p.pos++
	}
}

func (p *parser) eat(s string) bool {
	if strings.HasPrefix(p.src[p.pos:], s) {
		p.pos += len(s)
		return true
	}
	return false
}

// keyword takes one of the words, in any case, if white space follows it.
func (p *parser) keyword(words ...string) string {
	for _, w := range words {
		end := p.pos + len(w)
		if end < len(p.src) && strings.EqualFold(p.src[p.pos:end], w) && unicode.IsSpace(rune(p.src[end])) {
			p.pos = end
			p.space()
			return w
		}
	}
	return ""
}

func (p *parser) conditional(start int, word string) (node, error) {
	n := condNode{}
	not := word == "unless"
	for {
		c, err := p.cond()
		if err != nil {
			return nil, err
		}
		p.space()
		if !p.eat("}") {
			return nil, p.unclosed(start)
		}
		body, end, err := p.nodes(true)
		if err != nil {
			return nil, err
		}
		n.branches = append(n.branches, branch{c, not, body})
		switch {
		case end.word == "elseif" && !not:
			p.space()
			continue
		case end.word == "else":
			if n.orElse, end, err = p.nodes(true); err != nil {
				return nil, err
			}
		}
		if end.word != "/"+word {
			return nil, p.fail(start, "#{%s is not closed by #{/%s}", word, word)
		}
		n.src = p.src[start:p.pos]
		return n, nil
	}
}

func (p *parser) each(start int) (node, error) {
	name := p.ident()
	name, in, ok := cutIn(name)
	if !ok {
		return nil, p.fail(p.pos, "write #{each name in list}")
	}
	// " in X" was read as part of the identifier, since names hold spaces.
	s := symbol{{text: in}}
	rest, err := p.steps()
	if err != nil {
		return nil, err
	}
	s = append(s, rest...)
	p.space()
	if !p.eat("}") {
		return nil, p.unclosed(start)
	}
	body, end, err := p.nodes(true)
	if err != nil {
		return nil, err
	}
	if end.word != "/each" {
		return nil, p.fail(start, "#{each is not closed by #{/each}")
	}
	return eachNode{p.src[start:p.pos], name, s, body}, nil
}

func cutIn(text string) (name, in string, ok bool) {
	lower := strings.ToLower(text)
	i := strings.Index(lower, " in ")
	if i < 0 {
		return "", "", false
	}
	name, in = strings.TrimSpace(text[:i]), strings.TrimSpace(text[i+4:])
	return name, in, name != "" && in != ""
}

func (p *parser) cond() (cond, error) {
	var c cond
	var err error
	if c.left, err = p.operand(); err != nil {
		return c, err
	}
	p.space()
	for _, op := range []string{"==", "!="} {
		if p.eat(op) {
			c.op = op
			p.space()
			c.right, err = p.operand()
			return c, err
		}
	}
	return c, nil
}

func (p *parser) operand() (operand, error) {
	if p.pos < len(p.src) && p.src[p.pos] == '"' {
		text, err := p.quoted()
		return operand{quoted: true, text: text}, err
	}
	e, err := p.expr()
	return operand{expr: e}, err
}

func (p *parser) quoted() (string, error) {
	start := p.pos
	p.pos++
	end := strings.IndexByte(p.src[p.pos:], '"')
	if end < 0 {
		return "", p.fail(start, "the quotation mark is not closed")
	}
	text := p.src[p.pos : p.pos+end]
	p.pos += end + 1
	return text, nil
}

func (p *parser) expr() (expr, error) {
	var e expr
	start := p.pos
	p.space()
	if p.pos < len(p.src) && p.src[p.pos] != '|' {
		name := p.ident()
		if name == "" {
			if p.pos < len(p.src) && p.src[p.pos] == '[' {
				return e, p.fail(p.pos, "a reference begins with a name")
			}
			return e, p.unclosed(start)
		}
		rest, err := p.steps()
		if err != nil {
			return e, err
		}
		e.symbol = append(symbol{{text: name}}, rest...)
	}
	for {
		p.space()
		if !p.eat("|") {
			return e, nil
		}
		p.space()
		f := filterCall{name: p.word()}
		if f.name == "" {
			return e, p.fail(p.pos, "the name of a filter is missing after |")
		}
		for {
			p.space()
			o, ok, err := p.option()
			if err != nil {
				return e, err
			}
			if !ok {
				break
			}
			f.options = append(f.options, o)
		}
		e.filters = append(e.filters, f)
	}
}

func (p *parser) option() (option, bool, error) {
	if p.pos >= len(p.src) || p.src[p.pos] == '}' || p.src[p.pos] == '|' {
		return option{}, false, nil
	}
	if strings.HasPrefix(p.src[p.pos:], "==") || strings.HasPrefix(p.src[p.pos:], "!=") {
		return option{}, false, nil
	}
	switch {
	case p.src[p.pos] == '"':
		text, err := p.quoted()
		return option{text: text}, true, err
	case strings.HasPrefix(p.src[p.pos:], `\"`):
		p.pos += 2
		end := strings.Index(p.src[p.pos:], `\"`)
		if end < 0 {
			return option{}, false, p.fail(p.pos, "the quotation mark is not closed")
		}
		text := p.src[p.pos : p.pos+end]
		p.pos += end + 2
		return option{text: text}, true, nil
	case strings.HasPrefix(p.src[p.pos:], "#{"):
		n, err := p.token()
		if err != nil {
			return option{}, false, err
		}
		return option{nodes: []node{n}}, true, nil
	}
	w := p.word()
	if w == "" {
		return option{}, false, p.unclosed(p.pos)
	}
	return option{text: w}, true, nil
}

// word reads up to white space or a character that ends an option.
func (p *parser) word() string {
	start := p.pos
	for p.pos < len(p.src) && strings.IndexByte(" \t\r\n|}{\"#", p.src[p.pos]) < 0 {
		p.pos++
	}
	return p.src[start:p.pos]
}

func identRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(" _-:/~()@", r)
}

func (p *parser) ident() string {
	start := p.pos
	for p.pos < len(p.src) {
		r, n := utf8.DecodeRuneInString(p.src[p.pos:])
		if !identRune(r) {
			break
		}
		p.pos += n
	}
	return strings.TrimSpace(p.src[start:p.pos])
}

func (p *parser) steps() ([]segment, error) {
	var out []segment
	for p.pos < len(p.src) {
		switch p.src[p.pos] {
		case '.':
			p.pos++
			name := p.ident()
			if name == "" {
				return nil, p.fail(p.pos, "a name is missing after the dot")
			}
			out = append(out, segment{text: name})
		case '[':
			s, err := p.index()
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		default:
			return out, nil
		}
	}
	return out, nil
}

func (p *parser) index() (segment, error) {
	start := p.pos
	p.pos++
	if p.eat("#{") {
		p.space()
		name := p.ident()
		rest, err := p.steps()
		if err != nil {
			return segment{}, err
		}
		p.space()
		if name == "" || !p.eat("}") || !p.eat("]") {
			return segment{}, p.fail(start, "the index is not closed by }]")
		}
		return segment{index: true, inner: append(symbol{{text: name}}, rest...)}, nil
	}
	depth := 1
	for i := p.pos; i < len(p.src); i++ {
		switch p.src[i] {
		case '[':
			depth++
		case ']':
			if depth--; depth == 0 {
				text := p.src[p.pos:i]
				p.pos = i + 1
				return segment{index: true, text: strings.TrimSpace(text)}, nil
			}
		case '}', '\n':
			return segment{}, p.fail(start, "the index is not closed by ]")
		}
	}
	return segment{}, p.fail(start, "the index is not closed by ]")
}

// symbolsOf lists the plain names that nodes refer to, in lower case.
func symbolsOf(nodes []node) []string {
	var out []string
	add := func(s symbol) {
		if len(s) > 0 {
			out = append(out, s.key())
		}
	}
	walkExpr := func(e expr) {
		add(e.symbol)
		for _, f := range e.filters {
			for _, o := range f.options {
				out = append(out, symbolsOf(o.nodes)...)
			}
		}
	}
	for _, n := range nodes {
		switch n := n.(type) {
		case exprNode:
			walkExpr(n.expr)
		case condNode:
			for _, b := range n.branches {
				walkExpr(b.cond.left.expr)
				walkExpr(b.cond.right.expr)
				out = append(out, symbolsOf(b.body)...)
			}
			out = append(out, symbolsOf(n.orElse)...)
		case eachNode:
			add(n.in)
			out = append(out, symbolsOf(n.body)...)
		}
	}
	return out
}

// key is the symbol as the name of a variable, in lower case.
func (s symbol) key() string { return strings.ToLower(s.String()) }

func (s symbol) String() string {
	var b strings.Builder
	for i, seg := range s {
		switch {
		case seg.index && seg.inner != nil:
			b.WriteString("[#{" + seg.inner.String() + "}]")
		case seg.index:
			b.WriteString("[" + seg.text + "]")
		default:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(seg.text)
		}
	}
	return b.String()
}
