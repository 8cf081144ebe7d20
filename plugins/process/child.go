package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// Pauses before a child is started again.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 10 * time.Second // where the configuration says nothing
	lasting      = 10 * time.Second // a child that lived so long did not fail at its start
	patience     = 2 * time.Second  // for a child to end by itself when its input ends
	lingering    = time.Second      // for what a child said before it ended to be read; shorter than patience, so that how it ended is what is told
)

// process is one child at a time, shared by all calls.
type process struct {
	host Host
	args []string
	dir  string
	env  []string
	log  zerolog.Logger
	slot chan struct{} // held by who starts or ends the child

	longest time.Duration // pause before a child is started again

	mu     sync.Mutex // guards what follows
	now    *child
	starts int       // that failed in a row
	notYet time.Time // before which the child is not started again
	why    error     // the child ended
	closed bool
}

// child is one running program.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	born  time.Time
	ended chan struct{} // closed when the program and all who read of it are done

	writing sync.Mutex // one batch of lines at a time

	mu      sync.Mutex // guards what follows
	waiting map[string]chan<- ack
	unasked string // the last id that was acknowledged though nobody waited for it
	err     error  // why it is of no use any more
	dead    chan struct{}
}

// Deliver implements plugin.Plugin.
func (p *process) Deliver(ctx context.Context, b plugin.Batch) []plugin.Outcome {
	c, err := p.running(ctx)
	if err != nil {
		return plugin.All(len(b.Changes), plugin.Retry(err))
	}
	return c.deliver(ctx, b.Changes)
}

// Test implements plugin.Plugin: the child gets a dummy change, marked as one by its type and its id, and must acknowledge it.
func (p *process) Test(ctx context.Context) error {
	c, err := p.running(ctx)
	if err != nil {
		return err
	}
	o := c.deliver(ctx, []plugin.Change{plugin.Dummy()})[0]
	if o.Status == plugin.StatusDone {
		return nil
	}
	return fmt.Errorf("the program did not acknowledge a change with \"done\": %s: %w", o.Status, o.Err)
}

// Close implements plugin.Plugin.
func (p *process) Close() error {
	p.slot <- struct{}{}
	defer func() { <-p.slot }()
	p.mu.Lock()
	p.closed = true
	c := p.now
	p.now = nil
	p.mu.Unlock()
	if c != nil {
		c.end(errClosed)
	}
	return nil
}

var errClosed = errors.New("the plugin is closed")

// running gives the child, and starts it if there is none.
func (p *process) running(ctx context.Context) (*child, error) {
	select {
	case p.slot <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-p.slot }()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, errClosed
	case p.now != nil && p.now.failed() == nil:
		return p.now, nil
	case p.now != nil:
		p.bury()
	}
	if left := time.Until(p.notYet); left > 0 {
		return nil, fmt.Errorf("the program is started again in %s: %w", left.Round(time.Millisecond), p.why)
	}
	c, err := p.start()
	if err != nil {
		p.fell(err, time.Now())
		return nil, err
	}
	p.now = c
	return c, nil
}

// bury ends a child that is of no use any more. p.mu is held.
func (p *process) bury() {
	c := p.now
	p.now = nil
	c.end(nil)
	p.fell(c.failed(), c.born)
	p.log.Warn().Err(c.failed()).Msg("program of the plugin ended")
}

// fell notes when the child may be started again. p.mu is held.
func (p *process) fell(why error, born time.Time) {
	if p.why = why; time.Since(born) > lasting {
		p.starts = 0
	}
	pause := p.longest
	if p.starts < 10 {
		pause = min(firstPause<<p.starts, p.longest)
	}
	p.starts++
	p.notYet = time.Now().Add(pause)
}

func (p *process) start() (*child, error) {
	file, name, err := p.host.find(p.args[0]) // again: a link may lead elsewhere now
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(file, p.args[1:]...) //nolint:gosec // the host names the program
	cmd.Args[0] = name
	cmd.Dir, cmd.Env = p.dir, p.env
	ownGroup(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the program: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the program: %w", err)
	}
	words, err := cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start the program: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the program: %w", err)
	}
	c := &child{cmd: cmd, in: in, born: time.Now(), ended: make(chan struct{}), waiting: map[string]chan<- ack{}, dead: make(chan struct{})}
	read := make(chan struct{})
	go func() {
		defer close(read)
		var reading sync.WaitGroup
		reading.Go(func() { c.stopped(c.readAcks(out)) })
		reading.Go(func() { relay(words, p.log) })
		reading.Wait()
	}()
	go c.attend(read, in, out, words)
	p.log.Info().Int("pid", cmd.Process.Pid).Msg("program of the plugin started")
	return c, nil
}

