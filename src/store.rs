//! `headwater store verify|inspect|accept-loss DIR`: what a store holds, what is damaged, and what its disk does not give,
//! with no server running.

use std::process::ExitCode;

use headwater::cli::StoreCommand;
use headwater::jetstream::inspect;

/// The exit code when the store could not be looked at, so that 1 always means that something is wrong with it.
const NOT_LOOKED_AT: u8 = 2;

pub fn run(command: &StoreCommand) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let is_well = match command {
        StoreCommand::Verify { directory } => inspect::report(directory, true, &mut out),
        StoreCommand::Inspect { directory } => inspect::report(directory, false, &mut out),
        StoreCommand::AcceptLoss { directory, write } => inspect::losses(directory, *write, &mut out),
    };
    match is_well {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("headwater: {error}");
            ExitCode::from(NOT_LOOKED_AT)
        }
    }
}
