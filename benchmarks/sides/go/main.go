// The side of Go's context package: does the works of benchmarks/cases.py, and answers in lines of
// JSON as benchmarks/worker.py does, which says what the requests are.
//
// The garbage is collected before each sample. The collector is not turned off meanwhile: it is what
// frees memory in Go, as the count of references, which is never off either, does in Python.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"time"
)

type figures map[string][]float64

type args struct {
	Size, Depth, Tasks, Children, Load, Repeat, Deadlines, Number int

	Trigger string
	Spread  float64 // seconds
}

// A work is done and measured by sample; check panics unless it has the outcome it should have.
type work struct {
	label  string
	sample func(args) figures
	check  func(args)
}

type request struct {
	Do, Work string
	Args     args
	Number   int
}

type answer map[string]any

var lacks = map[string]string{
	"current": "a context is handed on as an argument: there is no current one",
}

func works() map[string]work {
	all := map[string]work{}
	for _, group := range []map[string]work{blockCosts(), costs(), latencies(), memories()} {
		for name, work := range group {
			all[name] = work
		}
	}
	return all
}

const far = time.Hour

// Those who want deadlines armed and far away have them here until they are told otherwise.
var armed []context.CancelFunc

func arm(number int) {
	for _, cancel := range armed {
		cancel()
	}
	armed = nil
	for i := 0; i < number; i++ {
		_, cancel := context.WithTimeout(context.Background(), far+time.Duration(i)*time.Second)
		armed = append(armed, cancel)
	}
}

func respond(line []byte) (given answer) {
	defer func() {
		if wrong := recover(); wrong != nil {
			given = answer{"error": fmt.Sprint(wrong)}
		}
	}()
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		panic(err)
	}
	all := works()
	if asked.Do == "sides" {
		names := []string{}
		for name := range all {
			names = append(names, name)
		}
		return answer{"go": answer{"works": names, "lacks": lacks}}
	}
	if asked.Do == "deadlines" {
		arm(asked.Number)
		return answer{}
	}
	work, known := all[asked.Work]
	if !known {
		panic(fmt.Sprintf("no such work: %q", asked.Work))
	}
	switch asked.Do {
	case "check":
		work.check(asked.Args)
		return answer{"label": work.label}
	case "sample":
		runtime.GC()
		return answer{"figures": work.sample(asked.Args)}
	}
	panic(fmt.Sprintf("no such request: %q", asked.Do))
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return // the input has ended
		}
		if err := answers.Encode(respond(line)); err != nil {
			return
		}
	}
}

func expect(what string, actual, wanted any) {
	if actual != wanted {
		panic(fmt.Sprintf("wrong outcome: %s: %v instead of %v", what, actual, wanted))
	}
}
