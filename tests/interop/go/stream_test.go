package interop

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestStreamLifeCycle(t *testing.T) {
	js, err := jetstream.New(connect(t))
	check(t, err)
	ctx, name := background(t), unique()
	config := jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, Description: "first", Metadata: map[string]string{"a": "b"}}
	_, err = js.CreateStream(ctx, config)
	check(t, err)
	_, err = js.CreateStream(ctx, config)
	check(t, err) // The same configuration again is no error.
	config.Description = "second"
	if _, err = js.CreateStream(ctx, config); !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		t.Fatalf("got %v", err)
	}
	stream, err := js.UpdateStream(ctx, config)
	check(t, err)
	equal(t, stream.CachedInfo().Config.Description, "second")
	found, err := js.StreamNameBySubject(ctx, name+".x")
	check(t, err)
	equal(t, found, name)
	var listed bool
	for info := range js.ListStreams(ctx).Info() {
		listed = listed || info.Config.Name == name
	}
	equal(t, listed, true)
	check(t, js.DeleteStream(ctx, name))
	if _, err = js.Stream(ctx, name); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatalf("got %v", err)
	}
}

func TestPublishOptions(t *testing.T) {
	js, _, name := withStream(t, 0)
	ctx := background(t)
	first, err := js.Publish(ctx, name+".a", nil, jetstream.WithMsgID("one"))
	check(t, err)
	again, err := js.Publish(ctx, name+".a", nil, jetstream.WithMsgID("one"))
	check(t, err)
	equal(t, first.Sequence, again.Sequence)
	equal(t, again.Duplicate, true)
	_, err = js.Publish(ctx, name+".a", nil, jetstream.WithExpectStream(name), jetstream.WithExpectLastSequence(1), jetstream.WithExpectLastMsgID("one"))
	check(t, err)
	for _, option := range []jetstream.PublishOpt{
		jetstream.WithExpectStream("other"), jetstream.WithExpectLastSequence(9), jetstream.WithExpectLastMsgID("zero"),
		jetstream.WithExpectLastSequencePerSubject(9),
	} {
		if _, err = js.Publish(ctx, name+".a", nil, option); err == nil {
			t.Fatal("a wrong expectation was accepted")
		}
	}
	_, err = js.Publish(ctx, name+".new", nil, jetstream.WithExpectLastSequencePerSubject(0))
	check(t, err)
}

func TestAsyncPublish(t *testing.T) {
	js, stream, name := withStream(t, 0)
	const count = 5000
	futures := make([]jetstream.PubAckFuture, count)
	for number := range futures {
		future, err := js.PublishAsync(name+".a", fmt.Appendf(nil, "%d", number))
		check(t, err)
		futures[number] = future
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(10 * time.Second):
		t.Fatal("not all acknowledged")
	}
	for number, future := range futures {
		ack := <-future.Ok()
		equal(t, ack.Sequence, uint64(number+1))
	}
	info, err := stream.Info(background(t))
	check(t, err)
	equal(t, info.State.Msgs, count)
}

func TestReadsAndRemovals(t *testing.T) {
	js, stream, name := withStream(t, 6)
	ctx := background(t)
	message, err := stream.GetMsg(ctx, 3)
	check(t, err)
	equal(t, message.Subject+string(message.Data), name+".02")
	last, err := stream.GetLastMsgForSubject(ctx, name+".1")
	check(t, err)
	equal(t, last.Sequence, 6)
	next, err := stream.GetMsg(ctx, 2, jetstream.WithGetMsgSubject(name+".0"))
	check(t, err)
	equal(t, next.Sequence, 3)
	check(t, stream.DeleteMsg(ctx, 3))
	if _, err = stream.GetMsg(ctx, 3); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Fatalf("got %v", err)
	}
	check(t, stream.SecureDeleteMsg(ctx, 4))
	info, err := stream.Info(ctx, jetstream.WithDeletedDetails(true), jetstream.WithSubjectFilter(">"))
	check(t, err)
	equal(t, fmt.Sprint(info.State.Deleted), "[3 4]")
	equal(t, info.State.Subjects[name+".0"], 2)
	check(t, stream.Purge(ctx, jetstream.WithPurgeSubject(name+".1")))
	check(t, stream.Purge(ctx, jetstream.WithPurgeSequence(5)))
	info, err = stream.Info(ctx)
	check(t, err)
	equal(t, info.State.Msgs, 1)
	check(t, stream.Purge(ctx))
	_, err = js.Publish(ctx, name+".a", nil)
	check(t, err)
	info, err = stream.Info(ctx)
	check(t, err)
	equal(t, info.State.FirstSeq, 7)
}

