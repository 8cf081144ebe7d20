package mapping

import (
	"bytes"

	"go.yaml.in/yaml/v3"
)

// The YAML of a mapping with everything written out, in the order that the manual has.
type (
	shown struct {
		Version  string      `yaml:"version"`
		Document Document    `yaml:"document"`
		Types    []string    `yaml:"types,flow"`
		Target   string      `yaml:"target,omitempty"`
		Key      string      `yaml:"key,omitempty"`
		Rules    []shownRule `yaml:"rules"`
		Delete   any         `yaml:"delete,omitempty"`
	}
	shownRule struct {
		When   *shownWhen `yaml:"when,omitempty"`
		Fields *yaml.Node `yaml:"fields,omitempty"`
	}
	shownWhen struct {
		Types  []string `yaml:"types,flow,omitempty"`
		Events []string `yaml:"events,flow,omitempty"`
		If     string   `yaml:"if,omitempty"`
	}
	shownField struct {
		From     string  `yaml:"from,omitempty"`
		Constant *string `yaml:"constant,omitempty"`
		Type     Type    `yaml:"type"`
	}
)

// YAML writes the mapping with everything written out: what `copy` stands for, every type, every default. Compile makes the same mapping of it.
func (m *Mapping) YAML() ([]byte, error) {
	s := shown{Version: Version, Document: m.Document, Types: m.Types, Target: m.Target.String(), Key: m.Key.String()}
	for i := range m.Rules {
		rule := shownRule{When: m.Rules[i].When.shown(), Fields: &yaml.Node{Kind: yaml.MappingNode}}
		if m.whole {
			rule.Fields = nil
		}
		for j := range m.Rules[i].Fields {
			if err := rule.add(&m.Rules[i].Fields[j]); err != nil {
				return nil, err
			}
		}
		s.Rules = append(s.Rules, rule)
	}
	if when := m.Delete.shown(); when != nil {
		s.Delete = when
	} else if m.Never && m.Document == OfAggregate {
		s.Delete = "never"
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err := e.Encode(s)
	return b.Bytes(), err
}

func (r *shownRule) add(f *Field) error {
	one := shownField{Type: f.Type}
	if f.From.From == FromConstant {
		one.Constant = &f.Constant.Text
	} else {
		one.From = f.From.String()
	}
	var value yaml.Node
	if err := value.Encode(one); err != nil {
		return err
	}
	value.Style = yaml.FlowStyle
	r.Fields.Content = append(r.Fields.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: f.Target, Tag: "!!str"}, &value)
	return nil
}

func (w *When) shown() *shownWhen {
	if len(w.Types) == 0 && len(w.Events) == 0 && w.If == "" {
		return nil
	}
	return &shownWhen{w.Types, w.Events, w.If}
}
