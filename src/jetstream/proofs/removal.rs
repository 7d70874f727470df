//! What is left of a stream that was deleted: nothing.

use headwater_storage::SimIo;

use super::node_rig::Rig;

/// A worker that brought subscriptions up to date after an update could find the stream just before it was deleted, and
/// subscribe for it just after. Nobody left those subjects any more: whoever published to them waited for an answer
/// instead of hearing that there are no responders.
#[test]
fn a_deleted_stream_does_not_subscribe_again() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream("");
    let stream = rig.stream();
    assert!(stream.account().interest.any_match(b"s.a", |_| true));
    rig.grant("STREAM.DELETE.S", "");
    rig.node.subscribe(&stream);
    rig.node.subscribe_to(&stream, &stream.config());
    assert!(!stream.account().interest.any_match(b"s.a", |_| true), "nobody is there");
    rig.create_stream("");
    assert_eq!(rig.store("s.a", b"one"), 1);
}
