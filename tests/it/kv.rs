//! Key-value buckets and object stores as the client library builds them (K-*, O-*).

use crate::harness::PATIENCE;
use crate::jetstream::with_jetstream;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::kv::{self, Operation};
use async_nats::jetstream::object_store;
use async_nats::jetstream::stream::StorageType;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::io::AsyncReadExt as _;

async fn next<T, E: std::fmt::Debug>(stream: &mut (impl Stream<Item = Result<T, E>> + Unpin)) -> T {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("an entry in time").expect("an open watch").unwrap()
}

#[test]
fn keys_are_created_updated_deleted_and_purged() {
    for storage in [StorageType::File, StorageType::Memory] {
        with_jetstream(|js| async move {
            let config = kv::Config { bucket: "B".into(), history: 5, storage, ..kv::Config::default() };
            let bucket = js.context.create_key_value(config).await.unwrap();
            assert_eq!(bucket.create("k", "1".into()).await.unwrap(), 1);
            let taken = bucket.create("k", "x".into()).await.unwrap_err();
            assert_eq!(taken.kind(), kv::CreateErrorKind::AlreadyExists);
            assert_eq!(bucket.put("k", "2".into()).await.unwrap(), 2);
            assert_eq!(bucket.update("k", "3".into(), 2).await.unwrap(), 3);
            let stale = bucket.update("k", "x".into(), 2).await.unwrap_err();
            assert_eq!(stale.kind(), kv::UpdateErrorKind::WrongLastRevision);
            assert_eq!(bucket.get("k").await.unwrap().unwrap(), "3");
            assert_eq!(bucket.get("none").await.unwrap(), None);
            let entry = bucket.entry("k").await.unwrap().unwrap();
            assert_eq!((entry.revision, entry.operation), (3, Operation::Put));
            assert_eq!(bucket.entry_for_revision("k", 1).await.unwrap().unwrap().value, "1");

            bucket.delete("k").await.unwrap();
            assert_eq!(bucket.get("k").await.unwrap(), None);
            assert_eq!(bucket.entry("k").await.unwrap().unwrap().operation, Operation::Delete);
            bucket.create("k", "again".into()).await.unwrap();
            let history: Vec<_> = bucket.history("k").await.unwrap().try_collect().await.unwrap();
            let values: Vec<_> = history.iter().map(|entry| (entry.revision, entry.value.clone())).collect();
            assert_eq!(values.len(), 5);
            assert_eq!(values[4], (5, "again".into()));
            bucket.purge("k").await.unwrap();
            let history: Vec<_> = bucket.history("k").await.unwrap().try_collect().await.unwrap();
            assert_eq!(history.len(), 1);
            assert_eq!(history[0].operation, Operation::Purge);

            bucket.put("a", "1".into()).await.unwrap();
            bucket.put("b.c", "2".into()).await.unwrap();
            let mut keys: Vec<String> = bucket.keys().await.unwrap().try_collect().await.unwrap();
            keys.sort();
            assert_eq!(keys, ["a", "b.c"]);
            let status = bucket.status().await.unwrap();
            assert_eq!((status.bucket(), status.history()), ("B", 5));
            assert!(js.context.delete_key_value("B").await.unwrap().success);
            assert!(js.context.get_key_value("B").await.is_err());
        });
    }
}

#[test]
fn watchers_see_what_is_there_and_what_comes() {
    with_jetstream(|js| async move {
        let config = kv::Config { bucket: "B".into(), history: 3, ..kv::Config::default() };
        let bucket = js.context.create_key_value(config).await.unwrap();
        bucket.put("a", "1".into()).await.unwrap();
        bucket.put("b", "1".into()).await.unwrap();
        bucket.put("a", "2".into()).await.unwrap();

        let mut with_history = bucket.watch_with_history("a").await.unwrap();
        let first = next(&mut with_history).await;
        assert_eq!((first.value, first.seen_current), ("2".into(), true));
        let mut new = bucket.watch("a").await.unwrap();
        let mut all = bucket.watch_all().await.unwrap();
        let mut from = bucket.watch_all_from_revision(2).await.unwrap();
        assert_eq!(next(&mut from).await.key, "b");
        assert_eq!(next(&mut from).await.revision, 3);
        bucket.put("a", "3".into()).await.unwrap();
        bucket.delete("b").await.unwrap();
        for watch in [&mut with_history, &mut new] {
            assert_eq!(next(watch).await.value, "3");
        }
        assert_eq!(next(&mut all).await.value, "3");
        let deleted = next(&mut all).await;
        assert_eq!((deleted.key.as_str(), deleted.operation), ("b", Operation::Delete));
        for number in 4..50 {
            bucket.put("a", number.to_string().into()).await.unwrap();
        }
        for number in 4..50 {
            assert_eq!(next(&mut new).await.value, number.to_string());
        }
    });
}