func TestLimitsAndErrors(t *testing.T) {
	js, err := jetstream.New(connect(t))
	check(t, err)
	ctx, name := background(t), unique()
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{name + ".>"}, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgs: 3,
	})
	check(t, err)
	_, err = js.Publish(ctx, name+".a", nil)
	check(t, err)
	_, err = js.Publish(ctx, name+".a", nil)
	var refusal *jetstream.APIError
	if !errors.As(err, &refusal) || refusal.Description != "maximum messages per subject exceeded" {
		t.Fatalf("got %v", err)
	}
	if _, err = js.Publish(ctx, unique(), nil, jetstream.WithRetryAttempts(1), jetstream.WithRetryWait(10*time.Millisecond)); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Fatalf("got %v", err)
	}
}

func TestMessageTTL(t *testing.T) {
	js, err := jetstream.New(connect(t))
	check(t, err)
	ctx, name := background(t), unique()
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, AllowMsgTTL: true})
	check(t, err)
	_, err = js.Publish(ctx, name+".a", nil, jetstream.WithMsgTTL(time.Second))
	check(t, err)
	eventually(t, "the message to expire", func() bool {
		info, err := stream.Info(ctx)
		check(t, err)
		return info.State.Msgs == 0
	})
}

func TestRepublishAndTransform(t *testing.T) {
	nc := connect(t)
	js, err := jetstream.New(nc)
	check(t, err)
	ctx, name := background(t), unique()
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{name + ".in.*"},
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: name + ".in.*", Destination: name + ".stored.{{wildcard(1)}}"},
		RePublish:        &jetstream.RePublish{Source: name + ".stored.*", Destination: name + ".out.{{wildcard(1)}}"},
	})
	check(t, err)
	sub, err := nc.SubscribeSync(name + ".out.*")
	check(t, err)
	_, err = js.Publish(ctx, name+".in.x", []byte("body"))
	check(t, err)
	message, err := sub.NextMsg(2 * time.Second)
	check(t, err)
	equal(t, message.Subject, name+".out.x")
	equal(t, message.Header.Get("Nats-Stream"), name)
	equal(t, message.Header.Get("Nats-Subject"), name+".stored.x")
	equal(t, message.Header.Get("Nats-Sequence"), "1")
}

func TestMirrorAndSources(t *testing.T) {
	js, _, name := withStream(t, 20)
	ctx := background(t)
	mirror, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name + "m", Mirror: &jetstream.StreamSource{Name: name}})
	check(t, err)
	sources, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name + "s", Sources: []*jetstream.StreamSource{{Name: name, FilterSubject: name + ".1"}}})
	check(t, err)
	eventually(t, "the copies to catch up", func() bool {
		left, err := mirror.Info(ctx)
		check(t, err)
		right, err := sources.Info(ctx)
		check(t, err)
		return left.State.Msgs == 20 && right.State.Msgs == 10
	})
	message, err := mirror.GetMsg(ctx, 7)
	check(t, err)
	equal(t, string(message.Data), "6")
}

func TestDirectGetsOfTheOldAPI(t *testing.T) {
	_, _, name := withStream(t, 4)
	js, err := connect(t).JetStream()
	check(t, err)
	message, err := js.GetMsg(name, 2, nats.DirectGet())
	check(t, err)
	equal(t, string(message.Data), "1")
	last, err := js.GetLastMsg(name, name+".0", nats.DirectGet())
	check(t, err)
	equal(t, last.Sequence, 3)
}

func TestAccountInfo(t *testing.T) {
	js, _, _ := withStream(t, 1)
	info, err := js.AccountInfo(background(t))
	check(t, err)
	if info.Streams < 1 {
		t.Fatalf("%+v", info)
	}
}
