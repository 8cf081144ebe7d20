package opensearch

import (
	"fmt"
	"strconv"
	"strings"
)

// formatVersion is that of the names and of what stands in `_meta` of an index.
const formatVersion = 1

// names makes and reads the names of what the plugin has in OpenSearch:
//
//	eventful.<plugin>.<generation>            index template
//	eventful.<plugin>.<generation>.<target>   index; readers use the alias <target>
//	eventful.<plugin>.<generation>..removed   index of what was removed; no reader needs it
//	eventful.<plugin>.<generation>..test-<x>  index, and index template, of a test that is under way
//	….write                                   alias of the index, under which it is written: one that is gone is not made anew by a write
type names struct {
	site, plugin string
	generation   uint64
}

const (
	prefix      = "eventful."
	writeSuffix = ".write"
)

func (n names) all() string { return prefix + n.plugin + ".*" }

func (n names) template() string { return fmt.Sprintf("%s%s.%d", prefix, n.plugin, n.generation) }

func (n names) index(target string) string { return n.template() + "." + target }

// parse reads the name of an index or index template; target is empty for a template. false: it is none of this plugin's.
func (n names) parse(name string) (generation uint64, target string, ok bool) {
	rest, ok := strings.CutPrefix(name, prefix+n.plugin+".")
	if !ok {
		return 0, "", false
	}
	number, target, _ := strings.Cut(rest, ".")
	generation, err := strconv.ParseUint(number, 10, 64)
	return generation, target, err == nil
}
