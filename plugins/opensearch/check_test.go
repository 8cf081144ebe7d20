package opensearch_test

import (
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/plugins/opensearch"
)

func TestOptionsAreChecked(t *testing.T) {
	for name, test := range map[string]struct {
		options plugin.Values
		want    []string
	}{
		"nothing":            {plugin.Values{}, []string{"--url is missing"}},
		"addresses":          {plugin.Values{"url": "localhost:9200"}, []string{"http:// or https://"}},
		"user in an address": {plugin.Values{"url": "http://a:hunter2@b"}, []string{"holds no user"}},
		"several ways in": {plugin.Values{"url": "https://a", "username": "u", "api-key": "k", "aws-region": "r"}, []string{
			"--username and --password belong together", "--username, --api-key and --aws-region exclude each other", "--aws-access-key-id and --aws-secret-access-key belong together"}},
		"no certificate":     {plugin.Values{"url": "https://a", "ca": "x"}, []string{"no certificate in it"}},
		"key of two lines":   {plugin.Values{"url": "https://a", "api-key": "hunter2\r\nX: y"}, []string{"no line break"}},
		"a mapping's errors": {plugin.Values{"url": "http://a", "mapping": "types: patient\nrules: [{fields: {a: event.nme, b: state.colour}}]"}, []string{"event.nme is no field", "state.colour is no field"}},
		"an index's name":    {plugin.Values{"url": "http://a", "mapping": "target: Patients of {type}"}, []string{"is no name of an index"}},
		"an own index":       {plugin.Values{"url": "http://a", "mapping": "target: eventful.other.0.{type}"}, []string{"of the indices of plugins themselves"}},
		"a long name":        {plugin.Values{"url": "http://a", "mapping": "target: " + strings.Repeat("x", 200)}, []string{"is no name of an index"}},
		"what would be lost": {plugin.Values{"url": "http://a", "mapping": "rules: [{when: {if: event.status == 'x'}, fields: {a: {constant: 1}}}, {copy: state}]"}, []string{"--on-error=block"}},
		"a huge mapping":     {plugin.Values{"url": "http://a", "mapping": strings.Repeat("#", 10<<20)}, []string{"at most 262144 are allowed"}},
	} {
		_, err := opensearch.Kind().Examine(plugin.Settings{Name: "x", Site: "here", Options: test.options, Schemas: schemas(t)}, plugin.Option{Name: "on-error", Default: "park"})
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: got %v, want %q", name, err, want)
			}
		}
	}
}
