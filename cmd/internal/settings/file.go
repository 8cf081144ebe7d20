package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/viper"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// formatKey is the key of the file's format version.
const formatKey = "format"

const header = "# Configuration of EventfulDB. `eventful config` writes it; EVENTFUL_* and flags go before it. It holds no secrets.\n"

// readFile adds config.toml to v and gives the names that stand in it; nil if there is no file.
func readFile(v *viper.Viper, path string) (map[string]bool, error) {
	file, err := parseFile(path)
	if file == nil || err != nil {
		return nil, err
	}
	names := map[string]bool{}
	var wrong []*problem.Problem
	for _, key := range file.AllKeys() {
		names[key] = true
		if key == formatKey || slices.ContainsFunc(table(), func(s setting) bool { return s.file && s.name == key }) {
			continue
		}
		p := problem.New(problem.Malformed, "%s: %q is no setting", path, key).WithHint("`eventful config show` lists all settings")
		if isSecret(key) {
			p = problem.New(problem.Malformed, "%s: %q is a secret and must not stand in a file of settings", path, key).
				WithHint("take it out, and put it into the environment or a file of its own: %s_FILE", envName(key))
		}
		wrong = append(wrong, p)
	}
	if p := problem.Join(wrong); p != nil {
		return nil, p
	}
	return names, v.MergeConfigMap(file.AllSettings())
}

// parseFile reads the file and checks its format; nil if there is none.
func parseFile(path string) (*viper.Viper, error) {
	if err := checkFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, problem.New(problem.Invalid, "the configuration cannot be read: %v", err)
	}
	file := viper.New()
	file.SetConfigType("toml")
	if err := file.ReadConfig(bytes.NewReader(text)); err != nil {
		return nil, problem.New(problem.Malformed, "%s is not TOML: %v", path, err)
	}
	switch format := file.GetInt(formatKey); {
	case format > Format:
		return nil, problem.New(problem.Invalid, "%s has format %d; this eventful knows formats up to %d", path, format, Format).
			WithHint("use the eventful that wrote it, or a newer one")
	case format < 1:
		return nil, problem.New(problem.Malformed, "%s has no valid `%s = %d`", path, formatKey, Format).
			WithHint("write it anew with `eventful config`")
	}
	return file, nil
}

// Save writes the given settings into config.toml and leaves the others as they are. The file is replaced atomically and is 0600; values
// must have passed Load. It is not safe to run twice at once.
func (c *Config) Save(given map[string]any) error {
	file, err := parseFile(c.Path())
	if err != nil {
		return err
	}
	if file == nil {
		file = viper.New()
		file.SetConfigType("toml")
	}
	file.Set(formatKey, Format)
	for name, value := range given {
		file.Set(name, value)
	}
	text := bytes.NewBufferString(header)
	if err := file.WriteConfigTo(text); err != nil {
		return fmt.Errorf("write %s: %w", c.Path(), err)
	}
	return replace(c.Path(), text.Bytes())
}

// Changing gives what Save would change, as text; nil: nothing.
func (c *Config) Changing(given map[string]any) (map[string]string, error) {
	all := make(map[string]string, len(given))
	for name, value := range given {
		all[name] = fmt.Sprint(value)
	}
	err := differing(c.Path(), all)
	if len(all) == 0 {
		all = nil
	}
	return all, err
}

// InForce reports whether these settings stand in the config.toml of a data folder.
func InForce(dir string, values map[string]string) bool {
	rest := maps.Clone(values)
	return differing(filepath.Join(dir, File), rest) == nil && len(rest) == 0
}

// differing takes out of values what stands in the file.
func differing(path string, values map[string]string) error {
	file, err := parseFile(path)
	if err != nil || file == nil {
		return err
	}
	maps.DeleteFunc(values, func(name, value string) bool { return file.IsSet(name) && file.GetString(name) == value })
	return nil
}

// replace writes a file of 0600 so that a crash leaves the old one or the new one: temporary file, flush, rename, flush of the folder.
func replace(path string, text []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return flush(dir)
}

// flush makes renames in a folder survive a power cut.
func flush(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("flush %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}
