//! The work of `pullgate-verifier` from its command line to its exit code. It starts no other process, reads no file of
//! pullgate, and ends within [`BUDGET`].

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::time::timeout_at;
use tonic::{Code, Request};

use crate::base::error_chain::chain;
use crate::base::printable::{excerpt, printable};
use crate::base::proto::v1;
use crate::base::proto::v1::admission_client::AdmissionClient;
use crate::net::uds_client::{Channel, UdsConnectError, origin};
use crate::oci::json::{self, Object};

/// Time limit of the whole run. containerd kills a verifier after 10 s unless `per_verifier_timeout` says otherwise, and then
/// discards its output.
pub const BUDGET: Duration = Duration::from_secs(9);

/// Longest reason that is printed, in bytes. containerd reads up to 32 KiB, but cannot send that much to its client, which
/// then sees no reason at all.
pub const REASON_BYTES: usize = 2048;

/// Largest descriptor that is read, in bytes. One without annotations has about 200.
const DESCRIPTOR_BYTES: u64 = 64 * 1024;

/// Path of the daemon's admission socket, unless `PULLGATE_ADMISSION` in containerd's environment names another.
const SOCKET: &str = "/run/pullgate/admission.sock";

/// Media type of containerd's standard input.
const STDIN_MEDIA_TYPE: &str = "application/vnd.oci.descriptor.v1+json";

/// Answer to containerd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierAnswer {
    /// Whether the program exits with 0.
    pub allowed: bool,
    /// Line for standard output.
    pub reason: String,
}

