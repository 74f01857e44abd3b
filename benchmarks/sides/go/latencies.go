package main

import (
	"context"
	"fmt"
	"math/rand"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	busy = 20 * time.Microsecond
	idle = time.Millisecond // another thread waits for so long, so that nothing is left to do
)

// A run is one end of a context for which goroutines wait.
type run struct {
	began time.Time   // when the context was ended, or should have
	woke  []time.Time // each goroutine
	ended []error     // what each found then
	left  time.Time   // when all had gone
}

// lead is how long a deadline is away at first, so that all wait for it by then.
func lead(tasks int) time.Duration {
	return 5*time.Millisecond + time.Duration(tasks)*3*time.Microsecond
}

// load keeps so many goroutines working until the function that it returns is called.
func load(number int) func() {
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	for i := 0; i < number; i++ {
		tasks.Add(1)
		go func() {
			defer tasks.Done()
			for ctx.Err() == nil {
				for until := time.Now().Add(busy); time.Now().Before(until); {
				}
				runtime.Gosched()
			}
		}()
	}
	return func() {
		cancel()
		tasks.Wait()
	}
}

// An ending is a context, and how it ends.
type ending struct {
	ctx     context.Context
	end     func()             // called when all wait for it
	release context.CancelFunc // called when all have gone
	began   time.Time          // when it was ended, or should have
}

// trigger makes an ending; a deadline is so long away.
func trigger(how string, lead time.Duration) *ending {
	ctx, cancel := context.WithCancel(context.Background())
	made := &ending{ctx: ctx, release: cancel}
	switch how {
	case "cancel":
		made.end = func() {
			made.began = time.Now()
			cancel()
		}
	case "deadline":
		made.began = time.Now().Add(lead)
		made.ctx, made.release = context.WithDeadline(ctx, made.began)
		made.end = nothing
	case "thread":
		start, over := make(chan struct{}), make(chan struct{})
		go func() {
			runtime.LockOSThread() // this thread runs nothing else until it is over
			defer runtime.UnlockOSThread()
			<-start
			time.Sleep(idle)
			made.began = time.Now()
			cancel()
			<-over
		}()
		made.end = func() { close(start) }
		made.release = func() { close(over) }
	case "signal":
		made.ctx, made.release = signal.NotifyContext(ctx, syscall.SIGUSR1)
		made.end = func() {
			made.began = time.Now()
			if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
				panic(err)
			}
		}
	default:
		panic(fmt.Sprintf("no such trigger: %q", how))
	}
	return made
}

// waited lets so many goroutines wait, each in what enter makes of the context that ends.
func waited(asked args, tasks int, enter open) run {
	unload := load(asked.Load)
	defer unload()
	for lead := lead(tasks); ; lead *= 2 {
		ending := trigger(asked.Trigger, lead)
		found := run{woke: make([]time.Time, tasks), ended: make([]error, tasks)}
		var waiting, all sync.WaitGroup
		waiting.Add(tasks)
		all.Add(tasks)
		for i := 0; i < tasks; i++ {
			go func(i int) {
				defer all.Done()
				ctx, leave := enter(ending.ctx)
				waiting.Done()
				<-ctx.Done()
				found.woke[i] = time.Now()
				found.ended[i] = ctx.Err()
				leave()
			}(i)
		}
		waiting.Wait()
		runtime.Gosched() // the last one is still on its way into its wait
		inTime := asked.Trigger != "deadline" || time.Now().Before(ending.began)
		ending.end()
		all.Wait()
		found.left = time.Now()
		found.began = ending.began
		ending.release()
		if inTime {
			return found
		}
	}
}

func (found run) since(moment time.Time) float64 { return moment.Sub(found.began).Seconds() }

func (found run) figures() figures {
	first, last := found.woke[0], found.woke[0]
	for _, moment := range found.woke {
		if moment.Before(first) {
			first = moment
		}
		if moment.After(last) {
			last = moment
		}
	}
	return figures{
		"first": {found.since(first)},
		"last":  {found.since(last)},
		"left":  {found.since(found.left)},
	}
}

