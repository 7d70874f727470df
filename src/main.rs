//! The `headwater` executable: options, runtime, server, signals.

use headwater::config::Options;
use headwater::server::Server;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.trim_start_matches('-'), arguments.next()) {
            ("p" | "port", Some(port)) => options.listen.port = port.parse().unwrap_or(0),
            ("a" | "addr" | "net", Some(host)) => options.listen.host = host,
            _ => {
                eprintln!("usage: headwater [-p port] [-a host]");
                return ExitCode::FAILURE;
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("headwater: can't start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(run(options))
}

async fn run(options: Options) -> ExitCode {
    let server = match Server::start(options).await {
        Ok(server) => server,
        Err(error) => {
            eprintln!("headwater: {error}");
            return ExitCode::FAILURE;
        }
    };
    eprintln!("Listening for client connections on {}", server.client_address());
    eprintln!("Server is ready");
    let _ = tokio::signal::ctrl_c().await;
    server.shut_down().await;
    ExitCode::SUCCESS
}
