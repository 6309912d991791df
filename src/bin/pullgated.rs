//! `pullgated`, the daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use pullgate::process::daemon::{Daemon, StartError};

/// The gate between this node's container runtime and its registries: blocks images whose signatures do not verify.
#[derive(Parser)]
#[command(name = "pullgated", version, about)]
struct DaemonArguments {
    /// Main file of the configuration.
    #[arg(long, value_name = "PATH", default_value = "/etc/pullgate/pullgate.toml")]
    config: PathBuf,
}

/// Exit code for a configuration that does not load (`EX_CONFIG` of sysexits.h). A restart would not help, so the systemd
/// unit does not restart the daemon after it.
const EX_CONFIG: u8 = 78;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = DaemonArguments::parse();
    let _log = match pullgate::process::telemetry::init_log() {
        Ok(log) => log,
        Err(error) => return exit_without_log(&error),
    };
    let outcome = match Daemon::start(&arguments.config).await {
        Ok(daemon) => daemon.run().await,
        Err(error) => Err(error),
    };
    match outcome {
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

#[expect(clippy::print_stderr, reason = "there is no log to write the error to")]
fn exit_without_log(error: &std::io::Error) -> ExitCode {
    eprintln!("pullgated: could not set up the log: {error}");
    ExitCode::FAILURE
}
