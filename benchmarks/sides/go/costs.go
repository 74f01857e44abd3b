package main

import (
	"context"
	"runtime"
	"sync"
	"time"
)

const timeout = 60 * time.Second

type (
	first  struct{}
	second struct{}
	third  struct{}
)

// open does what entering a block does elsewhere; the function that it returns is the leaving.
type open func(parent context.Context) (context.Context, context.CancelFunc)

func nothing() {}

func withCancel(parent context.Context) (context.Context, context.CancelFunc) {
	return context.WithCancel(parent)
}

func withTimeout(parent context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(parent, timeout)
}

func withDeadline(parent context.Context) (context.Context, context.CancelFunc) {
	return context.WithDeadline(parent, time.Now().Add(timeout))
}

func withValue(parent context.Context) (context.Context, context.CancelFunc) {
	return context.WithValue(parent, first{}, 1), nothing
}

func withValues(parent context.Context) (context.Context, context.CancelFunc) {
	ctx := context.WithValue(parent, first{}, 1)
	ctx = context.WithValue(ctx, second{}, 2)
	return context.WithValue(ctx, third{}, 3), nothing
}

func withoutCancel(parent context.Context) (context.Context, context.CancelFunc) {
	return context.WithoutCancel(parent), nothing
}

var elsewhere, endElsewhere = context.WithCancel(context.Background())