/// Error that blocks the pull without a verdict.
#[derive(Debug, thiserror::Error)]
enum VerifierError {
    #[error("`{0}` is not an option: containerd's options are `-name … -digest … -stdin-media-type …`")]
    Argument(String),
    #[error("the option `{0}` has no value")]
    NoValue(&'static str),
    #[error("the option `{0}` is missing: containerd's image-verifier plug-in passes it")]
    Missing(&'static str),
    #[error("standard input has the media type `{0}` instead of `{STDIN_MEDIA_TYPE}`")]
    MediaType(String),
    #[error("could not read standard input")]
    Stdin(#[source] std::io::Error),
    #[error("the descriptor on standard input is larger than {DESCRIPTOR_BYTES} bytes")]
    Large,
    #[error("standard input is not a descriptor: {0}")]
    Descriptor(String),
    #[error("the descriptor on standard input did not arrive in time")]
    NoDescriptor,
    #[error("could not connect to the gate; {}", .0.hint())]
    Connect(#[source] UdsConnectError),
    #[error("could not start the asynchronous runtime: {0}")]
    Runtime(#[source] std::io::Error),
    #[error("the gate did not answer within {} s", BUDGET.as_secs())]
    Late,
    #[error("the gate refused the request: {0}")]
    Refused(String),
    #[error("`{0}` is not the gate's admission socket: see `[daemon] admission` in its configuration")]
    NotAdmission(PathBuf),
    #[error("the gate's answer holds no verdict")]
    NoVerdict,
}

/// Asks the gate whether containerd may pull. `stdin` is standard input; `socket` is the path of the gate's socket, if it is
/// not the default one.
#[must_use]
pub fn answer(arguments: &[OsString], stdin: OwnedFd, socket: Option<OsString>) -> VerifierAnswer {
    let deadline = Instant::now() + BUDGET;
    let socket = socket.unwrap_or_else(|| SOCKET.into());
    match ask_gate(arguments, stdin, Path::new(&socket), deadline) {
        Ok(verdict) => answer_for(&verdict),
        Err(error) => VerifierAnswer {
            allowed: false,
            reason: line(&format!("pullgate: blocked: {}", chain(&error))),
        },
    }
}

/// Sends the request to the gate on a runtime of one thread.
fn ask_gate(
    arguments: &[OsString],
    stdin: OwnedFd,
    socket: &Path,
    deadline: Instant,
) -> Result<v1::Verdict, VerifierError> {
    let options = VerifierOptions::parse(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(VerifierError::Runtime)?;
    let verdict = runtime.block_on(async {
        let descriptor = timeout_at(deadline.into(), descriptor(stdin)).await;
        let descriptor = descriptor.map_err(|_elapsed| VerifierError::NoDescriptor)??;
        let request = v1::CheckRequest {
            reference: options.name,
            digest: options.digest,
            descriptor: Some(descriptor),
            platform: None,
            credentials: None,
        };
        let verdict = timeout_at(deadline.into(), check(request, socket, deadline));
        verdict.await.map_err(|_elapsed| VerifierError::Late)?
    });
    // A thread that still reads standard input must not delay the end of the process.
    runtime.shutdown_background();
    verdict
}

fn answer_for(verdict: &v1::Verdict) -> VerifierAnswer {
    let allowed = match verdict.outcome() {
        v1::Outcome::Allow | v1::Outcome::Warn => true,
        v1::Outcome::Deny | v1::Outcome::Unspecified => false,
    };
    let reason = match (verdict.text.as_str(), allowed) {
        ("", true) => format!("pullgate: {} allowed by rule {}", verdict.digest, verdict.rule),
        ("", false) => "pullgate: blocked; the gate gave no reason".to_owned(),
        (text, _) => text.to_owned(),
    };
    VerifierAnswer {
        allowed,
        reason: line(&reason),
    }
}

/// Returns the text as one printable line, cut to the length that containerd can send to its client.
fn line(text: &str) -> String {
    let mut line = printable(text);
    if line.len() > REASON_BYTES {
        let dots = "…";
        let mut end = REASON_BYTES - dots.len();
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push_str(dots);
    }
    line
}

struct VerifierOptions {
    name: String,
    digest: String,
}

impl VerifierOptions {
    /// Parses the part of Go's `flag` syntax that containerd uses: one dash or two, and the value after `=` or as the next
    /// argument.
    fn parse(arguments: &[OsString]) -> Result<Self, VerifierError> {
        let (mut name, mut digest, mut media_type) = (None, None, None);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let text = text(argument)?;
            let option = text.trim_start_matches('-');
            let (option, value) = match option.split_once('=') {
                Some((option, value)) => (option, Some(value.to_owned())),
                None => (option, None),
            };
            let (slot, known) = match option {
                _ if !text.starts_with('-') => return Err(VerifierError::Argument(excerpt(text))),
                "name" => (&mut name, "-name"),
                "digest" => (&mut digest, "-digest"),
                "stdin-media-type" => (&mut media_type, "-stdin-media-type"),
                _ => return Err(VerifierError::Argument(excerpt(text))),
            };
            let value = match value {
                Some(value) => value,
                None => self::text(rest.next().ok_or(VerifierError::NoValue(known))?)?.to_owned(),
            };
            *slot = Some(value).filter(|value| !value.is_empty());
        }
        let media_type = media_type.ok_or(VerifierError::Missing("-stdin-media-type"))?;
        if media_type != STDIN_MEDIA_TYPE {
            return Err(VerifierError::MediaType(excerpt(&media_type)));
        }
        Ok(Self {
            name: name.ok_or(VerifierError::Missing("-name"))?,
            digest: digest.ok_or(VerifierError::Missing("-digest"))?,
        })
    }
}

fn text(argument: &OsStr) -> Result<&str, VerifierError> {
    argument
        .to_str()
        .ok_or_else(|| VerifierError::Argument(excerpt(&argument.to_string_lossy())))
}

/// Descriptor on standard input. The gate compares it with the manifest that it finds.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct UnverifiedDescriptor {
    media_type: String,
    digest: String,
    size: i64,
}

/// Reads the descriptor. containerd passes a pipe, which needs no blocking thread; another caller may pass any file.
async fn descriptor(stdin: OwnedFd) -> Result<v1::Descriptor, VerifierError> {
    let other = stdin.try_clone().map_err(VerifierError::Stdin)?;
    let mut bytes = Vec::new();
    let read = match pipe::Receiver::from_owned_fd(stdin) {
        Ok(pipe) => pipe.take(DESCRIPTOR_BYTES + 1).read_to_end(&mut bytes).await,
        Err(_no_pipe) => {
            let file = tokio::fs::File::from_std(other.into());
            file.take(DESCRIPTOR_BYTES + 1).read_to_end(&mut bytes).await
        }
    };
    read.map_err(VerifierError::Stdin)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > DESCRIPTOR_BYTES) {
        return Err(VerifierError::Large);
    }
    let Object(unverified): Object<UnverifiedDescriptor> =
        json::parse(&bytes).map_err(|error| VerifierError::Descriptor(chain(&error)))?;
    Ok(v1::Descriptor {
        media_type: unverified.media_type,
        digest: unverified.digest,
        size: unverified.size,
    })
}

async fn check(
    message: v1::CheckRequest,
    socket: &Path,
    deadline: Instant,
) -> Result<v1::Verdict, VerifierError> {
    let channel = Channel::connect(socket).await.map_err(VerifierError::Connect)?;
    let mut client = AdmissionClient::with_origin(channel, origin());
    let mut request = Request::new(message);
    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    let response = client.check(request).await.map_err(|status| {
        let code = status.code();
        if matches!(code, Code::DeadlineExceeded | Code::Cancelled) {
            VerifierError::Late
        } else if code == Code::Unimplemented {
            // The control socket, or the socket of the CRI door.
            VerifierError::NotAdmission(socket.to_owned())
        } else {
            VerifierError::Refused(format!("{code:?}: {}", excerpt(status.message())))
        }
    })?;
    response.into_inner().verdict.ok_or(VerifierError::NoVerdict)
}

#[cfg(test)]
mod tests;
