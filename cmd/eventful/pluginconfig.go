package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/delivery"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/plugins/nats"
	"github.com/eventfuldb/eventful/plugins/process"
)

// optionMark marks, as an annotation of a flag, an option of a plugin.
const optionMark = "plugin-option"

func newPluginConfigCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin:config NAME [--type=TYPE] --OPTION=VALUE… | --file=FILE",
		Short: "Configure a plugin, or replace its configuration whole",
		Long: "Configure a plugin, or replace its configuration whole. Without --type it keeps the type that it has; NAME is that of a new one. The configuration\n" +
			"is checked whole before it is stored, and everything that is wrong is named at once. A new plugin is disabled: `eventful plugin:enable NAME` starts it.\n\n" +
			"--file reads YAML with the keys type and options. An option that is a file (marked below) is read here, and its content is stored.\n" +
			"Secret options are better given as --OPTION-file=FILE, which others cannot see.\n\n" + optionsText(),
		Args: oneName,
	}
	adminFlags(cmd)
	kind := cmd.Flags().String("type", "", "type of the plugin; by default the one that it has, or its name")
	file := cmd.Flags().String("file", "", "YAML `file` with type and options")
	cmd.RunE = a.asPluginAdmin(func(cmd *cobra.Command, c *client.Client, args []string) error {
		config := client.PluginConfig{Name: args[0], Type: *kind, Options: map[string]string{}}
		if *file != "" {
			if err := readPluginFile(cmd.Context(), *file, c, &config); err != nil {
				return err
			}
		} else if err := typeOf(cmd.Context(), c, &config); err != nil {
			return err
		}
		if err := a.givenOptions(cmd, &config); err != nil {
			return err
		}
		p, err := c.ConfigurePlugin(cmd.Context(), config)
		if err != nil {
			return err
		}
		return a.showPlugin(p)
	})
	return cmd
}

// typeOf sees to the type where none was given: the one that the plugin has, or else its name. What is read as a file here depends on it.
func typeOf(ctx context.Context, c *client.Client, config *client.PluginConfig) error {
	if config.Type != "" {
		return nil
	}
	there, err := c.Plugin(ctx, config.Name)
	if errors.Is(err, client.ErrNotFound) {
		config.Type = config.Name
		return nil
	}
	if err != nil {
		return err
	}
	config.Type = there.Type
	return nil
}

// oneName wants the name of a plugin and nothing else. What stands behind an option without = is no value of it: only the server knows which options take none.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usageError("an option and its value are one word, with = between them: --OPTION=VALUE", "%.80q is neither the name of the plugin nor an option", args[1])
	}
	return cobra.ExactArgs(1)(cmd, args)
}

// optionsText lists all options of all types.
func optionsText() string {
	var b strings.Builder
	b.WriteString("Options of every plugin:\n")
	list := func(options []plugin.Option) {
		for i := range options {
			o := &options[i]
			help := o.Help
			for _, mark := range []struct {
				is   bool
				text string
			}{{o.Required, "required"}, {o.Secret, "secret"}, {o.Form == plugin.File, "a file"}, {o.Default != "" && o.Form != plugin.File, "default " + o.Default}} {
				if mark.is {
					help += "; " + mark.text
				}
			}
			fmt.Fprintf(&b, "  --%-21s %s\n", o.Name, help)
		}
	}
	list(delivery.Common())
	for _, k := range run.Kinds(process.Host{Elsewhere: true}, nats.Site{}) {
		fmt.Fprintf(&b, "\nType %s %s:\n", k.Name, k.Summary)
		list(k.Options)
	}
	return strings.TrimRight(b.String(), "\n")
}

// declareOptions makes flags of what `plugin:config` is given: each flag that it does not know is an option, which the server checks.
func declareOptions(root *cobra.Command, args []string) {
	cmd, rest, err := root.Find(args)
	if err != nil || cmd.Name() != "plugin:config" {
		return
	}
	for _, arg := range rest {
		if arg == "--" {
			return
		}
		name, isFlag := strings.CutPrefix(arg, "--")
		name, _, _ = strings.Cut(name, "=")
		if !isFlag || name == "" || cmd.Flags().Lookup(name) != nil || root.PersistentFlags().Lookup(name) != nil || name == "help" {
			continue
		}
		cmd.Flags().String(name, "", "option of the plugin")
		f := cmd.Flags().Lookup(name)
		f.NoOptDefVal, f.Annotations = "true", map[string][]string{optionMark: {"true"}}
	}
}

