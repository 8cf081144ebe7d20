package natsapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// service answers $SRV.PING, INFO and STATS as any NATS micro service does. Package micro's own cannot give up one endpoint and go on with others, which
// the writer's do as logs come and go.
type service struct {
	identity micro.ServiceIdentity
	about    string
	since    time.Time
	doors    *doors
	subs     []*nats.Subscription
}

func (a *API) announce(name, about string) (*service, error) {
	s := &service{
		identity: micro.ServiceIdentity{Name: name, ID: strings.TrimPrefix(nats.NewInbox(), "_INBOX."), Version: a.cfg.Version, Metadata: map[string]string{}},
		about:    about, since: time.Now().UTC(), doors: &a.doors,
	}
	for verb, answer := range map[micro.Verb]func() any{micro.PingVerb: s.ping, micro.InfoVerb: s.info, micro.StatsVerb: s.stats} {
		for _, of := range [][2]string{{"", ""}, {name, ""}, {name, s.identity.ID}} {
			subject, err := micro.ControlSubject(verb, of[0], of[1])
			if err != nil {
				return nil, err
			}
			sub, err := a.cfg.App.Subscribe(subject, func(m *nats.Msg) {
				if data, err := json.Marshal(answer()); err == nil && strings.HasPrefix(m.Reply, "_INBOX.") {
					_ = m.Respond(data)
				}
			})
			if err != nil {
				return nil, errors.Join(fmt.Errorf("announce service %s: %w", name, err), s.stop())
			}
			s.subs = append(s.subs, sub)
		}
	}
	return s, nil
}

func (s *service) stop() (err error) {
	for _, sub := range s.subs {
		err = errors.Join(err, sub.Unsubscribe())
	}
	return err
}

func (s *service) ping() any {
	return micro.Ping{ServiceIdentity: s.identity, Type: micro.PingResponseType}
}

func (s *service) info() any {
	i := micro.Info{ServiceIdentity: s.identity, Type: micro.InfoResponseType, Description: s.about, Endpoints: []micro.EndpointInfo{}}
	s.doors.each(func(p place, _ *door) {
		i.Endpoints = append(i.Endpoints, micro.EndpointInfo{Name: p.name(), Subject: p.subject, QueueGroup: p.group})
	})
	return i
}

func (s *service) stats() any {
	st := micro.Stats{ServiceIdentity: s.identity, Type: micro.StatsResponseType, Started: s.since, Endpoints: []*micro.EndpointStats{}}
	s.doors.each(func(p place, d *door) {
		st.Endpoints = append(st.Endpoints, &micro.EndpointStats{Name: p.name(), Subject: p.subject, QueueGroup: p.group, NumRequests: int(d.handled.Load())})
	})
	return st
}

// each goes through the open doors by subject.
func (d *doors) each(fn func(place, *door)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var places []place
	for p := range d.open {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int { return strings.Compare(a.subject+" "+a.group, b.subject+" "+b.group) })
	for _, p := range places {
		fn(p, d.open[p])
	}
}

// name is the subject as the name of an endpoint, which has letters, digits, - and _.
func (p place) name() string {
	return strings.NewReplacer(".>", "", ".", "-").Replace(p.subject)
}
