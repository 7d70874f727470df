package interop

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func bucket(t *testing.T, config jetstream.KeyValueConfig) jetstream.KeyValue {
	t.Helper()
	js, err := jetstream.New(connect(t))
	check(t, err)
	config.Bucket = unique()
	kv, err := js.CreateKeyValue(background(t), config)
	check(t, err)
	return kv
}

func TestKVPutGetCreateUpdate(t *testing.T) {
	kv, ctx := bucket(t, jetstream.KeyValueConfig{History: 5}), background(t)
	first, err := kv.Create(ctx, "key", []byte("one"))
	check(t, err)
	if _, err = kv.Create(ctx, "key", nil); !errors.Is(err, jetstream.ErrKeyExists) {
		t.Fatalf("got %v", err)
	}
	second, err := kv.Update(ctx, "key", []byte("two"), first)
	check(t, err)
	if _, err = kv.Update(ctx, "key", nil, first); err == nil {
		t.Fatal("an old revision was accepted")
	}
	entry, err := kv.Get(ctx, "key")
	check(t, err)
	equal(t, string(entry.Value()), "two")
	equal(t, entry.Revision(), second)
	old, err := kv.GetRevision(ctx, "key", first)
	check(t, err)
	equal(t, string(old.Value()), "one")
	if _, err = kv.Get(ctx, "none"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Fatalf("got %v", err)
	}
}

func TestKVDeleteAndPurge(t *testing.T) {
	kv, ctx := bucket(t, jetstream.KeyValueConfig{History: 5}), background(t)
	for number := range 3 {
		_, err := kv.PutString(ctx, "key", fmt.Sprint(number))
		check(t, err)
	}
	check(t, kv.Delete(ctx, "key"))
	if _, err := kv.Get(ctx, "key"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Fatalf("got %v", err)
	}
	history, err := kv.History(ctx, "key")
	check(t, err)
	equal(t, len(history), 4)
	check(t, kv.Purge(ctx, "key"))
	history, err = kv.History(ctx, "key")
	check(t, err)
	equal(t, len(history), 1)
	_, err = kv.Create(ctx, "key", []byte("again"))
	check(t, err)
	check(t, kv.PurgeDeletes(ctx))
}

func TestKVKeysAndStatus(t *testing.T) {
	kv, ctx := bucket(t, jetstream.KeyValueConfig{History: 2, TTL: time.Hour}), background(t)
	if _, err := kv.Keys(ctx); !errors.Is(err, jetstream.ErrNoKeysFound) {
		t.Fatalf("got %v", err)
	}
	for _, key := range []string{"b.1", "a.1", "a.2"} {
		_, err := kv.PutString(ctx, key, key)
		check(t, err)
	}
	keys, err := kv.Keys(ctx)
	check(t, err)
	slices.Sort(keys)
	equal(t, fmt.Sprint(keys), "[a.1 a.2 b.1]")
	lister, err := kv.ListKeysFiltered(ctx, "a.*")
	check(t, err)
	count := 0
	for range lister.Keys() {
		count++
	}
	equal(t, count, 2)
	status, err := kv.Status(ctx)
	check(t, err)
	equal(t, status.Values(), 3)
	equal(t, status.History(), 2)
	equal(t, status.TTL(), time.Hour)
}

func TestKVWatch(t *testing.T) {
	kv, ctx := bucket(t, jetstream.KeyValueConfig{}), background(t)
	_, err := kv.PutString(ctx, "a.1", "one")
	check(t, err)
	watcher, err := kv.Watch(ctx, "a.*")
	check(t, err)
	next := func() jetstream.KeyValueEntry {
		t.Helper()
		select {
		case entry := <-watcher.Updates():
			return entry
		case <-time.After(3 * time.Second):
			t.Fatal("no update")
			return nil
		}
	}
	equal(t, string(next().Value()), "one")
	if next() != nil {
		t.Fatal("the initial values do not end")
	}
	_, err = kv.PutString(ctx, "a.2", "two")
	check(t, err)
	check(t, kv.Delete(ctx, "a.1"))
	equal(t, next().Key(), "a.2")
	equal(t, next().Operation(), jetstream.KeyValueDelete)
	check(t, watcher.Stop())
	updates, err := kv.WatchAll(ctx, jetstream.UpdatesOnly(), jetstream.MetaOnly())
	check(t, err)
	_, err = kv.PutString(ctx, "a.3", "three")
	check(t, err)
	select {
	case entry := <-updates.Updates():
		equal(t, entry.Key(), "a.3")
		equal(t, len(entry.Value()), 0)
	case <-time.After(3 * time.Second):
		t.Fatal("no update")
	}
}

func TestKVKeyTTL(t *testing.T) {
	kv, ctx := bucket(t, jetstream.KeyValueConfig{LimitMarkerTTL: time.Second}), background(t)
	_, err := kv.Create(ctx, "key", []byte("x"), jetstream.KeyTTL(time.Second))
	check(t, err)
	eventually(t, "the key to expire", func() bool {
		_, err := kv.Get(ctx, "key")
		return errors.Is(err, jetstream.ErrKeyNotFound)
	})
}

func TestKVMirror(t *testing.T) {
	js, err := jetstream.New(connect(t))
	check(t, err)
	ctx, name := background(t), unique()
	origin, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: name})
	check(t, err)
	_, err = origin.PutString(ctx, "key", "value")
	check(t, err)
	_, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: name + "m", Mirror: &jetstream.StreamSource{Name: name}})
	check(t, err)
	mirror, err := js.Stream(ctx, "KV_"+name+"m")
	check(t, err)
	equal(t, mirror.CachedInfo().Config.MirrorDirect, true)
	eventually(t, "the mirror to have the key", func() bool {
		message, err := mirror.GetLastMsgForSubject(ctx, "$KV."+name+".key")
		return err == nil && string(message.Data) == "value"
	})
	watcher, err := js.KeyValue(ctx, name+"m")
	check(t, err)
	_, err = watcher.PutString(ctx, "other", "goes to the origin")
	check(t, err)
	entry, err := origin.Get(ctx, "other")
	check(t, err)
	equal(t, string(entry.Value()), "goes to the origin")
}
