//! The `headwater` executable: options, log, runtime, server, signals.

mod banner;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use headwater::cli::{self, Start};
use headwater::config::{self, Change, Flags, Loaded, Options};
use headwater::logging::{Logger, Severity};
use headwater::process::{self, Ports, PortsFile};
use headwater::server::Server;
use headwater::signals::{Signal, Signals};

/// How long the last log lines may take to be written.
const LOG_FLUSH: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match cli::start(std::env::args_os()) {
        Start::Serve { flags, loaded } => serve(*flags, *loaded),
        Start::Store(_) => ExitCode::FAILURE,
        Start::Exit(code) => code,
    }
}

fn serve(flags: Flags, loaded: Loaded) -> ExitCode {
    let logger = match Logger::start(&loaded.options.log) {
        Ok(logger) => logger,
        Err(error) => {
            eprintln!("{}: {error}", process::program_name());
            return ExitCode::FAILURE;
        }
    };
    let outcome = logger.install().map_err(|error| error.to_string()).and_then(|()| run(flags, loaded, &logger));
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            logger.write(Severity::Fatal, text);
            ExitCode::FAILURE
        }
    };
    logger.flush(LOG_FLUSH);
    code
}

fn run(flags: Flags, loaded: Loaded, logger: &Logger) -> Result<(), String> {
    banner::opening(&loaded);
    if let Some(key) = loaded.unsupported.iter().find(|key| key.guards) {
        return Err(format!("{key}: it protects something, and this version can not honour it; remove it to start"));
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = loaded.options.threads {
        builder.worker_threads(threads as usize);
    }
    let runtime = builder.enable_all().build().map_err(|error| format!("can't start the runtime: {error}"))?;
    runtime.block_on(async { tokio::spawn(serve_until_stopped(flags, loaded.options, logger.clone())).await })
        .map_err(|error| format!("the server's main task failed: {error}"))?
}

async fn serve_until_stopped(flags: Flags, options: Options, logger: Logger) -> Result<(), String> {
    let mut signals = Signals::listen().map_err(|error| format!("can't listen for signals: {error}"))?;
    let server = Server::start(options.clone()).await.map_err(|error| error.to_string())?;
    if let Some(path) = &options.pid_file {
        process::write_pid_file(path).map_err(|error| format!("could not write pidfile: {error}"))?;
    }
    let _ports_file = write_ports_file(&options, &server);
    banner::ready(&options, &server);
    let mut current = options;
    loop {
        match signals.next().await {
            Signal::Reload => reload(&flags, &mut current, &server, &logger),
            Signal::Reopen => logger.reopen(),
            Signal::LameDuck => {
                let server = Arc::clone(&server);
                let duck = async move { server.lame_duck().await };
                tokio::select! {
                    () = duck => return Ok(()),
                    _ = stop_signal(&mut signals) => {}
                }
                break;
            }
            Signal::Quit | Signal::Terminate => break,
        }
    }
    tracing::info!("Initiating Shutdown...");
    server.shut_down().await;
    tracing::info!("Server Exiting..");
    Ok(())
}

async fn stop_signal(signals: &mut Signals) {
    while !matches!(signals.next().await, Signal::Quit | Signal::Terminate) {}
}

fn write_ports_file(options: &Options, server: &Server) -> Option<PortsFile> {
    let directory = options.ports_file_dir.as_ref()?;
    let ports = Ports {
        nats: process::listener_urls(if options.tls.is_some() { "tls" } else { "nats" }, server.client_address()),
        monitoring: server.monitor_address().map(|address| process::listener_urls("http", address)).unwrap_or_default(),
        ..Ports::default()
    };
    match PortsFile::write(directory, &ports) {
        Ok(file) => Some(file),
        Err(error) => {
            tracing::error!("Error writing ports file to {}: {error}", directory.display());
            None
        }
    }
}

fn reload(flags: &Flags, current: &mut Options, server: &Server, logger: &Logger) {
    let loaded = match config::load(flags) {
        Ok(loaded) => loaded,
        Err(error) => return tracing::error!("Failed to reload server configuration: {error}"),
    };
    let changes = current.diff(&loaded.options);
    if let Some(refusal) = Change::refusal(&changes) {
        return tracing::error!("Failed to reload server configuration: {refusal}");
    }
    if let Err(error) = logger.reconfigure(&loaded.options.log) {
        return tracing::error!("Failed to reload server configuration: {error}");
    }
    if let Err(error) = server.reload(&loaded.options, &changes) {
        return tracing::error!("Failed to reload server configuration: {error}");
    }
    for change in &changes {
        if let Ok(text) = &change.outcome {
            tracing::info!("{text}");
        }
    }
    *current = loaded.options;
    tracing::info!("Reloaded server configuration");
}
