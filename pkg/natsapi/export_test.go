package natsapi

import (
	"github.com/nats-io/nats.go/micro"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// ReadBody reads the body of a query or act.
func ReadBody(data []byte, into any) *problem.Problem { return readBody(data, into) }

type onlyHeaders struct {
	micro.Request
	sent micro.Headers
}

func (o onlyHeaders) Headers() micro.Headers { return o.sent }

// ReadHeaders reads the headers of a request.
func ReadHeaders(sent map[string][]string) (map[string]string, *problem.Problem) {
	return request{Request: onlyHeaders{sent: sent}}.headers()
}
