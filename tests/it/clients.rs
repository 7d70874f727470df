//! A stock client library against the server: what applications do all day.

use crate::harness::{PATIENCE, TestServer, eventually};
use async_nats::{ConnectOptions, HeaderMap, RequestErrorKind, Subscriber};
use futures::StreamExt;
use std::time::Duration;

async fn next(subscriber: &mut Subscriber) -> async_nats::Message {
    tokio::time::timeout(PATIENCE, subscriber.next()).await.expect("a message in time").expect("an open subscription")
}

#[test]
fn publish_subscribe_request_and_reconnect() {
    let server = TestServer::start(|_| {});
    let url = format!("nats://{}", server.address());
    server.runtime.block_on(async {
        let options = ConnectOptions::new().name("app").reconnect_delay_callback(|_| Duration::from_millis(5));
        let client = options.connect(&url).await.unwrap();
        assert_eq!(client.server_info().version, "2.15.1");
        let mut subscriber = client.subscribe("orders.*").await.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("Key", "value");
        client.publish_with_headers("orders.new", headers, "first".into()).await.unwrap();
        let message = next(&mut subscriber).await;
        let value = message.headers.as_ref().and_then(|headers| headers.get("Key"));
        assert_eq!((&message.payload[..], value.unwrap().as_str()), (&b"first"[..], "value"));

        let mut service = client.queue_subscribe("echo", "workers".into()).await.unwrap();
        let responder = client.clone();
        let answering = tokio::spawn(async move {
            while let Some(request) = service.next().await {
                responder.publish(request.reply.unwrap(), request.payload).await.unwrap();
            }
        });
        let large = vec![b'z'; 1_000_000];
        let answer = client.request("echo", large.clone().into()).await.unwrap();
        assert_eq!(answer.payload, large);
        let error = client.request("nobody", "".into()).await.unwrap_err();
        assert_eq!(error.kind(), RequestErrorKind::NoResponders);

        subscriber.unsubscribe_after(2).await.unwrap();
        client.publish("orders.a", "last".into()).await.unwrap();
        assert_eq!(&next(&mut subscriber).await.payload[..], b"last");
        assert!(tokio::time::timeout(PATIENCE, subscriber.next()).await.expect("an end in time").is_none());

        // Thrown out, the client comes back by itself with its subscriptions.
        let id = server.server.connections()[0].id;
        assert!(server.server.kick(id));
        eventually("a new connection", || server.server.connections().iter().any(|shown| shown.id != id));
        let answer = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Ok(answer) = client.request("echo", "again".into()).await {
                    return answer;
                }
            }
        });
        assert_eq!(&answer.await.unwrap().payload[..], b"again");
        client.drain().await.unwrap();
        answering.await.unwrap();
    });
}
