//! A process that may not have many files open.

use crate::crash::headwater;
use crate::harness::eventually;
use crate::jetstream::{Js, Process, block_on};
use async_nats::HeaderMap;
use serde_json::{Value, json};
use std::net::TcpStream;
use std::process::Command;

const LIMIT: usize = 256;

/// Runs the server with so many files, with no right to more.
fn limited(command: &mut Command) {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -n {LIMIT}; exec \"$0\" \"$@\"")).arg(command.get_program());
    shell.args(command.get_args()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    *command = shell;
}

/// Strangers that only connected took all descriptors. The journal could not open its next segment, took that for an error of
/// the disk, and acknowledged nothing any more, not even after they had gone.
#[test]
fn strangers_that_only_connect_do_not_keep_the_journal_from_its_files() {
    let store = tempfile::tempdir().unwrap();
    let server = Process::start_with(headwater(), store.path(), limited);
    block_on(async {
        let js = Js::connect(&server.address).await;
        js.stream("S", json!({"max_bytes": 64 * 1024 * 1024})).await;
        let strangers: Vec<TcpStream> =
            (0..LIMIT * 2).filter_map(|_| TcpStream::connect(&server.address).ok()).collect();
        assert!(strangers.len() > LIMIT);
        fill_a_segment(&js).await;
        drop(strangers);
    });
    eventually("a place for another client", || {
        use std::io::Read;
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let mut first = [0; 4];
        stream.read_exact(&mut first).is_ok() && &first == b"INFO" && {
            use std::io::Write;
            stream.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").is_ok() && reads_pong(stream)
        }
    });
}

/// The monitor took as many as it takes with thousands of files, and left none to the store.
#[test]
fn visitors_of_the_monitor_that_only_connect_do_not_keep_the_journal_from_its_files() {
    let store = tempfile::tempdir().unwrap();
    let server = Process::start_with(headwater(), store.path(), |command| {
        command.args(["-m", "-1"]);
        limited(command);
    });
    let monitor = server.monitor().expect("there is a monitor");
    block_on(async {
        let js = Js::connect(&server.address).await;
        js.stream("S", json!({"max_bytes": 64 * 1024 * 1024})).await;
        let connect = |address: &str| TcpStream::connect(address).ok();
        let strangers: Vec<TcpStream> = (0..LIMIT).filter_map(|_| connect(&server.address)).collect();
        let visitors: Vec<TcpStream> = (0..LIMIT).filter_map(|_| connect(&monitor)).collect();
        assert!(strangers.len() + visitors.len() > LIMIT);
        fill_a_segment(&js).await;
    });
}

/// Publishes more than a segment holds.
async fn fill_a_segment(js: &Js) {
    let body = bytes::Bytes::from(vec![b'x'; 900 * 1024]);
    for sequence in 1..=80 {
        let reply = js.request("s.a", HeaderMap::new(), body.clone()).await;
        let ack: Value = serde_json::from_slice(&reply.payload).unwrap();
        assert_eq!(ack["seq"], sequence, "{ack}");
    }
}

fn reads_pong(mut stream: TcpStream) -> bool {
    use std::io::Read;
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        read.extend_from_slice(&piece[..count]);
        if read.ends_with(b"PONG\r\n") {
            return true;
        }
    }
    false
}
