// Package interop exercises nats.go against the server in NATS_URL. Every test uses names of its own.
package interop

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var numbers atomic.Int64

func TestMain(m *testing.M) {
	if os.Getenv("NATS_URL") == "" {
		fmt.Fprintln(os.Stderr, "NATS_URL names no server: run through tests/interop/run.sh")
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// unique is a name that no other test uses.
func unique() string {
	return fmt.Sprintf("G%dx%d", os.Getpid(), numbers.Add(1))
}

func connect(t *testing.T, options ...nats.Option) *nats.Conn {
	t.Helper()
	connection, err := nats.Connect(os.Getenv("NATS_URL"), options...)
	check(t, err)
	t.Cleanup(connection.Close)
	return connection
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// eventually polls until the condition holds; it fails the test after ten seconds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

func background(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// withStream is a file stream on NAME.> with `count` messages on NAME.0 and NAME.1 in turn.
func withStream(t *testing.T, count int) (jetstream.JetStream, jetstream.Stream, string) {
	t.Helper()
	js, err := jetstream.New(connect(t))
	check(t, err)
	name := unique()
	stream, err := js.CreateStream(background(t), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, AllowDirect: true})
	check(t, err)
	for number := range count {
		_, err := js.Publish(background(t), fmt.Sprintf("%s.%d", name, number%2), fmt.Appendf(nil, "%d", number))
		check(t, err)
	}
	return js, stream, name
}
