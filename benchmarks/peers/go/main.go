// The servers of Go's standard library: "servers hello", "servers sleep" or "servers echo".
//
// As the Python ones: listens on a free port of 127.0.0.1, prints it, and runs until it is stopped.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
	"unsafe"
)

func hello(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "hello\n")
}

// sleep tells when it begins and when it is ended, as peers/sleeping.py does.
func sleep(w http.ResponseWriter, r *http.Request) {
	os.Stdout.WriteString("began\n")
	select {
	case <-r.Context().Done():
	case <-time.After(time.Minute):
	}
	ended := monotonic()
	fmt.Fprintf(os.Stdout, "ended %d\n", ended)
}

// monotonic is what Python's time.monotonic_ns() tells; Go has no name for it.
func monotonic() int64 {
	var now syscall.Timespec
	const clockMonotonic = 1
	_, _, failed := syscall.Syscall(
		syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&now)), 0)
	if failed != 0 {
		log.Fatal(failed)
	}
	return now.Nano()
}

func echo(listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			buffer := make([]byte, 4096)
			for {
				n, err := conn.Read(buffer)
				if err != nil {
					return
				}
				if _, err := conn.Write(buffer[:n]); err != nil {
					return
				}
			}
		}()
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	if os.Args[1] == "echo" {
		log.Fatal(echo(listener))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", hello)
	mux.HandleFunc("/sleep", sleep)
	log.Fatal(http.Serve(listener, mux))
}
