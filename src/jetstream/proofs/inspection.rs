//! What `headwater store inspect` says about a store that a node has left.

use headwater_storage::SimIo;

use super::super::inspect;
use super::node_rig::{DIRECTORY, Rig};

#[test]
fn a_stopped_store_says_which_streams_it_holds_and_how_they_are_configured() {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream("");
    rig.grant("STREAM.UPDATE.S", r#"{"name":"S","subjects":["s.>"],"storage":"file","max_msgs":77}"#);
    rig.grant("STREAM.CREATE.M", r#"{"name":"M","subjects":["m"],"storage":"memory"}"#);
    rig.grant("STREAM.CREATE.GONE", r#"{"name":"GONE","subjects":["gone"],"storage":"file"}"#);
    rig.grant("STREAM.DELETE.GONE", "");
    for _ in 0..300 {
        rig.store("s.1", &[7; 2000]);
    }
    let id = rig.stream().group();
    rig.node.checkpoint(id);
    rig.drive();
    rig.stop();
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    for path in io.paths() {
        assert!(path.starts_with(DIRECTORY));
        std::fs::write(journal.join(path.file_name().unwrap()), io.content(&path).unwrap()).unwrap();
    }
    let mut out = Vec::new();
    assert!(inspect::report(directory.path(), true, &mut out).unwrap(), "no damage");
    let text = String::from_utf8(out).unwrap();
    let line = |needle: &str| text.lines().find(|line| line.contains(needle)).unwrap_or_else(|| panic!("{text}"));
    assert!(line("stream S of account A: {").contains(r#""max_msgs":77"#));
    assert!(line("stream M of account A: {").contains(r#""storage":"memory""#));
    assert!(text.contains("the list of streams") && !text.contains("stream GONE"), "{text}");
}