#[test]
fn an_empty_bucket_has_no_keys_and_ends_its_listing() {
    with_jetstream(|js| async move {
        let config = kv::Config { bucket: "B".into(), ..kv::Config::default() };
        let bucket = js.context.create_key_value(config).await.unwrap();
        let keys: Vec<String> = bucket.keys().await.unwrap().try_collect().await.unwrap();
        assert!(keys.is_empty());
        let history: Vec<_> = bucket.history("k").await.unwrap().try_collect().await.unwrap();
        assert!(history.is_empty());
    });
}

#[test]
fn keys_may_expire() {
    with_jetstream(|js| async move {
        let config = kv::Config { bucket: "B".into(), limit_markers: Some(PATIENCE), ..kv::Config::default() };
        let bucket = js.context.create_key_value(config).await.unwrap();
        let mut watch = bucket.watch("k").await.unwrap();
        bucket.create_with_ttl("k", "1".into(), std::time::Duration::from_secs(1)).await.unwrap();
        assert_eq!(next(&mut watch).await.value, "1");
        assert_eq!(next(&mut watch).await.operation, Operation::Purge);
        assert_eq!(bucket.get("k").await.unwrap(), None);
    });
}

/// A bucket in memory placed its markers, but whoever waited for them heard of it with the next message or heartbeat only.
#[test]
fn whoever_waits_hears_at_once_that_a_key_has_expired() {
    for storage in [StorageType::File, StorageType::Memory] {
        with_jetstream(|js| async move {
            let limit_markers = Some(PATIENCE);
            let config = kv::Config { bucket: "B".into(), limit_markers, storage, ..kv::Config::default() };
            let bucket = js.context.create_key_value(config).await.unwrap();
            // Without heartbeats and an end: nothing but a message makes the server look after this one.
            let durable = pull::Config { durable_name: Some("D".into()), ..pull::Config::default() };
            let consumer = bucket.stream.create_consumer(durable).await.unwrap();
            let mut waiting = consumer.batch().max_messages(2).expires(10 * PATIENCE).messages().await.unwrap();
            bucket.create_with_ttl("k", "1".into(), std::time::Duration::from_secs(1)).await.unwrap();
            assert_eq!(next(&mut waiting).await.payload, "1");
            let marker = next(&mut waiting).await;
            assert_eq!(marker.headers.as_ref().unwrap().get("Nats-Marker-Reason").unwrap().as_str(), "MaxAge");
        });
    }
}

#[test]
fn objects_are_stored_in_chunks_listed_watched_and_deleted() {
    with_jetstream(|js| async move {
        let config = object_store::Config { bucket: "O".into(), ..object_store::Config::default() };
        let store = js.context.create_object_store(config).await.unwrap();
        let mut watch = store.watch().await.unwrap();
        let content: Vec<u8> = (0..700_000_u32).map(|number| (number % 251) as u8).collect();
        let put = store.put("big", &mut content.as_slice()).await.unwrap();
        assert_eq!((put.size, put.name.as_str()), (content.len(), "big"));
        assert!(put.chunks > 1);
        store.put("small", &mut "x".as_bytes()).await.unwrap();
        let mut read = Vec::new();
        store.get("big").await.unwrap().read_to_end(&mut read).await.unwrap();
        assert!(read == content);
        assert_eq!(next(&mut watch).await.name, "big");
        assert_eq!(next(&mut watch).await.name, "small");
        store.put("small", &mut "other".as_bytes()).await.unwrap();
        let mut listed: Vec<_> =
            store.list().await.unwrap().map_ok(|info| (info.name, info.size)).try_collect().await.unwrap();
        listed.sort();
        assert_eq!(listed, [("big".to_owned(), content.len()), ("small".to_owned(), 5)]);
        store.delete("big").await.unwrap();
        assert!(store.get("big").await.is_err());
        assert_eq!(js.messages("OBJ_O").await, 3, "the chunks are gone");
        js.context.delete_object_store("O").await.unwrap();
    });
}
