//! containerd's image verifier: asks the gate whether the digest that containerd resolved may be fetched.
//!
//! containerd (2.1 and newer; `pkg/imageverifier/bindir/bindir.go`) runs every program of its `bin_dir` before each pull
//! as `pullgate-verifier -name REFERENCE -digest DIGEST -stdin-media-type application/vnd.oci.descriptor.v1+json`, writes
//! the descriptor to standard input, and reads the reason from standard output. Exit 0 lets the pull through, anything
//! else blocks it. Whatever goes wrong in here blocks it.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use pullgate::plugin::containerd_verifier::{VerifierAnswer, answer};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let stdin = match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(stdin) => stdin,
        // Started without standard input: there is nothing to decide on.
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
    let told = writeln!(std::io::stdout().lock(), "{reason}");
    // A reason that nobody reads takes nothing from the verdict.
    match (allowed, told) {
        (true, Ok(()) | Err(_)) => ExitCode::SUCCESS,
        (false, Ok(()) | Err(_)) => ExitCode::FAILURE,
    }
}
