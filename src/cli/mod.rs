//! The command line (F-10): what nats-server takes, in Go's notation, and `store` of our own.

mod arguments;
mod help;
mod names;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{self, Flags, Loaded};
use crate::process::{COMPATIBLE_NAME, version_line};
use crate::signals;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Serve(Box<Flags>),
    /// `-t`
    Check(Box<Flags>),
    /// `--signal <command>[=<target>]`
    Signal(String),
    Version,
    Help,
    HelpTls,
    Store(StoreCommand),
    /// A word that is no command.
    Unknown(String),
}

/// Work on a store directory that no server uses at the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreCommand {
    /// Read everything and check it.
    Verify { directory: PathBuf },
    /// Say what is there.
    Inspect { directory: PathBuf },
    /// Say what the disk refuses to give for good; with `write`, go on without it.
    AcceptLoss { directory: PathBuf, write: bool },
}

/// What is left for `main` to do.
#[derive(Debug)]
pub enum Start {
    Serve {
        flags: Box<Flags>,
        loaded: Box<Loaded>,
    },
    Store(StoreCommand),
    /// Everything has been said and done.
    Exit(ExitCode),
}

/// Understands the arguments, the program's name first.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    arguments::parse(arguments.into_iter().skip(1).collect())
}

/// Parses the arguments and carries out whatever needs no server.
pub fn start(arguments: impl IntoIterator<Item = OsString>) -> Start {
    let mut arguments = arguments.into_iter().peekable();
    let program = name_of(arguments.peek());
    let command = match parse(arguments) {
        Ok(command) => command,
        Err(text) => return fail(2, &format!("{program}: {text}\nTry '{program} --help' for the list of options.")),
    };
    match command {
        Command::Serve(flags) => match config::load(&flags) {
            Ok(loaded) => Start::Serve { flags, loaded: Box::new(loaded) },
            Err(error) => fail(1, &format!("{program}: {error}")),
        },
        Command::Check(flags) => check(&program, &flags),
        Command::Signal(request) => match signals::send(&request) {
            Ok(()) => Start::Exit(ExitCode::SUCCESS),
            Err(text) => fail(1, &format!("{program}: {text}")),
        },
        Command::Version => say(&version_line(&program)),
        Command::Help => say(&help::usage(&program)),
        Command::HelpTls => say(&help::tls()),
        Command::Store(command) => Start::Store(command),
        Command::Unknown(word) => fail(1, &format!("{program}: unrecognized command: {word:?}")),
    }
}

/// `-t`: a warning is a failure here, as with nats-server.
fn check(program: &str, flags: &Flags) -> Start {
    let Some(path) = &flags.config_file else {
        let text = "must specify [-c, --config] option to check configuration file syntax";
        return fail(1, &format!("{program}: {text}"));
    };
    match config::load(flags) {
        Ok(loaded) if loaded.warnings.is_empty() => {
            for key in &loaded.unsupported {
                complain(&format!("{program}: warning: {key}"));
            }
            let digest = &loaded.options.config_digest;
            complain(&format!("{program}: configuration file {} is valid ({digest})", path.display()));
            Start::Exit(ExitCode::SUCCESS)
        }
        Ok(loaded) => fail(1, &format!("{program}: {}", loaded.warnings.join("\n"))),
        Err(error) => fail(1, &format!("{program}: {error}")),
    }
}

/// Messages begin with the name of the server that is stood in for when this program is called by it.
fn name_of(argument: Option<&OsString>) -> String {
    let name = argument.map(std::path::Path::new).and_then(|path| path.file_name());
    if name.is_some_and(|name| name == COMPATIBLE_NAME) { COMPATIBLE_NAME.into() } else { "headwater".into() }
}

fn say(text: &str) -> Start {
    // A reader that has gone away does not make the answer wrong.
    let _ = writeln!(std::io::stdout(), "{text}");
    Start::Exit(ExitCode::SUCCESS)
}

fn fail(code: u8, text: &str) -> Start {
    complain(text);
    Start::Exit(ExitCode::from(code))
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests;
