//! The `headwater` executable: arguments, log, runtime, server, signals.

mod banner;
mod store;

use headwater::cli::{self, Start};
use headwater::config::{self, Change, Flags, Loaded, Options};
use headwater::logging::{Logger, Severity};
use headwater::process::{Ports, PortsFile, listener_urls, release_program_pages, write_pid_file};
use headwater::server::{Server, runtime};
use headwater::signals::{Signal, Signals};
use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

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
        Ok(()) => run(flags, loaded, &logger),
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
    runtime.block_on(async {
        let mut signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => return fatal(logger, format_args!("can't listen for signals: {error}")),
        };
        let server = match start(loaded).await {
            Ok(server) => server,
            Err(error) => return fatal(logger, error),
        };
        let _files = ProcessFiles::write(&server);
        if let Err(error) = release_program_pages() {
            tracing::debug!("the code of the start stays in memory: {error}");
        }
        until_told_to_end(&server, &mut signals, flags, logger).await;
        tracing::info!("Initiating Shutdown...");
        server.shut_down().await;
        tracing::info!("Server Exiting..");
        ExitCode::SUCCESS
    })
}

async fn start(loaded: Loaded) -> Result<Arc<Server>, Box<dyn std::error::Error>> {
    banner::opening(&loaded);
    if let Some(key) = loaded.unsupported.iter().find(|key| key.guards) {
        return Err(format!("{key}; it protects something that would stand open: remove it to start").into());
    }
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

/// The files that tell others about this process, as long as it lives.
struct ProcessFiles {
    _ports: Option<PortsFile>,
}

impl ProcessFiles {
    fn write(server: &Server) -> ProcessFiles {
        let options = server.options();
        if let Some(path) = &options.pid_file
            && let Err(error) = write_pid_file(path)
        {
            tracing::error!("Could not write pidfile: {error}");
        }
        let monitor = server.monitor_address();
        let scheme = if options.http.is_some() { "http" } else { "https" };
        let ports = Ports {
            nats: listener_urls("nats", server.client_address()),
            monitoring: monitor.map(|address| listener_urls(scheme, address)).unwrap_or_default(),
            ..Ports::default()
        };
        let ports = options.ports_file_dir.as_ref().and_then(|directory| match PortsFile::write(directory, &ports) {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::error!("Error writing ports file: {error}");
                None
            }
        });
        ProcessFiles { _ports: ports }
    }
}

async fn until_told_to_end(server: &Arc<Server>, signals: &mut Signals, flags: &Flags, logger: &Logger) {
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Quit | Signal::Terminate => return,
                Signal::Reopen => logger.reopen(),
                Signal::Reload => reload(server, flags, logger),
                Signal::LameDuck => {
                    let server = Arc::clone(server);
                    // Ends the server, which the other arm waits for; a second signal must be heard meanwhile.
                    tokio::spawn(async move { server.lame_duck().await });
                }
            },
            () = server.stopped() => return,
        }
    }
}

fn reload(server: &Server, flags: &Flags, logger: &Logger) {
    match reloaded(server, flags, logger) {
        Ok(()) => tracing::info!("Reloaded server configuration"),
        Err(error) => tracing::error!("Failed to reload server configuration: {error}"),
    }
}

fn reloaded(server: &Server, flags: &Flags, logger: &Logger) -> Result<(), Box<dyn std::error::Error>> {
    let options: Options = config::load(flags)?.options;
    let changes = server.options().diff(&options);
    if let Some(refusal) = Change::refusal(&changes) {
        return Err(refusal.into());
    }
    logger.reconfigure(&options.log)?;
    server.reload(options)?;
    for line in changes.iter().filter_map(|change| change.outcome.as_ref().ok()) {
        tracing::info!("{line}");
    }
    Ok(())
}
