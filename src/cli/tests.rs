//! The command line as harnesses use it (F-10, appendix D 1, 2, 5, 7).

use std::ffi::OsString;
use std::path::PathBuf;

use super::names::FLAGS;
use super::{Command, Start, StoreCommand, help, parse};
use crate::config::{Flags, load};

fn command(line: &str) -> Result<Command, String> {
    parse(std::iter::once("nats-server").chain(line.split_whitespace()).map(OsString::from))
}

fn flags(line: &str) -> Flags {
    match command(line).unwrap() {
        Command::Serve(flags) => *flags,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn one_dash_or_two_and_both_ways_to_give_a_value() {
    let expected = Flags { port: Some(4333), ..Flags::default() };
    for line in ["-p 4333", "-p=4333", "--p 4333", "-port 4333", "--port=4333", "--port 0x10ed"] {
        assert_eq!(flags(line), expected, "{line}");
    }
    assert_eq!(flags("-p -1").port, Some(-1));
    assert_eq!(flags("-p 1 --port 2").port, Some(2));
    assert_eq!(flags("-a ::").host.as_deref(), Some("::"));
    assert_eq!(flags("-net 127.0.0.1").host.as_deref(), Some("127.0.0.1"));
    assert_eq!(flags("-sd=/tmp/x").store_dir, Some(PathBuf::from("/tmp/x")));
    assert_eq!(flags("-js -sd /tmp/x").jetstream, Some(true));
    assert_eq!(flags("--jetstream=false").jetstream, Some(false));
    assert_eq!(flags("-n a -m 8222 -ms 8443").https_port, Some(8443));
    assert_eq!(flags("-store_dir=/a=b").store_dir, Some(PathBuf::from("/a=b")));
}

#[test]
fn an_empty_value_is_as_good_as_none_but_for_tls() {
    for name in ["c", "a", "n", "l", "P", "sd", "ports_file_dir", "r", "user", "client_advertise"] {
        assert_eq!(flags(&format!("-{name}=")), Flags::default(), "{name}");
    }
    for name in ["tlscert", "tlskey", "tlscacert"] {
        let error = load(&flags(&format!("-{name}="))).unwrap_err().to_string();
        assert_eq!(error, "TLS Server certificate must be present and valid", "{name}");
    }
}

#[test]
fn levels_of_the_log() {
    for (line, expected) in [
        ("", (None, None, None)),
        ("-D", (Some(true), None, None)),
        ("-V", (None, Some(true), None)),
        ("-DV", (Some(true), Some(true), None)),
        ("-DV=false", (Some(false), Some(false), None)),
        ("-VV", (None, Some(true), Some(true))),
        ("-DVV", (Some(true), Some(true), Some(true))),
        ("-D=F", (Some(false), None, None)),
    ] {
        let log = flags(line).log;
        assert_eq!((log.debug, log.trace, log.trace_verbose), expected, "{line}");
    }
    assert_eq!(flags("-T=false").log.time, Some(false));
}

#[test]
fn commands() {
    for (line, expected) in [
        ("-v", Command::Version),
        ("--version", Command::Version),
        ("version", Command::Version),
        ("-p 1 VERSION", Command::Version),
        ("-h", Command::Help),
        ("help", Command::Help),
        ("--help_tls", Command::HelpTls),
        ("--signal ldm=123", Command::Signal("ldm=123".into())),
        ("-sl=reload", Command::Signal("reload".into())),
        ("store verify /data", Command::Store(StoreCommand::Verify { directory: "/data".into() })),
        ("store inspect /data", Command::Store(StoreCommand::Inspect { directory: "/data".into() })),
        (
            "store accept-loss /data",
            Command::Store(StoreCommand::AcceptLoss { directory: "/data".into(), write: false }),
        ),
        (
            "store accept-loss /data --write",
            Command::Store(StoreCommand::AcceptLoss { directory: "/data".into(), write: true }),
        ),
    ] {
        assert_eq!(command(line), Ok(expected), "{line}");
    }
    assert!(matches!(command("-t -c x.conf"), Ok(Command::Check(flags)) if flags.config_file == Some("x.conf".into())));
}

#[test]
fn refusals_have_the_words_of_go() {
    for (line, error) in [
        ("-foo", "flag provided but not defined: -foo"),
        ("--foo=1", "flag provided but not defined: -foo"),
        ("---p 1", "bad flag syntax: ---p"),
        ("-p", "flag needs an argument: -p"),
        ("-p abc", "invalid value \"abc\" for flag -p: parse error"),
        ("-D=maybe", "invalid boolean value \"maybe\" for -D: parse error"),
        ("--threads 0", "invalid value \"0\" for flag -threads: parse error"),
        ("store", "usage: store verify DIR | store inspect DIR | store accept-loss DIR [--write]"),
        ("store erase /x", "usage: store verify DIR | store inspect DIR | store accept-loss DIR [--write]"),
        ("store verify /x --write", "usage: store verify DIR | store inspect DIR | store accept-loss DIR [--write]"),
        ("store verify", "usage: store verify DIR | store inspect DIR | store accept-loss DIR [--write]"),
    ] {
        assert_eq!(command(line), Err(error.into()), "{line}");
    }
    assert_eq!(command("run -p 1"), Ok(Command::Unknown("run".into())));
}

#[test]
fn flags_that_do_nothing_here_are_named() {
    let given = flags("-cluster_name quoted --cluster nats://0.0.0.0:6222 --routes nats://b:6222 --profile 0");
    assert_eq!(given.unsupported, ["--routes", "--cluster", "--cluster_name"]);
    let loaded = load(&given).unwrap();
    assert_eq!(loaded.unsupported[2].to_string(), "--cluster_name is not supported by this release and has no effect");
    assert_eq!(
        load(&flags("--routes nats://b:6222")).unwrap_err().to_string(),
        "solicited routes require cluster capabilities, e.g. --cluster"
    );
}

#[test]
fn help_lists_every_flag() {
    let text = help::usage("headwater");
    for flag in FLAGS {
        // The long forms of these are only there for clap.
        let hidden = ["check", "verbose_trace", "debug_trace", "debug_verbose_trace"];
        for name in flag.names.iter().filter(|name| !hidden.contains(name)) {
            let found =
                text.split([' ', ',', '\n']).any(|word| word.trim_start_matches('-') == *name && word.starts_with('-'));
            assert!(found, "-{name} is not in the help text");
        }
    }
    assert!(help::tls().contains("TLS_AES_128_GCM_SHA256") && help::tls().contains("X25519"));
}

#[test]
fn a_file_with_mistakes_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.conf");
    std::fs::write(&path, "port: [").unwrap();
    let arguments = ["nats-server", "-c", path.to_str().unwrap()].map(OsString::from);
    assert!(matches!(super::start(arguments), Start::Exit(_)));
    std::fs::write(&path, "port: -1").unwrap();
    let arguments = ["nats-server", "-c", path.to_str().unwrap(), "-m", "8222"].map(OsString::from);
    match super::start(arguments) {
        Start::Serve { loaded, .. } => {
            assert_eq!((loaded.options.listen.port, loaded.options.http.unwrap().port), (0, 8222));
        }
        other => panic!("{other:?}"),
    }
}
