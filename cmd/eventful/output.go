package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// tableChunk is the number of rows whose columns are aligned with one another, and the most that a table holds in memory.
const tableChunk = 1000

// printer writes one answer in the form that -o names, as rows come in. However many they are, it holds few of them. One goroutine may use it.
//
//	p := a.printer("TYPE", "ID", "VERSION")
//	p.add(answer, answer.Type, answer.ID, strconv.Itoa(answer.Version)) // for each row
//	return p.close()
type printer struct {
	out    io.Writer
	form   string
	single bool   // the answer is one value, not a list of them
	name   string // of the list in an object that says more; empty: the list is the answer
	rows   int
	table  *tabwriter.Writer
}

// printer begins a list with these table columns. In JSON and YAML it is an array, even of none or one.
func (a *app) printer(columns ...string) *printer {
	p := &printer{out: a.out, form: a.form, table: tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)}
	if p.form == "table" {
		p.line(columns)
	}
	return p
}

// page begins a list that is one page: in JSON and YAML an object with the list under its name, and the cursor that endPage gives.
func (a *app) page(name string, columns ...string) *printer {
	p := a.printer(columns...)
	p.name = name
	return p
}

// show prints one value: as it is in JSON and YAML, as lines of name and value in a table. pairs alternates names and values.
func (a *app) show(value any, pairs ...string) error {
	p := &printer{out: a.out, form: a.form, single: true, table: tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)}
	if p.form != "table" {
		if err := p.add(value); err != nil {
			return err
		}
		return p.close()
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		p.line(pairs[i : i+2])
	}
	return p.close()
}

// add prints a row: value (with json tags) in JSON, NDJSON and YAML; cells in a table.
func (p *printer) add(value any, cells ...string) error {
	p.rows++
	if p.form == "table" {
		p.line(cells)
		if p.rows%tableChunk == 0 {
			return p.table.Flush()
		}
		return nil
	}
	text, err := p.encode(value)
	if err != nil {
		return fmt.Errorf("print an answer as %s: %w", p.form, err)
	}
	_, err = p.out.Write(text)
	return err
}

// live is add for a list that goes on and on: what was added shows at once.
func (p *printer) live(value any, cells ...string) error {
	if err := p.add(value, cells...); err != nil || p.form != "table" {
		return err
	}
	return p.table.Flush()
}

func (p *printer) encode(value any) ([]byte, error) {
	switch {
	case p.form == "ndjson":
		return jsonText(value, "", "\n")
	case p.form == "yaml":
		text, err := yamlText(value, p.single)
		if p.rows == 1 && p.name != "" {
			text = append([]byte(p.name+":\n"), text...)
		}
		return text, err
	case p.single:
		return jsonText(value, "  ", "\n")
	}
	text, err := jsonText(value, "  ", "")
	lead, indent := ",", "\n  "
	if p.rows == 1 {
		lead = "["
	}
	if p.name != "" {
		indent = "\n    "
		if p.rows == 1 {
			lead = fmt.Sprintf("{\n  %q: [", p.name)
		}
	}
	return append([]byte(lead+indent), bytes.ReplaceAll(text, []byte("\n"), []byte(indent))...), err
}

// close prints what is still held. It must be called once, at the end.
func (p *printer) close() error {
	end := ""
	switch {
	case p.form == "table":
		return p.table.Flush()
	case p.form == "json" && !p.single && p.rows > 0:
		end = "\n]\n"
	case p.form == "json" && !p.single, p.form == "yaml" && p.rows == 0:
		end = "[]\n"
	}
	_, err := io.WriteString(p.out, end)
	return err
}

// endPage is close for a page. The cursor is empty where nothing follows.
func (p *printer) endPage(cursor string) error {
	if p.form != "json" && p.form != "yaml" {
		return p.close()
	}
	tail, err := jsonText(cursor, "", "")
	if err != nil {
		return fmt.Errorf("print a cursor: %w", err)
	}
	begin, end := "", fmt.Sprintf("\n  ],\n  \"cursor\": %s\n}\n", tail)
	if p.form == "yaml" {
		end = fmt.Sprintf("cursor: %s\n", tail)
	}
	switch {
	case p.rows == 0 && p.form == "json":
		begin, end = fmt.Sprintf("{\n  %q: [", p.name), strings.TrimPrefix(end, "\n  ")
	case p.rows == 0:
		begin = p.name + ": []\n"
	}
	_, err = io.WriteString(p.out, begin+end)
	return err
}

func jsonText(value any, indent, end string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	return append(bytes.TrimSuffix(b.Bytes(), []byte("\n")), end...), nil
}

// yamlText goes by way of JSON, so that the names are those of the json tags and their order is kept.
func yamlText(value any, single bool) ([]byte, error) {
	text, err := jsonText(value, "", "")
	if err != nil {
		return nil, err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return nil, err
	}
	block(&node)
	if !single {
		node = yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{node.Content[0]}}
	}
	return yaml.Marshal(&node)
}

// block takes the flow style of JSON away, and the quotes of strings that need none.
func block(n *yaml.Node) {
	if n.Style &= yaml.TaggedStyle; n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		n.SetString(n.Value)
	}
	for _, child := range n.Content {
		block(child)
	}
}

// line adds one line to the table. The buffer takes it; what goes wrong with out shows at the flush.
func (p *printer) line(cells []string) {
	for i, c := range cells {
		if i > 0 {
			io.WriteString(p.table, "\t")
		}
		io.WriteString(p.table, printable(c))
	}
	io.WriteString(p.table, "\n")
}

// printable shows control characters and broken UTF-8 as escapes, so that no stored text can drive a terminal.
func printable(s string) string {
	if strings.IndexFunc(s, isUnprintable) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if isUnprintable(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isUnprintable(r rune) bool {
	return r == unicode.ReplacementChar || unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control)
}

// counted is a number with its word, which gets an s unless the number is 1.
func counted[N int | uint64](n N, word string) string {
	if n != 1 {
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}
