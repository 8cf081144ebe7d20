package natsapi

import (
	"strings"

	"github.com/nats-io/nats.go/micro"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// ReadBody reads the body of a query or act.
func ReadBody(data []byte, into any) *problem.Problem { return readBody(data, into) }

// Numbers reads a body of whole numbers.
func Numbers(data []byte, first, second string) (a, b uint64, ok bool) {
	return numbers(data, first, second)
}

// ActNames are all administrative acts, `<noun>.<verb>`.
func ActNames() (all []string) {
	for subject := range acts {
		all = append(all, strings.TrimPrefix(subject, "adm."))
	}
	for subject := range passed {
		all = append(all, strings.TrimPrefix(subject, "adm."))
	}
	return all
}

type onlyHeaders struct {
	micro.Request
	sent micro.Headers
}

func (o onlyHeaders) Headers() micro.Headers { return o.sent }

// ReadHeaders reads the headers of a request.
func ReadHeaders(sent map[string][]string) (map[string]string, *problem.Problem) {
	h, p := request{Request: onlyHeaders{sent: sent}}.headers()
	if p != nil {
		return nil, p
	}
	read := make(map[string]string)
	for i, name := range ours {
		if h[i] != "" {
			read[name] = h[i]
		}
	}
	return read, nil
}

type wholeRequest struct {
	onlyHeaders
	subject string
	data    []byte
}

func (w wholeRequest) Subject() string { return w.subject }

func (w wholeRequest) Data() []byte { return w.data }

// ReadCommand reads a request on cmd.>.
func ReadCommand(subject string, sent map[string][]string, data []byte) (writer.Request, *problem.Problem) {
	return readCommand(request{Request: wholeRequest{onlyHeaders{sent: sent}, subject, data}})
}

// AuthenticateBy checks a token by the index of a projector.
func AuthenticateBy(p *projector.Projector, jwt string) error {
	_, err := newProjectedKeys(p).Authenticate(jwt)
	return err
}
