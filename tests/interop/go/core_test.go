package interop

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

func TestPublishSubscribe(t *testing.T) {
	nc := connect(t)
	subject := unique()
	sub, err := nc.SubscribeSync(subject + ".*")
	check(t, err)
	check(t, nc.Publish(subject+".a", []byte("hello")))
	check(t, nc.Publish(subject+".a.b", []byte("not for us")))
	check(t, nc.Publish(subject+".b", nil))
	first, err := sub.NextMsg(2 * time.Second)
	check(t, err)
	second, err := sub.NextMsg(2 * time.Second)
	check(t, err)
	equal(t, first.Subject+string(first.Data), subject+".ahello")
	equal(t, second.Subject, subject+".b")
}

func TestOrderAndCountUnderLoad(t *testing.T) {
	publisher, subscriber := connect(t), connect(t)
	subject := unique()
	const count = 100_000
	var next atomic.Int64
	var disorder atomic.Bool
	_, err := subscriber.Subscribe(subject, func(m *nats.Msg) {
		if string(m.Data) != fmt.Sprint(next.Load()) {
			disorder.Store(true)
		}
		next.Add(1)
	})
	check(t, err)
	check(t, subscriber.Flush())
	for number := range count {
		check(t, publisher.Publish(subject, fmt.Appendf(nil, "%d", number)))
	}
	check(t, publisher.Flush())
	eventually(t, "all messages", func() bool { return next.Load() == count })
	equal(t, disorder.Load(), false)
}

func TestQueueGroup(t *testing.T) {
	nc := connect(t)
	subject := unique()
	var counts [3]atomic.Int64
	for member := range counts {
		_, err := connect(t).QueueSubscribe(subject, "workers", func(*nats.Msg) { counts[member].Add(1) })
		check(t, err)
	}
	total := func() int64 { return counts[0].Load() + counts[1].Load() + counts[2].Load() }
	published := int64(0)
	publish := func() {
		check(t, nc.Publish(subject, nil))
		check(t, nc.Flush())
		published++
	}
	eventually(t, "every member to be known", func() bool {
		publish()
		return counts[0].Load() > 0 && counts[1].Load() > 0 && counts[2].Load() > 0
	})
	for range 600 {
		publish()
	}
	eventually(t, "each message once", func() bool { return total() == published })
}

func TestRequestReply(t *testing.T) {
	nc := connect(t)
	subject := unique()
	_, err := nc.Subscribe(subject, func(m *nats.Msg) { _ = m.Respond(append([]byte("re: "), m.Data...)) })
	check(t, err)
	reply, err := nc.Request(subject, []byte("x"), 2*time.Second)
	check(t, err)
	equal(t, string(reply.Data), "re: x")
}

func TestParallelRequests(t *testing.T) {
	subject := unique()
	_, err := connect(t).QueueSubscribe(subject, "q", func(m *nats.Msg) { _ = m.Respond(m.Data) })
	check(t, err)
	nc := connect(t)
	eventually(t, "the responder", func() bool { _, err := nc.Request(subject, nil, time.Second); return err == nil })
	var group sync.WaitGroup
	var failed atomic.Int64
	for number := range 500 {
		group.Go(func() {
			want := fmt.Sprint(number)
			reply, err := nc.Request(subject, []byte(want), 5*time.Second)
			if err != nil || string(reply.Data) != want {
				failed.Add(1)
			}
		})
	}
	group.Wait()
	equal(t, failed.Load(), 0)
}

func TestNoResponders(t *testing.T) {
	_, err := connect(t).Request(unique(), nil, 5*time.Second)
	if !errors.Is(err, nats.ErrNoResponders) {
		t.Fatalf("got %v", err)
	}
}

func TestHeaders(t *testing.T) {
	nc := connect(t)
	subject := unique()
	sub, err := nc.SubscribeSync(subject)
	check(t, err)
	message := nats.NewMsg(subject)
	message.Header.Add("Colour", "blue")
	message.Header.Add("Colour", "red")
	message.Data = []byte("body")
	check(t, nc.PublishMsg(message))
	received, err := sub.NextMsg(2 * time.Second)
	check(t, err)
	equal(t, fmt.Sprint(received.Header.Values("Colour")), "[blue red]")
	equal(t, string(received.Data), "body")
}

func TestAutoUnsubscribe(t *testing.T) {
	nc := connect(t)
	subject := unique()
	sub, err := nc.SubscribeSync(subject)
	check(t, err)
	check(t, sub.AutoUnsubscribe(2))
	for range 5 {
		check(t, nc.Publish(subject, nil))
	}
	for range 2 {
		_, err := sub.NextMsg(2 * time.Second)
		check(t, err)
	}
	_, err = sub.NextMsg(200 * time.Millisecond)
	if !errors.Is(err, nats.ErrMaxMessages) && !errors.Is(err, nats.ErrBadSubscription) {
		t.Fatalf("got %v", err)
	}
}

func TestDrain(t *testing.T) {
	nc := connect(t)
	subject := unique()
	var seen atomic.Int64
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	_, err := nc.Subscribe(subject, func(*nats.Msg) {
		time.Sleep(time.Millisecond)
		seen.Add(1)
	})
	check(t, err)
	check(t, nc.Flush())
	for range 100 {
		check(t, nc.Publish(subject, nil))
	}
	check(t, nc.Flush())
	check(t, nc.Drain())
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("drain does not end")
	}
	equal(t, seen.Load(), 100)
}

func TestMaxPayload(t *testing.T) {
	nc := connect(t)
	equal(t, nc.MaxPayload(), 1<<20)
	subject := unique()
	sub, err := nc.SubscribeSync(subject)
	check(t, err)
	check(t, nc.Publish(subject, make([]byte, nc.MaxPayload())))
	message, err := sub.NextMsg(5 * time.Second)
	check(t, err)
	equal(t, len(message.Data), 1<<20)
	if err := nc.Publish(subject, make([]byte, nc.MaxPayload()+1)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Fatalf("got %v", err)
	}
}

func TestServerFacts(t *testing.T) {
	nc := connect(t)
	if nc.ConnectedServerVersion() == "" || nc.ConnectedServerId() == "" {
		t.Fatal("the server does not say who it is")
	}
	id, err := nc.GetClientID()
	check(t, err)
	if id == 0 {
		t.Fatal("no client id")
	}
	ip, err := nc.GetClientIP()
	check(t, err)
	equal(t, ip.IsLoopback(), true)
	_, err = nc.RTT()
	check(t, err)
}

func TestInvalidSubjectIsReported(t *testing.T) {
	reported := make(chan error, 1)
	nc := connect(t, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case reported <- err:
		default:
		}
	}), nats.SkipSubjectValidation())
	_, err := nc.SubscribeSync("a..b")
	if err != nil {
		return // The library itself refuses it.
	}
	check(t, nc.Flush())
	select {
	case <-reported:
	case <-time.After(2 * time.Second):
		t.Fatal("the server did not complain")
	}
}

func TestService(t *testing.T) {
	nc := connect(t)
	name := unique()
	service, err := micro.AddService(nc, micro.Config{Name: name, Version: "1.0.0"})
	check(t, err)
	check(t, service.AddEndpoint("echo", micro.HandlerFunc(func(r micro.Request) { _ = r.Respond(r.Data()) }), micro.WithEndpointSubject(name)))
	reply, err := nc.Request(name, []byte("hi"), 2*time.Second)
	check(t, err)
	equal(t, string(reply.Data), "hi")
	_, err = nc.Request("$SRV.PING."+name, nil, 2*time.Second)
	check(t, err)
	check(t, service.Stop())
}