func (found run) check(how string) {
	wanted := context.Canceled
	if how == "deadline" {
		wanted = context.DeadlineExceeded
	}
	for i, err := range found.ended {
		expect("how a wait ended", err, wanted)
		if found.woke[i].Before(found.began) {
			panic("wrong outcome: a wait ended too early")
		}
	}
}

func same(outer context.Context) (context.Context, context.CancelFunc) { return outer, nothing }

// nested is so many contexts, the outermost around it included.
func nested(depth int) open {
	return func(outer context.Context) (context.Context, context.CancelFunc) {
		ctx := outer
		cancels := make([]context.CancelFunc, depth-1)
		for i := range cancels {
			ctx, cancels[i] = context.WithCancel(ctx)
		}
		return ctx, func() {
			for i := len(cancels) - 1; i >= 0; i-- {
				cancels[i]()
			}
		}
	}
}

// ends is the work of a latency: of says how many wait, and in what.
func ends(label string, of func(args) (int, open)) work {
	return work{
		label,
		func(asked args) figures {
			tasks, enter := of(asked)
			all := figures{}
			for i := 0; i < asked.Repeat; i++ {
				for name, values := range waited(asked, tasks, enter).figures() {
					all[name] = append(all[name], values...)
				}
			}
			return all
		},
		func(asked args) {
			tasks, enter := of(asked)
			waited(asked, tasks, enter).check(asked.Trigger)
		},
	}
}

// cancelAll is like a fan-out, with nothing noted meanwhile.
func cancelAll(asked args) figures {
	ctx, cancel := context.WithCancel(context.Background())
	var waiting, all sync.WaitGroup
	waiting.Add(asked.Tasks)
	all.Add(asked.Tasks)
	for i := 0; i < asked.Tasks; i++ {
		go func() {
			waiting.Done()
			<-ctx.Done()
			all.Done()
		}()
	}
	waiting.Wait()
	runtime.Gosched() // the last one is still on its way into its wait
	began := time.Now()
	cancel()
	all.Wait()
	return figures{"left": {time.Since(began).Seconds()}}
}

// late gives for each of so many deadlines, armed in no order, how long after it its goroutine woke.
func late(asked args) figures {
	step := asked.Spread / float64(asked.Deadlines) * float64(time.Second)
	places := rand.New(rand.NewSource(int64(asked.Deadlines))).Perm(asked.Deadlines)
	lateness := make([]float64, asked.Deadlines)
	for lead := lead(asked.Deadlines); ; lead *= 2 {
		first := time.Now().Add(lead)
		var waiting, all sync.WaitGroup
		waiting.Add(asked.Deadlines)
		all.Add(asked.Deadlines)
		for _, place := range places {
			go func(place int) {
				defer all.Done()
				deadline := first.Add(time.Duration(step * float64(place)))
				ctx, cancel := context.WithDeadline(context.Background(), deadline)
				defer cancel()
				waiting.Done()
				<-ctx.Done()
				lateness[place] = time.Since(deadline).Seconds()
			}(place)
		}
		waiting.Wait()
		inTime := time.Now().Before(first)
		all.Wait()
		if inTime {
			return figures{"late": lateness}
		}
	}
}

func latencies() map[string]work {
	cancelled := args{Trigger: "cancel"}
	return map[string]work{
		"fanout": ends("<-ctx.Done(), sync.WaitGroup", func(asked args) (int, open) {
			return asked.Tasks, same
		}),
		"depth": ends("<-ctx.Done() below nested context.WithCancel", func(asked args) (int, open) {
			return 1, nested(asked.Depth)
		}),
		"linked": ends("<-ctx.Done() of context.WithCancel(parent) each", func(asked args) (int, open) {
			return asked.Children, withCancel
		}),
		"cancel_all": {"cancel(), sync.WaitGroup", cancelAll, func(asked args) {
			waited(cancelled, asked.Tasks, same).check("cancel")
		}},
		"lateness": {"context.WithDeadline, <-ctx.Done()", late, func(asked args) {
			asked.Deadlines, asked.Spread = 10, 0.01
			for _, lateness := range late(asked)["late"] {
				if lateness < 0 {
					panic("wrong outcome: a wait ended too early")
				}
			}
		}},
	}
}
