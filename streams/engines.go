package streams

import (
	"fmt"
	"regexp"

	"github.com/eventfuldb/eventful/pkg/event"
)

// everyEngine stands in the place of a log where every process is meant; no log has this name.
const everyEngine = "_"

var engineVerb = regexp.MustCompile(`^[a-z][a-z-]{0,19}$`)

// EngineSubject is `eng.<site>.<log>.<verb>`: what one writer process asks who writes a log; with an empty log it is asked of all.
func EngineSubject(site, log, verb string) (string, error) {
	if !engineVerb.MatchString(verb) {
		return "", fmt.Errorf("verb %.80q is not %s", verb, engineVerb)
	}
	prefix, err := enginePrefix(site, log)
	return prefix + verb, err
}

// EngineSubjects are the subjects of all verbs of a log.
func EngineSubjects(site, log string) (string, error) {
	prefix, err := enginePrefix(site, log)
	return prefix + "*", err
}

func enginePrefix(site, log string) (string, error) {
	if log == "" {
		return "eng." + site + "." + everyEngine + ".", event.CheckSite(site)
	}
	return "eng." + site + "." + log + ".", checkLog(site, log)
}

// ParseEngineSubject is the inverse of EngineSubject.
func ParseEngineSubject(subject string) (site, log, verb string, err error) {
	parts, err := split(subject, "eng", 4)
	if err != nil {
		return "", "", "", err
	}
	site, log, verb = parts[1], parts[2], parts[3]
	if log == everyEngine {
		log = ""
	}
	formed, err := EngineSubject(site, log, verb)
	if err != nil {
		return "", "", "", err
	}
	if formed != subject {
		return "", "", "", fmt.Errorf("subject %.80q is not eng.<site>.<log>.<verb>", subject)
	}
	return site, log, verb, nil
}

// Who answers what is asked of projectors and of plugin-runners may publish to these subjects, whose last word only who asks knows, and to nobody's inbox: an answer in the place of another one,
// of JetStream to a writer for example, would have a log acknowledge what it does not hold.

// StandingAnswers are `prj.<site>.answer.*`: how far projectors are. The site was checked.
func StandingAnswers(site string) string { return "prj." + site + ".answer.*" }

// RunnerAnswers are `run.<site>.answer.*`: what plugin-runners answer. The site was checked.
func RunnerAnswers(site string) string { return "run." + site + ".answer.*" }

// StandingSubject is `prj.<site>.standing`: an archiver asks every projector how far it is. The site was checked.
func StandingSubject(site string) string { return "prj." + site + ".standing" }

// TypeCommandSubjects are the subjects of all commands of a type: transactions, and commands about one aggregate.
func TypeCommandSubjects(aggregateType string) ([]string, error) {
	transaction, err := TransactionSubject(aggregateType)
	if err != nil {
		return nil, err
	}
	return []string{transaction, transaction + ".>"}, nil
}
