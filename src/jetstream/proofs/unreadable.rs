//! Messages that can not be read when they are to be delivered.

use headwater_storage::SimIo;
use serde_json::Value;

use super::node_rig::Rig;

const MESSAGES: u64 = 100;
const DAMAGED: u64 = 20;

/// Numbers of a consumer once it has delivered what there was.
fn delivered_by(rig: &mut Rig, consumer: &str) -> (usize, Value) {
    let body = format!(r#"{{"batch":{},"no_wait":true}}"#, 2 * MESSAGES);
    rig.send(&format!("$JS.API.CONSUMER.MSG.NEXT.S.{consumer}"), b"", body.as_bytes());
    rig.drive();
    let count = rig.take("delivered").iter().filter(|message| message.reply.is_some()).count();
    let info = rig.grant(&format!("CONSUMER.INFO.S.{consumer}"), "");
    let numbers = ["num_pending", "num_ack_pending", "delivered"].map(|name| info[name].clone());
    (count, serde_json::json!([numbers[0], numbers[1], numbers[2]["consumer_seq"], numbers[2]["stream_seq"]]))
}

/// The one with a filter never said that it had passed over a message, and waited for it for ever. Then all counted it as
/// delivered, to nobody, and had it pending for ever.
#[test]
fn a_consumer_with_a_filter_finds_a_damaged_message_as_one_without_does() {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream("");
    for number in 1..=MESSAGES {
        let body: Vec<u8> = format!("{number}:").bytes().cycle().take(2000).collect();
        rig.store("s.1", &body);
        rig.store("s.2", b"for others");
    }
    // What a start replays it knows to be lost.
    let group = rig.stream().group();
    rig.node.checkpoint(group);
    rig.drive();
    rig.stop();
    let needle: Vec<u8> = format!("{DAMAGED}:").bytes().cycle().take(2000).collect();
    for path in io.paths() {
        let mut content = io.content(&path).unwrap();
        if let Some(at) = content.windows(needle.len()).position(|window| window == needle) {
            content[at + 1000] ^= 1;
            io.set_content(&path, content);
        }
    }
    let mut rig = Rig::start(&io);
    for (name, filters) in [("ALL", r#"[]"#), ("ONE", r#"["s.1"]"#), ("BOTH", r#"["s.1","s.2"]"#)] {
        let config = format!(
            r#"{{"durable_name":"{name}","ack_policy":"explicit","ack_wait":3600000000000,"filter_subjects":{filters}}}"#
        );
        let body = format!(r#"{{"stream_name":"S","config":{config}}}"#);
        rig.grant(&format!("CONSUMER.DURABLE.CREATE.S.{name}"), &body);
    }
    let all = 2 * MESSAGES;
    assert_eq!(delivered_by(&mut rig, "ALL"), (all as usize - 1, serde_json::json!([0, all - 1, all - 1, all])));
    assert_eq!(delivered_by(&mut rig, "BOTH"), (all as usize - 1, serde_json::json!([0, all - 1, all - 1, all])));
    let one = serde_json::json!([0, MESSAGES - 1, MESSAGES - 1, all - 1]);
    assert_eq!(delivered_by(&mut rig, "ONE"), (MESSAGES as usize - 1, one));
    assert_eq!(rig.node.stats().damaged_records, 1);
}
