package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func Example() {
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{URL: "nats://127.0.0.1:7070", Token: client.Static(os.Getenv("EVENTFUL_TOKEN"))})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	patient := event.AggregateID{Type: "patient", ID: "A"}
	answer, err := c.Command(ctx, client.Command{Aggregate: patient, Event: "crp", Fields: client.Fields{"crp": 21.5}})
	if err != nil {
		log.Fatal(err)
	}
	state, err := c.Get(ctx, patient, client.WaitFor(answer.Commits[0].Position)) // read what was just written
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(state.Version, state.Fields["crp"])
}

func ExampleClient_Command_conflict() {
	ctx, c := context.Background(), &client.Client{} // from Connect
	patient := event.AggregateID{Type: "patient", ID: "A"}
	_, err := c.Command(ctx, client.Command{Aggregate: patient, Event: "crp", Expected: client.Exactly(3)})
	var p *problem.Problem
	if errors.Is(err, client.ErrConflict) && errors.As(err, &p) {
		for _, b := range p.Between {
			fmt.Println(b.Version, b.Event, b.Actor)
		}
	}
}

func ExampleClient_Transact() {
	ctx, c := context.Background(), &client.Client{} // from Connect
	bed, patient := event.AggregateID{Type: "bed", ID: "12"}, event.AggregateID{Type: "patient", ID: "A"}
	_, err := c.Transact(ctx, client.Transaction{Commits: []client.Commit{
		{Aggregate: bed, Expected: client.Exactly(7), Events: []client.Event{{Type: "taken"}}},
		{Aggregate: patient, Expected: client.Exists, Events: []client.Event{{Type: "admission-nc", Fields: client.Fields{"bed": "12"}}}},
	}})
	if err != nil {
		log.Fatal(err) // neither was stored
	}
}

func ExampleClient_History() {
	ctx, c := context.Background(), &client.Client{} // from Connect
	for e, err := range c.History(ctx, event.AggregateID{Type: "patient", ID: "A"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Version, e.Event, e.Actor, e.Time)
	}
}

func ExampleClient_CommandAsync() {
	ctx, c := context.Background(), &client.Client{} // from Connect
	open := make(chan struct{}, 2000)                // as many as may wait for an answer at once
	for i := range 100_000 {
		open <- struct{}{}
		cmd := client.Command{Aggregate: event.AggregateID{Type: "patient", ID: fmt.Sprint(i)}, Event: "er-registration"}
		c.CommandAsync(ctx, cmd, func(_ *client.Answer, err error) {
			if err != nil {
				log.Print(err)
			}
			<-open
		})
	}
	for range cap(open) {
		open <- struct{}{} // the last answers
	}
}
