package interop

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestFetch(t *testing.T) {
	_, stream, _ := withStream(t, 25)
	ctx := background(t)
	consumer, err := stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy})
	check(t, err)
	received := 0
	for received < 25 {
		batch, err := consumer.Fetch(10, jetstream.FetchMaxWait(2*time.Second))
		check(t, err)
		for message := range batch.Messages() {
			equal(t, string(message.Data()), fmt.Sprint(received))
			check(t, message.DoubleAck(ctx))
			received++
		}
		check(t, batch.Error())
	}
	empty, err := consumer.FetchNoWait(5)
	check(t, err)
	for range empty.Messages() {
		t.Fatal("a message too many")
	}
	info, err := consumer.Info(ctx)
	check(t, err)
	equal(t, info.AckFloor.Stream, 25)
	equal(t, info.NumPending, 0)
}

func TestFetchBytes(t *testing.T) {
	js, stream, name := withStream(t, 0)
	for range 10 {
		_, err := js.Publish(background(t), name+".a", make([]byte, 1000))
		check(t, err)
	}
	consumer, err := stream.CreateConsumer(background(t), jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	check(t, err)
	batch, err := consumer.FetchBytes(3500, jetstream.FetchMaxWait(time.Second))
	check(t, err)
	count := 0
	for range batch.Messages() {
		count++
	}
	equal(t, count, 3)
}

func TestConsume(t *testing.T) {
	js, stream, name := withStream(t, 100)
	consumer, err := stream.CreateOrUpdateConsumer(background(t), jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy})
	check(t, err)
	var seen atomic.Int64
	running, err := consumer.Consume(func(message jetstream.Msg) {
		seen.Add(1)
		_ = message.Ack()
	}, jetstream.PullMaxMessages(30))
	check(t, err)
	defer running.Stop()
	eventually(t, "what was stored", func() bool { return seen.Load() == 100 })
	for range 50 {
		_, err := js.Publish(background(t), name+".a", nil)
		check(t, err)
	}
	eventually(t, "what came later", func() bool { return seen.Load() == 150 })
}

func TestMessagesIterator(t *testing.T) {
	_, stream, _ := withStream(t, 60)
	consumer, err := stream.CreateConsumer(background(t), jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	check(t, err)
	messages, err := consumer.Messages(jetstream.PullMaxMessages(10), jetstream.PullExpiry(2*time.Second), jetstream.PullHeartbeat(500*time.Millisecond))
	check(t, err)
	for number := range 60 {
		message, err := messages.Next()
		check(t, err)
		equal(t, string(message.Data()), fmt.Sprint(number))
		check(t, message.Ack())
	}
	messages.Stop()
	if _, err := messages.Next(); !errors.Is(err, jetstream.ErrMsgIteratorClosed) {
		t.Fatalf("got %v", err)
	}
}

func TestAcksOfEveryKind(t *testing.T) {
	js, stream, name := withStream(t, 0)
	ctx := background(t)
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, AckWait: 400 * time.Millisecond})
	check(t, err)
	next := func() jetstream.Msg {
		t.Helper()
		message, err := consumer.Next(jetstream.FetchMaxWait(3 * time.Second))
		check(t, err)
		return message
	}
	delivered := func(message jetstream.Msg) uint64 {
		metadata, err := message.Metadata()
		check(t, err)
		return metadata.NumDelivered
	}
	_, err = js.Publish(ctx, name+".a", nil)
	check(t, err)
	message := next()
	equal(t, delivered(message), 1)
	check(t, message.Nak())
	message = next()
	equal(t, delivered(message), 2)
	check(t, message.NakWithDelay(200*time.Millisecond))
	message = next()
	equal(t, delivered(message), 3)
	for range 4 {
		time.Sleep(200 * time.Millisecond)
		check(t, message.InProgress())
	}
	info, err := consumer.Info(ctx)
	check(t, err)
	equal(t, info.NumAckPending, 1)
	message = next() // Not acknowledged in time.
	equal(t, delivered(message), 4)
	check(t, message.TermWithReason("enough"))
	eventually(t, "nothing pending", func() bool {
		info, err := consumer.Info(ctx)
		check(t, err)
		return info.NumAckPending == 0
	})
	if _, err := consumer.Next(jetstream.FetchMaxWait(600 * time.Millisecond)); !errors.Is(err, nats.ErrTimeout) {
		t.Fatalf("got %v", err)
	}
}

func TestBackoffAndMaxDeliver(t *testing.T) {
	nc := connect(t)
	_, stream, name := withStream(t, 1)
	consumer, err := stream.CreateConsumer(background(t), jetstream.ConsumerConfig{
		Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 3, BackOff: []time.Duration{100 * time.Millisecond, 200 * time.Millisecond},
	})
	check(t, err)
	advisory, err := nc.SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + name + ".c")
	check(t, err)
	check(t, nc.Flush())
	for range 3 {
		_, err := consumer.Next(jetstream.FetchMaxWait(3 * time.Second))
		check(t, err)
	}
	if _, err := consumer.Next(jetstream.FetchMaxWait(700 * time.Millisecond)); !errors.Is(err, nats.ErrTimeout) {
		t.Fatalf("got %v", err)
	}
	_, err = advisory.NextMsg(3 * time.Second)
	check(t, err)
}

func TestOrderedConsumer(t *testing.T) {
	js, _, name := withStream(t, 300)
	consumer, err := js.OrderedConsumer(background(t), name, jetstream.OrderedConsumerConfig{})
	check(t, err)
	messages, err := consumer.Messages()
	check(t, err)
	defer messages.Stop()
	for number := range 300 {
		message, err := messages.Next()
		check(t, err)
		equal(t, string(message.Data()), fmt.Sprint(number))
	}
}

