//! `headwater store verify|inspect DIR`: what a store holds and what is damaged, with no server running.

use std::process::ExitCode;

use headwater::cli::StoreCommand;

pub fn run(command: &StoreCommand) -> ExitCode {
    let (directory, whole) = match command {
        StoreCommand::Verify { directory } => (directory, true),
        StoreCommand::Inspect { directory } => (directory, false),
    };
    match headwater::jetstream::inspect::report(directory, whole, &mut std::io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("headwater: {error}");
            ExitCode::FAILURE
        }
    }
}
