//! The `headwater` executable: arguments, log, runtime, server, signals.

mod banner;
mod files;
mod store;

use files::Files;
use headwater::cli::{self, Start};
use headwater::config::{self, Change, Flags, Loaded};
use headwater::logging::{Logger, NextLog, Severity};
use headwater::process::{raise_descriptor_limit, release_program_pages};
use headwater::server::{Server, runtime};
use headwater::signals::{Signal, Signals};
use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long the last lines of the log may take.
const LOG_FLUSH: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match cli::start(std::env::args_os()) {
        Start::Exit(code) => code,
        Start::Store(command) => store::run(&command),
        Start::Serve { flags, loaded } => serve(&flags, *loaded),
    }
}

fn serve(flags: &Flags, loaded: Loaded) -> ExitCode {
    let logger = match Logger::start(&loaded.options.log) {
        Ok(logger) => logger,
        Err(error) => {
            eprintln!("headwater: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match logger.install() {
        Ok(()) => {
            raise_descriptor_limit();
            run(flags, loaded, &logger)
        }
        Err(error) => fatal(&logger, error),
    };
    logger.flush(LOG_FLUSH);
    code
}

fn fatal(logger: &Logger, error: impl Display) -> ExitCode {
    logger.write(Severity::Fatal, error);
    ExitCode::FAILURE
}

fn run(flags: &Flags, loaded: Loaded, logger: &Logger) -> ExitCode {
    let runtime = match runtime(loaded.options.threads) {
        Ok(runtime) => runtime,
        Err(error) => return fatal(logger, format_args!("can't start the runtime: {error}")),
    };
    let code = runtime.block_on(async {
        let mut signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => return fatal(logger, format_args!("can't listen for signals: {error}")),
        };
        let mut asked = Asked::default();
        let started = tokio::select! {
            started = start(loaded) => started,
            () = told_to_end(&mut signals, logger, &mut asked) => return ExitCode::SUCCESS,
        };
        let server = match started {
            Ok(server) => server,
            Err(error) => return fatal(logger, error),
        };
        let mut files = Files::write(&server);
        if let Err(error) = release_program_pages() {
            tracing::debug!("the code of the start stays in memory: {error}");
        }
        until_told_to_end(&server, &mut signals, &mut files, flags, logger, asked).await;
        tracing::info!("Initiating Shutdown...");
        server.shut_down().await;
        tracing::info!("Server Exiting..");
        ExitCode::SUCCESS
    });
    // A start that was given up may still be reading the store; nothing of it is needed any more.
    runtime.shutdown_background();
    code
}

async fn start(loaded: Loaded) -> Result<Arc<Server>, Box<dyn std::error::Error>> {
    banner::opening(&loaded);
    files::write_pid(&loaded.options)?;
    let server = Server::prepare(loaded.options)?;
    banner::identity(&server);
    server.start_monitor().await?;
    banner::monitor(&server);
    let storing = Arc::clone(&server);
    tokio::task::spawn_blocking(move || storing.open_store()).await??;
    server.listen().await?;
    banner::ready(&server);
    Ok(server)
}

/// What was asked for during the start, and is done once the server is there.
#[derive(Default)]
struct Asked {
    reload: bool,
    lame_duck: bool,
}

async fn told_to_end(signals: &mut Signals, logger: &Logger, asked: &mut Asked) {
    loop {
        match signals.next().await {
            Signal::Quit | Signal::Terminate => break,
            Signal::Reopen => logger.reopen(),
            Signal::Reload => asked.reload = true,
            Signal::LameDuck => asked.lame_duck = true,
        }
    }
    tracing::info!("Server Exiting before it was ready..");
}

async fn until_told_to_end(
    server: &Arc<Server>,
    signals: &mut Signals,
    files: &mut Files,
    flags: &Flags,
    logger: &Logger,
    asked: Asked,
) {
    // A reload takes long when it opens a store: other signals are heard meanwhile, and one more reload follows it.
    let reload_wanted = Notify::new();
    if asked.reload {
        reload_wanted.notify_one();
    }
    if asked.lame_duck {
        begin_lame_duck(server);
    }
    let reloads = async {
        loop {
            reload_wanted.notified().await;
            reload(server, files, flags, logger).await;
        }
    };
    let signals = async {
        loop {
            match signals.next().await {
                // Who asked for lame duck mode may well terminate next, and wants it to run its course.
                Signal::Terminate if server.is_lame_duck() => {}
                Signal::Quit | Signal::Terminate => return,
                Signal::Reopen => logger.reopen(),
                Signal::Reload => reload_wanted.notify_one(),
                Signal::LameDuck => begin_lame_duck(server),
            }
        }
    };
    tokio::select! {
        () = signals => {}
        () = reloads => {}
        () = server.stopped() => {}
    }
}

/// Ends the server some time; further signals must be heard meanwhile.
fn begin_lame_duck(server: &Arc<Server>) {
    let server = Arc::clone(server);
    tokio::spawn(async move { server.lame_duck().await });
}

async fn reload(server: &Arc<Server>, files: &mut Files, flags: &Flags, logger: &Logger) {
    match reloaded(server, files, flags, logger).await {
        Ok(()) => tracing::info!("Reloaded server configuration ({})", server.options().config_digest),
        Err(error) => tracing::error!("Failed to reload server configuration: {error}"),
    }
}

async fn reloaded(
    server: &Arc<Server>,
    files: &mut Files,
    flags: &Flags,
    logger: &Logger,
) -> Result<(), Box<dyn std::error::Error>> {
    if flags.config_file.is_none() {
        return Err("can only reload config when a file is provided using -c or --config".into());
    }
    // Large files take a while, in which signals are heard.
    let flags = flags.clone();
    let loaded = tokio::task::spawn_blocking(move || config::load(&flags)).await??;
    let (old, options) = (server.options(), loaded.options);
    let changes = old.diff(&options);
    if let Some(refusal) = Change::refusal(&changes) {
        return Err(refusal.into());
    }
    // All or nothing: a reload that the server refuses must not have moved the log.
    let log = NextLog::open(&options.log)?;
    let reloading = Arc::clone(server);
    tokio::task::spawn_blocking(move || reloading.reload(options)).await??;
    logger.reconfigure(log);
    files.follow(&old, server);
    for key in &loaded.unsupported {
        tracing::warn!("{key}");
    }
    for line in changes.iter().filter_map(|change| change.outcome.as_ref().ok()) {
        tracing::info!("{line}");
    }
    Ok(())
}