func TestOrderedConsumerSurvivesItsDeletion(t *testing.T) {
	js, stream, name := withStream(t, 10)
	ctx := background(t)
	consumer, err := js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{})
	check(t, err)
	messages, err := consumer.Messages(jetstream.PullExpiry(2*time.Second), jetstream.PullHeartbeat(500*time.Millisecond))
	check(t, err)
	defer messages.Stop()
	for range 10 {
		_, err := messages.Next()
		check(t, err)
	}
	for consumer := range stream.ConsumerNames(ctx).Name() {
		check(t, stream.DeleteConsumer(ctx, consumer))
	}
	_, err = js.Publish(ctx, name+".a", []byte("after"))
	check(t, err)
	message, err := messages.Next(jetstream.NextContext(ctx))
	check(t, err)
	equal(t, string(message.Data()), "after")
}

func TestPushConsumer(t *testing.T) {
	_, _, name := withStream(t, 50)
	js, err := connect(t).JetStream()
	check(t, err)
	sub, err := js.SubscribeSync(name+".>", nats.EnableFlowControl(), nats.IdleHeartbeat(time.Second), nats.AckExplicit())
	check(t, err)
	for number := range 50 {
		message, err := sub.NextMsg(3 * time.Second)
		check(t, err)
		equal(t, string(message.Data), fmt.Sprint(number))
		check(t, message.AckSync())
	}
}

func TestPushQueueGroup(t *testing.T) {
	_, _, name := withStream(t, 40)
	js, err := connect(t).JetStream()
	check(t, err)
	var seen atomic.Int64
	for range 3 {
		_, err := js.QueueSubscribe(name+".>", "group", func(m *nats.Msg) { seen.Add(1); _ = m.Ack() }, nats.Durable("group"), nats.ManualAck())
		check(t, err)
	}
	eventually(t, "all of them", func() bool { return seen.Load() == 40 })
}

func TestLegacyOrderedConsumer(t *testing.T) {
	_, _, name := withStream(t, 500)
	js, err := connect(t).JetStream()
	check(t, err)
	sub, err := js.SubscribeSync(name+".>", nats.OrderedConsumer())
	check(t, err)
	for number := range 500 {
		message, err := sub.NextMsg(3 * time.Second)
		check(t, err)
		equal(t, string(message.Data), fmt.Sprint(number))
	}
}

func TestPauseAndResume(t *testing.T) {
	_, stream, _ := withStream(t, 1)
	ctx := background(t)
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy})
	check(t, err)
	paused, err := stream.PauseConsumer(ctx, "c", time.Now().Add(time.Hour))
	check(t, err)
	equal(t, paused.Paused, true)
	if _, err := consumer.Next(jetstream.FetchMaxWait(300 * time.Millisecond)); !errors.Is(err, nats.ErrTimeout) {
		t.Fatalf("got %v", err)
	}
	resumed, err := stream.ResumeConsumer(ctx, "c")
	check(t, err)
	equal(t, resumed.Paused, false)
	_, err = consumer.Next(jetstream.FetchMaxWait(2 * time.Second))
	check(t, err)
}

func TestFiltersAndPolicies(t *testing.T) {
	_, stream, name := withStream(t, 10)
	ctx := background(t)
	for what, want := range map[*jetstream.ConsumerConfig]uint64{
		{DeliverPolicy: jetstream.DeliverAllPolicy}:                                                     10,
		{DeliverPolicy: jetstream.DeliverLastPolicy}:                                                    1,
		{DeliverPolicy: jetstream.DeliverNewPolicy}:                                                     0,
		{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 8}:                         3,
		{DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, FilterSubject: name + ".*"}:              2,
		{FilterSubject: name + ".1"}:                                                                    5,
		{FilterSubjects: []string{name + ".0", name + ".1"}}:                                            10,
		{DeliverPolicy: jetstream.DeliverAllPolicy, FilterSubjects: []string{name + ".1", name + ".x"}}: 5,
	} {
		consumer, err := stream.CreateConsumer(ctx, *what)
		check(t, err)
		equal(t, consumer.CachedInfo().NumPending, want)
	}
}

func TestConsumerErrors(t *testing.T) {
	_, stream, _ := withStream(t, 0)
	ctx := background(t)
	if _, err := stream.Consumer(ctx, "none"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Fatalf("got %v", err)
	}
	_, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "c"})
	check(t, err)
	if _, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "c", Description: "x"}); !errors.Is(err, jetstream.ErrConsumerExists) {
		t.Fatalf("got %v", err)
	}
	if _, err := stream.UpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "none"}); !errors.Is(err, jetstream.ErrConsumerDoesNotExist) {
		t.Fatalf("got %v", err)
	}
}

func TestADeletedConsumerEndsConsume(t *testing.T) {
	_, stream, _ := withStream(t, 0)
	ctx := background(t)
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "c"})
	check(t, err)
	ended := make(chan error, 1)
	running, err := consumer.Consume(func(jetstream.Msg) {}, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		if errors.Is(err, jetstream.ErrConsumerDeleted) {
			ended <- err
		}
	}))
	check(t, err)
	defer running.Stop()
	eventually(t, "the request to wait", func() bool {
		info, err := consumer.Info(ctx)
		check(t, err)
		return info.NumWaiting == 1
	})
	check(t, stream.DeleteConsumer(ctx, "c"))
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("nobody told the client")
	}
}
