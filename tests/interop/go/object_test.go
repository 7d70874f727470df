package interop

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func objects(t *testing.T) jetstream.ObjectStore {
	t.Helper()
	js, err := jetstream.New(connect(t))
	check(t, err)
	store, err := js.CreateObjectStore(background(t), jetstream.ObjectStoreConfig{Bucket: unique()})
	check(t, err)
	return store
}

func TestObjectPutGet(t *testing.T) {
	store, ctx := objects(t), background(t)
	data := make([]byte, 5<<20)
	_, err := rand.Read(data)
	check(t, err)
	info, err := store.PutBytes(ctx, "file", data)
	check(t, err)
	equal(t, info.Size, uint64(len(data)))
	back, err := store.GetBytes(ctx, "file")
	check(t, err)
	equal(t, bytes.Equal(back, data), true)
	_, err = store.PutString(ctx, "file", "shorter")
	check(t, err)
	text, err := store.GetString(ctx, "file")
	check(t, err)
	equal(t, text, "shorter")
}

func TestObjectListDeleteLink(t *testing.T) {
	store, ctx := objects(t), background(t)
	info, err := store.PutString(ctx, "a", "1")
	check(t, err)
	_, err = store.AddLink(ctx, "link", info)
	check(t, err)
	text, err := store.GetString(ctx, "link")
	check(t, err)
	equal(t, text, "1")
	list, err := store.List(ctx)
	check(t, err)
	equal(t, len(list), 2)
	check(t, store.Delete(ctx, "a"))
	if _, err = store.GetInfo(ctx, "a"); !errors.Is(err, jetstream.ErrObjectNotFound) {
		t.Fatalf("got %v", err)
	}
	check(t, store.UpdateMeta(ctx, "link", jetstream.ObjectMeta{Name: "link", Description: "described"}))
}

func TestObjectWatch(t *testing.T) {
	store, ctx := objects(t), background(t)
	watcher, err := store.Watch(ctx)
	check(t, err)
	defer func() { _ = watcher.Stop() }()
	if <-watcher.Updates() != nil {
		t.Fatal("the empty store has an entry")
	}
	_, err = store.PutString(ctx, "a", "1")
	check(t, err)
	select {
	case info := <-watcher.Updates():
		equal(t, info.Name, "a")
	case <-time.After(3 * time.Second):
		t.Fatal("no update")
	}
}

func TestObjectSealAndStatus(t *testing.T) {
	store, ctx := objects(t), background(t)
	_, err := store.PutString(ctx, "a", "1")
	check(t, err)
	check(t, store.Seal(ctx))
	if _, err := store.PutString(ctx, "b", "2"); err == nil {
		t.Fatal("a sealed store takes objects")
	}
	status, err := store.Status(ctx)
	check(t, err)
	equal(t, status.Sealed(), true)
}