func merged(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	stop := context.AfterFunc(elsewhere, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

func noTasks(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	var tasks sync.WaitGroup
	return ctx, func() {
		tasks.Wait()
		cancel()
	}
}

func oneTask(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(parent, timeout)
	var tasks sync.WaitGroup
	tasks.Add(1)
	go tasks.Done()
	return ctx, func() {
		tasks.Wait()
		cancel()
	}
}

// kept holds what a work makes, so that the compiler does not leave it out.
var kept any

// timed is for n pieces of work at once, under a context that can be cancelled.
func timed(n int, run func(ctx context.Context, n int)) figures {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	began := time.Now()
	run(ctx, n)
	return figures{"each": {time.Since(began).Seconds() / float64(n)}}
}

func (open open) sample(asked args) figures {
	return timed(asked.Size, func(parent context.Context, n int) {
		for i := 0; i < n; i++ {
			ctx, leave := open(parent)
			kept = ctx
			leave()
		}
	})
}

// ended is what becomes of a block whose parent is cancelled.
func (open open) ended() error {
	parent, cancel := context.WithCancel(context.Background())
	ctx, leave := open(parent)
	defer leave()
	expect("the state before", ctx.Err(), nil)
	cancel()
	return ctx.Err()
}

func checkCancel(open open) {
	expect("what the parent's end does", open.ended(), context.Canceled)
	parent, cancel := context.WithCancel(context.Background())
	defer cancel()
	ctx, leave := open(parent)
	leave()
	expect("what leaving does", ctx.Err(), context.Canceled)
	expect("what that does to the parent", parent.Err(), nil)
}

func checkTimeout(open open) {
	checkCancel(open)
	ctx, leave := open(context.Background())
	defer leave()
	deadline, _ := ctx.Deadline()
	expect("time left", time.Until(deadline).Round(time.Second), timeout)
}

func checkValue(open open) {
	expect("what the parent's end does", open.ended(), context.Canceled)
	ctx, _ := open(context.Background())
	expect("the value", ctx.Value(first{}), 1)
}

func checkValues(open open) {
	checkValue(open)
	ctx, _ := open(context.Background())
	expect("the second value", ctx.Value(second{}), 2)
	expect("the third value", ctx.Value(third{}), 3)
}

func checkShield(open open) {
	expect("what the parent's end does", open.ended(), nil)
}

func checkMerged(open open) {
	checkCancel(open)
	ctx, leave := open(context.Background())
	defer leave()
	endElsewhere()
	<-ctx.Done()
	elsewhere, endElsewhere = context.WithCancel(context.Background())
}

func blockCosts() map[string]work {
	block := func(label string, open open, check func(open)) work {
		return work{label, open.sample, func(args) { check(open) }}
	}
	linked := block("context.WithCancel, cancel(): each child is linked", withCancel, checkCancel)
	return map[string]work{
		"with_cancel":    block("context.WithCancel, cancel()", withCancel, checkCancel),
		"with_timeout":   block("context.WithTimeout, cancel()", withTimeout, checkTimeout),
		"with_deadline":  block("context.WithDeadline, cancel()", withDeadline, checkTimeout),
		"with_value":     block("context.WithValue", withValue, checkValue),
		"with_values":    block("three times context.WithValue", withValues, checkValues),
		"without_cancel": block("context.WithoutCancel", withoutCancel, checkShield),
		"merge":          block("context.WithCancel, context.AfterFunc", merged, checkMerged),
		"linked_new":     linked,
		"linked_open":    linked,
		"tasks_none":     block("context.WithCancel, sync.WaitGroup", noTasks, checkCancel),
		"tasks_one":      block("context.WithTimeout, sync.WaitGroup, go", oneTask, checkTimeout),
	}
}

func startSoon(_ context.Context, n int) {
	var tasks sync.WaitGroup
	for i := 0; i < n; i++ {
		tasks.Add(1)
		go tasks.Done()
	}
	tasks.Wait()
}

func look(ctx context.Context, n int) {
	for i := 0; i < n; i++ {
		kept = ctx.Err()
	}
}

func afterFunc(ctx context.Context, n int) {
	for i := 0; i < n; i++ {
		stop := context.AfterFunc(ctx, nothing)
		stop()
	}
}

type level int

// valueBelow is a context with so many values, of which first{}'s is the outermost.
func valueBelow(depth int) context.Context {
	ctx := context.WithValue(context.Background(), first{}, 1)
	for i := 1; i < depth; i++ {
		ctx = context.WithValue(ctx, level(i), i)
	}
	return ctx
}

// deadlineBelow is so many contexts deep; the outermost one has the deadline, and is ended by end.
func deadlineBelow(depth int) (ctx context.Context, leave, end context.CancelFunc) {
	outer, end := context.WithTimeout(context.Background(), timeout)
	ctx, leave = nested(depth)(outer)
	return ctx, leave, end
}

func lookUp(asked args) figures {
	ctx := valueBelow(asked.Depth)
	return timed(asked.Size, func(_ context.Context, n int) {
		for i := 0; i < n; i++ {
			kept = ctx.Value(first{})
		}
	})
}

func askDeadline(asked args) figures {
	ctx, leave, end := deadlineBelow(asked.Depth)
	defer end()
	defer leave()
	var deadline time.Time
	found := timed(asked.Size, func(_ context.Context, n int) {
		for i := 0; i < n; i++ {
			deadline, _ = ctx.Deadline()
		}
	})
	kept = deadline
	return found
}

func costs() map[string]work {
	many := func(run func(context.Context, int)) func(args) figures {
		return func(asked args) figures { return timed(asked.Size, run) }
	}
	return map[string]work{
		"start_soon": {"go, sync.WaitGroup", many(startSoon), func(args) {
			startSoon(context.Background(), 100)
		}},
		"check": {"ctx.Err()", many(look), func(args) {
			expect("what is found", open(withCancel).ended(), context.Canceled)
		}},
		"after_func": {"context.AfterFunc, stop()", many(afterFunc), checkAfterFunc},
		"value": {"ctx.Value(key)", lookUp, func(asked args) {
			expect("the value", valueBelow(asked.Depth).Value(first{}), 1)
		}},
		"deadline": {"ctx.Deadline()", askDeadline, func(asked args) {
			ctx, leave, end := deadlineBelow(asked.Depth)
			defer leave()
			deadline, _ := ctx.Deadline()
			expect("time left", time.Until(deadline).Round(time.Second), timeout)
			end()
			expect("what the outermost's end does", ctx.Err(), context.Canceled)
		}},
	}
}

func checkAfterFunc(args) {
	called := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	context.AfterFunc(ctx, func() { close(called) })
	stop := context.AfterFunc(ctx, func() { panic("wrong outcome: called after stop()") })
	expect("whether the call was taken back", stop(), true)
	cancel()
	<-called
}

// inUse is what is allocated and not garbage, in bytes, without the stacks of goroutines.
func inUse() float64 {
	runtime.GC()
	runtime.GC() // the first one may leave what was being swept
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

// memory is what each of so many takes that are open at once, each the parent of the next if nested.
func (open open) memory(number int, nested bool) figures {
	root, end := context.WithCancel(context.Background())
	defer end()
	contexts := make([]context.Context, number)
	leave := make([]context.CancelFunc, number)
	before := inUse()
	parent := root
	for i := range contexts {
		contexts[i], leave[i] = open(parent)
		if nested {
			parent = contexts[i]
		}
	}
	after := inUse()
	expect("the state of the innermost", contexts[number-1].Err(), nil)
	for i := number - 1; i >= 0; i-- {
		leave[i]()
	}
	return figures{"bytes": {(after - before) / float64(number)}}
}

// sooner has each timeout end before that of its parent; otherwise Go would not keep its own.
func sooner() open {
	left := timeout
	return func(parent context.Context) (context.Context, context.CancelFunc) {
		left -= time.Millisecond
		return context.WithTimeout(parent, left)
	}
}

func memories() map[string]work {
	block := func(label string, open func() open, check func(open)) work {
		return work{
			label,
			func(asked args) figures { return open().memory(asked.Number, true) },
			func(args) { check(open()) },
		}
	}
	always := func(block open) func() open { return func() open { return block } }
	return map[string]work{
		"memory_with_cancel":  block("context.WithCancel", always(withCancel), checkCancel),
		"memory_with_timeout": block("context.WithTimeout", sooner, checkTimeout),
		"memory_with_value":   block("context.WithValue", always(withValue), checkValue),
		"memory_tasks":        block("context.WithCancel, sync.WaitGroup", always(noTasks), checkCancel),
		"memory_linked": {
			"context.WithCancel: each child is linked",
			func(asked args) figures { return open(withCancel).memory(asked.Number, false) },
			func(args) { checkCancel(withCancel) },
		},
	}
}
