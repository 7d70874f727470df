//! The log as an operator sees it.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt;

use super::line::Format;
use super::sink::Sink;
use super::{Logger, NextLog, Severity, queue};
use crate::config::LogOptions;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

fn capture(options: &LogOptions, format: Format) -> (Logger, Captured) {
    let captured = Captured::default();
    (Logger::with_sink(options, Sink::Stream(Box::new(captured.clone()), format)), captured)
}

fn without_time() -> LogOptions {
    LogOptions { time: false, ..LogOptions::default() }
}

const WAIT: Duration = Duration::from_secs(10);

#[test]
fn a_line_has_the_format_of_nats_server() {
    let (logger, captured) = capture(&LogOptions::default(), Format::Plain);
    logger.write(Severity::Info, "Server is ready");
    assert!(logger.flush(WAIT));
    let text = captured.text();
    let rest = text.strip_prefix(&format!("[{}] ", std::process::id())).unwrap();
    let (time, rest) = rest.split_at("2026/11/23 06:22:51.031709".len());
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!((shape.as_str(), rest), ("0000/00/00 00:00:00.000000", " [INF] Server is ready\n"));
}

#[test]
fn severities_colours_and_no_time() {
    let (logger, captured) = capture(&without_time(), Format::Plain);
    for severity in
        [Severity::Fatal, Severity::Error, Severity::Warning, Severity::Info, Severity::Debug, Severity::Trace]
    {
        logger.write(severity, "x");
    }
    logger.flush(WAIT);
    let pid = std::process::id();
    let labels: Vec<_> = captured.text().lines().map(|line| line.replace(&format!("[{pid}] "), "")).collect();
    assert_eq!(labels, ["[FTL] x", "[ERR] x", "[WRN] x", "[INF] x", "[DBG] x", "[TRC] x"]);

    let (logger, captured) = capture(&without_time(), Format::Color);
    logger.write(Severity::Error, "x");
    logger.flush(WAIT);
    assert!(captured.text().ends_with("[\u{1b}[31mERR\u{1b}[0m] x\n"));
}

#[test]
fn what_clients_send_cannot_forge_a_line() {
    let (logger, captured) = capture(&without_time(), Format::Plain);
    logger.write(Severity::Trace, "[PUB a\r\n[1] [INF] forged \u{1b}[2J\u{7f}]");
    logger.flush(WAIT);
    assert!(captured.text().ends_with("[TRC] [PUB a\\r\\n[1] [INF] forged \\x1b[2J\\x7f]\n"), "{}", captured.text());
}

#[test]
fn events_of_all_crates_become_lines() {
    let (logger, captured) = capture(&without_time(), Format::Plain);
    let subscriber = tracing_subscriber::registry().with(logger.layer());
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!("Listening for client connections on {}:{}", "0.0.0.0", 4222);
        tracing::warn!(group = 7, behind = 12u64, peer = "n 2", "follower needs a snapshot");
        tracing::error!(error = &std::io::Error::other("full") as &dyn std::error::Error, "cannot write");
        tracing::info!(only = true);
        tracing::debug!("not enabled");
        tracing::warn!(target: "rustls", "a library warns");
        tracing::info!(target: "rustls", "a library talks");
    });
    logger.flush(WAIT);
    let pid = std::process::id();
    let lines: Vec<_> = captured.text().lines().map(|line| line.replace(&format!("[{pid}] "), "")).collect();
    assert_eq!(
        lines,
        [
            "[INF] Listening for client connections on 0.0.0.0:4222",
            "[WRN] follower needs a snapshot group=7 behind=12 peer=\"n 2\"",
            "[ERR] cannot write error=\"full\"",
            "[INF] only=true",
            "[WRN] a library warns",
        ]
    );
}

#[test]
fn levels_change_at_a_reload() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = LogOptions { file: Some(file.path().to_path_buf()), ..without_time() };
    let (logger, captured) = capture(&without_time(), Format::Plain);
    assert!(logger.is_enabled(Severity::Info) && !logger.is_enabled(Severity::Debug));
    logger.write(Severity::Info, "before");
    let next = NextLog::open(&LogOptions { trace: true, ..options }).unwrap();
    assert!(!logger.is_enabled(Severity::Trace), "before the reload is decided");
    logger.reconfigure(next);
    assert!(logger.is_enabled(Severity::Trace));
    logger.write(Severity::Info, "after");
    logger.flush(WAIT);
    assert!(captured.text().contains("before"));
    assert!(std::fs::read_to_string(file.path()).unwrap().ends_with("[INF] after\n"));
}

#[test]
fn a_pipe_that_nobody_reads_blocks_nobody() {
    let (reader, writer) = std::io::pipe().unwrap();
    let logger = Logger::with_sink(&without_time(), Sink::Stream(Box::new(writer), Format::Plain));
    let line = "x".repeat(1000);
    let start = Instant::now();
    let count = 4 * queue::QUEUE_BYTES_MAX / line.len();
    for _ in 0..count {
        logger.write(Severity::Info, &line);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(!logger.flush(Duration::from_millis(10)));
    let dropped = logger.dropped();
    assert!(dropped > 0 && dropped < count as u64);

    // Somebody reads again: what was kept arrives, and then how much was not.
    let drain = std::thread::spawn(move || {
        let mut text = String::new();
        let mut reader = std::io::BufReader::new(reader);
        loop {
            let mut next = String::new();
            std::io::BufRead::read_line(&mut reader, &mut next).unwrap();
            let is_last = next.contains("were dropped");
            text.push_str(&next);
            if is_last {
                return text;
            }
        }
    });
    let text = drain.join().unwrap();
    assert_eq!(text.lines().count() as u64, count as u64 - dropped + 1);
    assert!(text.ends_with(&format!("[WRN] {dropped} log lines were dropped: the destination does not keep up\n")));
}

#[test]
fn files_rotate_by_size_and_keep_a_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("n.log");
    std::fs::write(dir.path().join("n.log.keep.me"), "not ours").unwrap();
    let options =
        LogOptions { file: Some(path.clone()), file_bytes_max: Some(300), files_max: Some(3), ..without_time() };
    let logger = Logger::start(&options).unwrap();
    for round in 0..12 {
        logger.write(Severity::Info, format_args!("{round} {}", "y".repeat(200)));
        assert!(logger.flush(WAIT));
    }
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!((names[0].as_str(), names.last().unwrap().as_str()), ("n.log", "n.log.keep.me"));
    let current = std::fs::read_to_string(&path).unwrap();
    assert!(current.contains("Rotated log, backup saved as"), "{current}");
    assert!(current.contains("Purged log file"), "{current}");
}

#[test]
fn a_moved_file_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("n.log");
    let logger = Logger::start(&LogOptions { file: Some(path.clone()), ..without_time() }).unwrap();
    logger.write(Severity::Info, "one");
    logger.flush(WAIT);
    std::fs::rename(&path, dir.path().join("moved")).unwrap();
    logger.reopen();
    logger.flush(WAIT);
    logger.write(Severity::Info, "two");
    logger.flush(WAIT);
    assert!(std::fs::read_to_string(dir.path().join("moved")).unwrap().ends_with("[INF] one\n"));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("[INF] File log re-opened\n") && text.ends_with("[INF] two\n"), "{text}");
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let options = LogOptions { file: Some("/no/such/dir/n.log".into()), ..LogOptions::default() };
    let error = Logger::start(&options).err().unwrap().to_string();
    assert!(error.starts_with("error opening file: open /no/such/dir/n.log: "), "{error}");
}
