package process

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// Host is what the host lets plugins run. The zero value lets them run nothing: a program has the rights of the process that starts it, and whoever may configure
// plugins names it.
type Host struct {
	// Programs are absolute paths; symbolic links count as what they lead to at the moment of a start.
	Programs []string
	// Elsewhere: plugins run in other processes, whose hosts say what these may run. This one takes any program into a configuration, and starts none.
	Elsewhere bool
}

// find gives the file of a program, and its path as the host names it, which is what the program is told as its own name: one file may be many programs.
func (h Host) find(program string) (file, name string, err error) {
	if !filepath.IsAbs(program) {
		return "", "", fmt.Errorf("%.120q is no absolute path of a program", program)
	}
	refused := fmt.Errorf("%w %.120q: it is not in plugin-programs, the setting of the server or plugin-runner that names them", plugin.ErrNotAllowed, program)
	if h.Elsewhere {
		return "", "", refused
	}
	listed := slices.Contains(h.Programs, program)
	file, err = filepath.EvalSymlinks(program)
	switch {
	case err != nil && listed:
		return "", "", fmt.Errorf("find the program: %w", err)
	case err != nil: // what else is on this host is not told
		return "", "", refused
	case listed:
		return file, program, nil
	}
	for _, name := range h.Programs {
		if other, err := filepath.EvalSymlinks(name); err == nil && other == file {
			return file, name, nil
		}
	}
	return "", "", refused
}