// attend waits for the program to end, and closes its pipes. Children of its own that left its group may hold these open for ever: what is not read soon is not waited for.
func (c *child) attend(read <-chan struct{}, pipes ...io.Closer) {
	defer close(c.ended)
	state, err := c.cmd.Process.Wait() // not cmd.Wait, which closes the pipes before they are read
	c.kill()                           // children of its own may be left
	select {
	case <-read:
	case <-time.After(lingering):
	}
	if err == nil {
		err = errors.New(state.String())
	}
	c.fail(fmt.Errorf("the program ended: %w; what it said is shown by `eventful plugin:logs`", err))
	for _, pipe := range pipes {
		_ = pipe.Close() // the input may be closed already
	}
	<-read
}

// deliver writes the changes and waits for their acknowledgements.
func (c *child) deliver(ctx context.Context, changes []plugin.Change) []plugin.Outcome {
	acks := make(chan ack, 2*len(changes))
	lines, places := make([]byte, 0, 512*len(changes)), make(map[string]int, len(changes))
	for i := range changes {
		places[changes[i].Leaf.String()] = i
		lines = append(plugin.AppendCloudEvent(lines, &changes[i]), '\n')
	}
	outcomes := plugin.All(len(changes), plugin.Outcome{}) // retry
	if err := c.await(places, acks); err != nil {
		return plugin.All(len(changes), plugin.Retry(err))
	}
	defer c.forget(places)
	written := make(chan struct{})
	go func() { // a child that does not read must not hold the call
		defer close(written)
		c.write(lines)
	}()
	left := len(changes)
	for left > 0 {
		select {
		case a := <-acks:
			if i, ok := places[a.ID]; ok {
				outcomes[i] = a.outcome()
				delete(places, a.ID)
				c.forgetOne(a.ID)
				left--
			}
			continue
		case <-c.dead:
		case <-ctx.Done():
			c.fail(fmt.Errorf("the program did not acknowledge %d of %d changes in time%s: %w; all --batch changes of a call have --call-timeout, and --concurrency calls at a time share the program: one that is slow wants fewer, or more time", left, len(changes), c.others(), ctx.Err()))
		}
		for _, i := range places {
			outcomes[i] = plugin.Retry(c.failed())
		}
		break
	}
	select {
	case <-written:
	case <-c.dead: // writing ends with the child
		c.kill()
		<-written
	}
	return outcomes
}

// await notes who waits for the acknowledgements.
func (c *child) await(places map[string]int, acks chan<- ack) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	for id := range places {
		c.waiting[id] = acks
	}
	return nil
}

func (c *child) forget(places map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range places {
		delete(c.waiting, id)
	}
}

func (c *child) forgetOne(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

func (c *child) write(lines []byte) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if _, err := c.in.Write(lines); err != nil {
		c.stopped(fmt.Errorf("%w: %w", errDeaf, err))
	}
}

// The program has ended, or closed a pipe and goes on.
var (
	errSilent = errors.New("the program closed its standard output and did not end; acknowledgements are expected there")
	errDeaf   = errors.New("the program takes no more changes from its standard input and did not end")
)

// stopped makes the child of no use. Where it is ending how it did says more than a closed pipe, so that is waited for.
func (c *child) stopped(why error) {
	if !errors.Is(why, errSilent) && !errors.Is(why, errDeaf) {
		c.fail(why)
		return
	}
	time.AfterFunc(patience, func() { c.fail(why) })
}

// fail makes the child of no use: who waits gets the first reason.
func (c *child) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.dead)
	}
}

func (c *child) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// end closes the child's input and waits for it to end, for a while; then it is killed with all its own children.
func (c *child) end(why error) {
	if why != nil {
		c.fail(why)
	}
	_ = c.in.Close() // it may be closed already
	timer := time.NewTimer(patience)
	defer timer.Stop()
	if why != nil {
		select {
		case <-c.ended:
			return
		case <-timer.C:
		}
	}
	c.kill()
	<-c.ended
}
