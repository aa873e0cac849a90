// The redis of an Argo CD in a test: everything in memory, on the address that is given. It stands in for redis-server, which is
// not on every machine and is not a Go module; Argo CD's own tests use the same library.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: argocd-redis HOST:PORT")
		os.Exit(2)
	}
	redis := miniredis.NewMiniRedis()
	if err := redis.StartAddr(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "argocd-redis: cannot listen on %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, os.Interrupt, syscall.SIGTERM)
	tick := time.NewTicker(time.Second)
	for {
		select {
		case <-ended:
			redis.Close()
			return
		case <-tick.C:
			// Its clock stands still unless it is moved: keys would never expire.
			redis.FastForward(time.Second)
		}
	}
}
