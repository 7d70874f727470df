//! Push consumers deliver while somebody listens, to the letter, on their deliver subject.

use crate::jetstream::{Js, text, with_jetstream};
use serde_json::json;

async fn is_bound(js: &Js, bound: bool) {
    let subject = "CONSUMER.INFO.S.c";
    let what = if bound { "somebody listens" } else { "nobody listens" };
    js.until(subject, what, |info| info["push_bound"].as_bool().unwrap_or(false) == bound).await;
}

/// Wildcards that cover the deliver subject count for nothing, as at nats-server.
#[test]
fn only_a_subscription_to_the_deliver_subject_itself_is_interest() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        js.publish("s.a", "1").await;
        let mut wide = js.client.subscribe("to.*").await.unwrap();
        let mut group = js.client.queue_subscribe("to.me", "g".into()).await.unwrap();
        js.round_trip().await;
        js.consumer("S", "c", json!({"deliver_subject": "to.me", "ack_policy": "none"})).await;
        tokio::time::sleep(crate::jetstream::MOMENT).await;
        is_bound(&js, false).await;

        let mut exact = js.subscribe("to.me").await;
        assert_eq!(text(&exact.message().await), "1");
        is_bound(&js, true).await;
        use futures::StreamExt;
        assert_eq!(text(&wide.next().await.unwrap()), "1", "whoever else listens gets it then");
        assert_eq!(text(&group.next().await.unwrap()), "1");
        exact.close().await;
        is_bound(&js, false).await;
    });
}

#[test]
fn a_deliver_group_is_bound_by_its_own_queue_group_only() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        js.publish("s.a", "1").await;
        let config = json!({"deliver_subject": "to.us", "deliver_group": "us", "ack_policy": "none"});
        js.consumer("S", "c", config).await;
        let plain = js.client.subscribe("to.us").await.unwrap();
        let others = js.client.queue_subscribe("to.us", "them".into()).await.unwrap();
        js.round_trip().await;
        tokio::time::sleep(crate::jetstream::MOMENT).await;
        is_bound(&js, false).await;
        let ours = js.client.queue_subscribe("to.us", "us".into()).await.unwrap();
        is_bound(&js, true).await;
        drop((plain, others, ours));
        js.round_trip().await;
        is_bound(&js, false).await;
    });
}

/// Every change of interest had all streams of the account looked at, each under its lock.
#[test]
fn consumers_hear_of_their_subscribers_among_thousands_of_others() {
    with_jetstream(|js| async move {
        for number in 0..50 {
            js.stream(&format!("S{number}"), json!({"storage": "memory"})).await;
        }
        js.stream("S", json!({})).await;
        js.consumer("S", "c", json!({"deliver_subject": "to.me", "ack_policy": "none"})).await;
        for round in 1..=5 {
            let mut others = Vec::new();
            for number in 0..1000 {
                others.push(js.client.subscribe(format!("other.{number}")).await.unwrap());
            }
            let mut mine = js.subscribe("to.me").await;
            drop(others);
            js.publish("s.a", &round.to_string()).await;
            assert_eq!(text(&mine.message().await), round.to_string());
            mine.close().await;
            is_bound(&js, false).await;
        }
    });
}
