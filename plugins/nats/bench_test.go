package nats_test

import (
	"fmt"
	"sync"
	"testing"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
)

const inBatch = 500

// calls is how many batches the engine has under way if nothing else is configured.
const calls = 4

// BenchmarkDeliver and BenchmarkRawPublisher bring the same events to the same server: the plugin as the engine calls it, and a bare asynchronous publisher
// that has its messages ready.
func BenchmarkDeliver(b *testing.B) {
	s := start(b, b.TempDir(), -1)
	p, err := tryOpen(b, s, "feed", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	batches := make(chan []plugin.Change, b.N)
	for n := range b.N {
		batches <- batch(n)
	}
	close(batches)
	b.ResetTimer()
	var all sync.WaitGroup
	for range calls {
		all.Go(func() {
			for changes := range batches {
				for _, o := range p.Deliver(b.Context(), plugin.Batch{Changes: changes}) {
					if o.Status != plugin.StatusDone {
						b.Error(o.Err)
					}
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)*inBatch/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkRawPublisher(b *testing.B) {
	s := start(b, b.TempDir(), -1)
	p, err := tryOpen(b, s, "feed", nil) // makes the stream
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	c, err := natsgo.Connect(s.ClientURL())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	js, err := jetstream.New(c, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		b.Fatal(err)
	}
	var messages []*natsgo.Msg
	for n := range b.N {
		for _, change := range batch(n) {
			m := natsgo.NewMsg("event.patient." + change.Aggregate.ID + "." + change.EventType)
			m.Header.Set(natsgo.MsgIdHdr, change.Leaf.String())
			m.Data = plugin.AppendCloudEvent(nil, &change)
			messages = append(messages, m)
		}
	}
	b.ResetTimer()
	for _, m := range messages {
		if _, err := js.PublishMsgAsync(m); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	b.ReportMetric(float64(b.N)*inBatch/b.Elapsed().Seconds(), "events/s")
}

// batch makes changes of different aggregates, the same for each n.
func batch(n int) []plugin.Change {
	changes := make([]plugin.Change, 0, inBatch)
	for i := range inBatch {
		changes = append(changes, plugintest.Change(fmt.Sprintf("p%d-%d", n, i), 1, "name", "Ada Lovelace", "ward", "seven"))
	}
	return changes
}
