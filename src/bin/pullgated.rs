//! `pullgated`, the daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use pullgate::process::daemon::{Daemon, StartError};

/// The gate between this node's container runtime and its registries.
#[derive(Parser)]
#[command(name = "pullgated", version, about)]
struct DaemonArguments {
    /// The configuration file.
    #[arg(long, value_name = "PATH", default_value = "/etc/pullgate/pullgate.toml")]
    config: PathBuf,
}

/// The configuration does not load (sysexits.h, `EX_CONFIG`): trying again does not help, so the unit does not restart.
const EX_CONFIG: u8 = 78;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = DaemonArguments::parse();
    let _log = match pullgate::process::telemetry::init_log() {
        Ok(log) => log,
        Err(error) => return without_a_log(&error),
    };
    let ended = match Daemon::start(&arguments.config).await {
        Ok(daemon) => daemon.run().await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(StartError::Config(errors)) => {
            tracing::error!("{errors}");
            ExitCode::from(EX_CONFIG)
        }
        Err(error @ StartError::NoDoor) => {
            tracing::error!("{error}");
            ExitCode::from(EX_CONFIG)
        }
        Err(error) => {
            let hint = error.hint().map_or(String::new(), |hint| format!("; {hint}"));
            tracing::error!("{}{hint}", pullgate::base::error_chain::chain(&error));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "there is no log to say it in")]
fn without_a_log(error: &std::io::Error) -> ExitCode {
    eprintln!("pullgated: the log could not be set up: {error}");
    ExitCode::FAILURE
}
