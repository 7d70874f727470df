//! What the operator writes: the configuration, the command line, the system's time zone.

use super::examples_of;
use std::ffi::OsString;

use headwater::logging::timezone::Zone;

/// A configuration is read or refused with a place; it never takes the process along.
pub fn configuration(data: &[u8]) {
    // An include would read whatever file the fuzzer thinks of.
    if data.windows(7).any(|window| window.eq_ignore_ascii_case(b"include")) {
        return;
    }
    if let Err(error) = headwater::config::load_text(data) {
        assert!(!error.to_string().is_empty(), "a refusal says why");
    }
}

/// A command line is understood or refused; durations are read or refused.
pub fn command_lines(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let arguments = std::iter::once("server").chain(text.split('\n')).map(OsString::from);
    if let Err(refusal) = headwater::cli::parse(arguments) {
        assert!(!refusal.is_empty(), "a refusal says why");
    }
    let _ = headwater::config::parse_duration(text);
}

/// Whatever the zone file says, the time of a log line can be told.
pub fn time_zones(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let zone = match kind % 2 {
        0 => Zone::parse(rest),
        _ => std::str::from_utf8(rest).ok().and_then(Zone::of_rule),
    };
    let Some(zone) = zone else { return };
    for year in 0..130 {
        let _ = zone.offset_at(year * 31_556_952);
    }
}

pub fn configuration_examples() -> Vec<Vec<u8>> {
    let texts = [
        "port: 4222\njetstream { store_dir: \"/tmp/x\", max_file: 10G }\n",
        "accounts { A { users = [ {user: a, password: b, permissions: {publish: \"a.>\"}} ], jetstream: enabled } }",
        "x = 5m\nauthorization: { token: $T, timeout: 1.5 } # note\n// other\nlisten 127.0.0.1:-1\ny: (\nblock\n)\n",
    ];
    examples_of(&texts)
}

pub fn command_line_examples() -> Vec<Vec<u8>> {
    let texts =
        ["-js\n--store_dir=/x\n-p\n4222\n-DVV", "--signal\nstop=1", "store\nverify\n/x", "-t\n-c\nx.conf", "1h2.5s"];
    examples_of(&texts)
}

pub fn time_zone_examples() -> Vec<Vec<u8>> {
    let header = |times: u8, types: u8| {
        let mut bytes = b"TZif2".to_vec();
        bytes.extend([0; 15]);
        for count in [0, 0, 0, times, types, 4] {
            bytes.extend([0, 0, 0, count]);
        }
        bytes
    };
    let first = [&header(0, 1)[..], &[0; 6], b"UTC\0"].concat();
    let second = [&header(1, 1)[..], &1000i64.to_be_bytes(), &[0], &[0, 0, 14, 16, 0, 0], b"CET\0"].concat();
    let rule = b"CET-1CEST,M3.5.0,M10.5.0/3";
    vec![
        [&[0], &first[..], &second, b"\n", rule, b"\n"].concat(),
        [&[1], &rule[..]].concat(),
        b"\x01EST5EDT,J60/1:30,300".to_vec(),
        b"\x01<-03>3".to_vec(),
    ]
}
