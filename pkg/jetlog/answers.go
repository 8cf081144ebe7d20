package jetlog

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// unforeseen is a word that nobody can foresee. nats.go's own inboxes count on from each other, so who has seen one knows the next.
func unforeseen() string { return rand.Text() }

// answersTo subscribes to what is answered to one question: a subject of that pattern with a last word that nobody else knows.
func (s *Store) answersTo(pattern string) (*nats.Subscription, error) {
	sub, err := s.nc.SubscribeSync(strings.TrimSuffix(pattern, "*") + unforeseen())
	if err != nil {
		return nil, fmt.Errorf("listen for answers on %s: %w", pattern, err)
	}
	return sub, nil
}