// withoutOptions leaves out options of a plugin: they may have the names of settings, and are none.
func withoutOptions(all *pflag.FlagSet) *pflag.FlagSet {
	left := pflag.NewFlagSet("", pflag.ContinueOnError)
	all.VisitAll(func(f *pflag.Flag) {
		if f.Annotations[optionMark] == nil {
			left.AddFlag(f)
		}
	})
	return left
}

// givenOptions takes the options from the command line.
func (a *app) givenOptions(cmd *cobra.Command, config *client.PluginConfig) (err error) {
	known := optionsOf(config)
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Annotations[optionMark] == nil || err != nil {
			return
		}
		name, value := f.Name, f.Value.String()
		option := find(known, name)
		secret, isFile := strings.CutSuffix(name, "-file")
		switch of := find(known, secret); {
		case option == nil && isFile && of != nil && of.Secret:
			value, err = readOption(value)
			name, value = secret, strings.TrimRight(value, "\r\n")
		case option != nil && option.Form == plugin.File:
			value, err = readOption(value)
		case option != nil && option.Secret && value != plugin.Masked:
			a.warn("--%s is on the command line, where others can see it: give --%s-file", name, name)
		}
		config.Options[name] = value
	})
	return err
}

// optionsOf are the options of a configuration's type, as far as this program knows.
func optionsOf(config *client.PluginConfig) []plugin.Option {
	all := delivery.Common()
	for _, k := range run.Kinds(process.Host{Elsewhere: true}, nats.Site{}) {
		if k.Name == config.Type {
			all = append(all, k.Options...)
		}
	}
	return all
}

func find(options []plugin.Option, name string) *plugin.Option {
	if i := slices.IndexFunc(options, func(o plugin.Option) bool { return o.Name == name }); i >= 0 {
		return &options[i]
	}
	return nil
}

// readOption reads a file, or a pipe, whose size nobody knows before: no more than an option may have.
func readOption(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", usageError("name a file that can be read", "%v", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, plugin.MaxValue+1))
	if err != nil {
		return "", usageError("name a file that can be read", "%v", err)
	}
	if len(text) > plugin.MaxValue {
		return "", usageError("leave out what is not needed", "%s has more than the %d bytes that an option may have", path, plugin.MaxValue)
	}
	if !utf8.Valid(text) { // on its way to the server a byte would become another one
		return "", usageError("save it as UTF-8", "%s is no UTF-8", path)
	}
	return string(text), nil
}

// readPluginFile reads type and options. An option of the form file is written as the name of one, beside this one, or as YAML in its place.
func readPluginFile(ctx context.Context, path string, c *client.Client, config *client.PluginConfig) error {
	text, err := readOption(path)
	if err != nil {
		return err
	}
	var file struct {
		Type    string               `yaml:"type"`
		Options map[string]yaml.Node `yaml:"options"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		return usageError("it has the keys type and options", "%s: %v", path, err)
	}
	if config.Type == "" {
		config.Type = file.Type
	}
	if err := typeOf(ctx, c, config); err != nil {
		return err
	}
	known := optionsOf(config)
	for name, node := range file.Options {
		o := find(known, name)
		switch {
		case node.Kind == yaml.ScalarNode && o != nil && o.Form == plugin.File:
			beside := node.Value
			if !filepath.IsAbs(beside) {
				beside = filepath.Join(filepath.Dir(path), beside)
			}
			if config.Options[name], err = readOption(beside); err != nil {
				return err
			}
		case node.Kind == yaml.ScalarNode:
			config.Options[name] = node.Value
		case o != nil && o.Form == plugin.File:
			whole, err := yaml.Marshal(&node)
			if err != nil {
				return usageError("mend it", "%s: option %s: %v", path, name, err)
			}
			config.Options[name] = string(whole)
		case o != nil && o.Form == plugin.List && node.Kind == yaml.SequenceNode:
			var parts []string
			if err := node.Decode(&parts); err != nil {
				return usageError("write a list of texts", "%s: option %s: %v", path, name, err)
			}
			config.Options[name] = strings.Join(parts, ",")
		default:
			return usageError("options are texts, numbers, true or false", "%s: option %.60q is none of them", path, name)
		}
	}
	return nil
}
