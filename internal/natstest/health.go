package natstest

import (
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// client asks the servers' monitoring; no connection is kept, since servers come and go.
var client = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// Healthy says whether a server runs and its JetStream has caught up with the others (its /healthz).
func (c *Cluster) Healthy(i int) bool {
	if c.nodes[i].process == nil {
		return false
	}
	answer, err := client.Get("http://" + c.nodes[i].Monitor + "/healthz")
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode == http.StatusOK
}

// AwaitHealthy waits until every server is.
func (c *Cluster) AwaitHealthy() {
	c.t.Helper()
	if !c.BecomeHealthy(nil) {
		c.t.Fatalf("the servers are not healthy after %s", patience)
	}
}

// BecomeHealthy waits until every server is, a minute has passed, or stop is closed; it says whether they are.
func (c *Cluster) BecomeHealthy(stop <-chan struct{}) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	over := time.After(patience)
	for {
		well := 0
		for i := range c.nodes {
			if c.Healthy(i) {
				well++
			}
		}
		if well == len(c.nodes) {
			return true
		}
		select {
		case <-tick.C:
		case <-over:
			return false
		case <-stop:
			return false
		}
	}
}

// Leader is the index of the server that leads a stream, or -1 if none is known to.
func (c *Cluster) Leader(stream string) int {
	for i := range c.nodes {
		if name := c.leaderAt(i, stream); name != "" {
			for j, n := range c.nodes {
				if n.Name == name {
					return j
				}
			}
		}
	}
	return -1
}

// leaderAt asks one server.
func (c *Cluster) leaderAt(i int, stream string) string {
	if c.nodes[i].process == nil {
		return ""
	}
	answer, err := client.Get("http://" + c.nodes[i].Monitor + "/jsz?accounts=true&streams=true")
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	var found struct {
		Accounts []struct {
			Streams []struct {
				Name    string `json:"name"`
				Cluster struct {
					Leader string `json:"leader"`
				} `json:"cluster"`
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	if json.NewDecoder(answer.Body).Decode(&found) != nil {
		return ""
	}
	for _, a := range found.Accounts {
		for _, s := range a.Streams {
			if s.Name == stream {
				return s.Cluster.Leader
			}
		}
	}
	return ""
}

// KillInTurns kills one server after the other, the leader of the stream every second time (empty: no stream is meant), and starts each again at once; the next one is killed a
// pause after all were healthy again. Each kill is told to killed. It ends when stop is closed, with all servers started; it may run on a goroutine of its own.
func (c *Cluster) KillInTurns(stop <-chan struct{}, pause time.Duration, stream string, killed func()) {
	for turn := 0; ; turn++ {
		next := time.NewTimer(pause)
		select {
		case <-next.C:
		case <-stop:
			next.Stop()
			return
		}
		victim := turn % len(c.nodes)
		if stream != "" && turn%2 == 0 {
			if led := c.Leader(stream); led >= 0 {
				victim = led
			}
		}
		c.Kill(victim)
		killed()
		if err := c.nodes[victim].start(); err != nil {
			c.t.Error(err)
			return
		}
		if !c.BecomeHealthy(stop) {
			return
		}
	}
}
