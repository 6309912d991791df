//! The image verifier for containerd: asks the gate whether containerd may fetch the digest that it resolved.
//!
//! containerd (2.1 and newer; `pkg/imageverifier/bindir/bindir.go`) runs every program of its `bin_dir` before each pull
//! as `pullgate-verifier -name REFERENCE -digest DIGEST -stdin-media-type application/vnd.oci.descriptor.v1+json`, writes
//! the descriptor to standard input, and reads the reason from standard output. Exit 0 lets the pull through, any
//! other exit code blocks it. Every failure in this program blocks the pull.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use pullgate::plugin::containerd_verifier::{VerifierAnswer, answer};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let stdin = match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(stdin) => stdin,
        // Without standard input there is no descriptor to decide on.
        Err(error) => {
            let _unread = writeln!(
                std::io::stdout(),
                "pullgate: blocked: standard input is closed: {error}"
            );
            return ExitCode::FAILURE;
        }
    };
    let VerifierAnswer { allowed, reason } =
        answer(&arguments, stdin, std::env::var_os("PULLGATE_ADMISSION"));
    let printed = writeln!(std::io::stdout().lock(), "{reason}");
    // The verdict stands even where the reason could not be printed.
    match (allowed, printed) {
        (true, Ok(()) | Err(_)) => ExitCode::SUCCESS,
        (false, Ok(()) | Err(_)) => ExitCode::FAILURE,
    }
}
