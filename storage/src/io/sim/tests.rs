//! The simulated disk itself.

use super::*;

fn file(io: &SimIo) -> Arc<dyn IoFile> {
    io.open(Path::new("d/f"), OpenMode::Create).unwrap()
}

#[test]
fn a_crash_keeps_what_was_synced() {
    for seed in 0..50 {
        let io = SimIo::new();
        let handle = file(&io);
        handle.write_at(&[1; 2048], 0).unwrap();
        handle.sync().unwrap();
        io.sync_dir(Path::new("d")).unwrap();
        handle.write_at(&[2; 2048], 1024).unwrap();
        io.crash(seed);
        assert!(handle.length().is_err(), "a handle does not outlive the crash");
        let content = io.content(Path::new("d/f")).unwrap();
        assert_eq!(content[..1024], [1; 1024]);
        assert!(content[1024..2048].chunks(512).all(|sector| sector == [1; 512] || sector == [2; 512]));
    }
}

#[test]
fn names_are_durable_only_after_a_directory_sync() {
    let outcomes: HashSet<bool> = (0..20)
        .map(|seed| {
            let io = SimIo::new();
            file(&io);
            io.crash(seed);
            io.content(Path::new("d/f")).is_some()
        })
        .collect();
    assert_eq!(outcomes.len(), 2);
}

#[test]
fn faults_hit_the_operation_that_was_asked_for() {
    let io = SimIo::new();
    let handle = file(&io);
    io.fail(FaultKind::Write, 1);
    handle.write_at(&[1; 512], 0).unwrap();
    assert!(handle.write_at(&[1; 512], 0).is_err());
    handle.write_at(&[1; 512], 0).unwrap();
    io.set_capacity(Some(512));
    assert!(crate::io::is_no_space(&handle.write_at(&[1; 512], 512).unwrap_err()));
}
