//! The running daemon, as the verbs ask it.

use std::path::Path;
use std::time::Duration;

use tonic::{Code, Request, Response, Status};

use super::Context;
use super::output::{CliError, Exit};
use crate::base::proto::v1::control_client::ControlClient;
use crate::door::listen::socket_settings::SocketSettings;
use crate::net::uds_client::{Channel, origin};
use crate::process::config::{DaemonTable, load_daemon};

/// How long the daemon may take for what needs no registry.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of the control socket that the configuration names.
pub(super) async fn control(context: &Context) -> Result<ControlClient<Channel>, CliError> {
    let socket = socket(context, "control", |daemon| daemon.settings.control)?;
    let channel = connect(&socket.path).await?;
    Ok(ControlClient::with_origin(channel, origin()))
}

/// A socket of `[daemon]`. Nothing else of the file is read: what is wrong with it is no reason not to ask the daemon,
/// which runs under what it has loaded.
pub(super) fn socket(
    context: &Context,
    key: &str,
    of: impl FnOnce(DaemonTable) -> Option<SocketSettings>,
) -> Result<SocketSettings, CliError> {
    of(load_daemon(&context.config_path)?).ok_or_else(|| {
        let path = context.config_path.display();
        CliError::new(format!("`{path}` opens no {key} socket"), Exit::Usage).hint(format!(
            "set `{key} = \"/run/pullgate/{key}.sock\"` below [daemon], and restart the daemon"
        ))
    })
}

/// Connects to a socket of the daemon.
pub(super) async fn connect(path: &Path) -> Result<Channel, CliError> {
    Channel::connect(path).await.map_err(|error| {
        let hint = error.hint();
        CliError::new("the daemon can't be asked", Exit::CouldNotTell)
            .because(error)
            .hint(hint)
    })
}

/// A question that the daemon answers by itself, with its time.
pub(super) fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

/// What was answered, or why it was not, for people.
pub(super) fn answered<T>(answer: Result<Response<T>, Status>) -> Result<T, CliError> {
    answer.map(Response::into_inner).map_err(|status| failed(&status))
}

/// Why a call failed, for people.
pub(super) fn failed(status: &Status) -> CliError {
    let error = CliError::new(
        format!("the daemon did not answer: {}", status.message()),
        Exit::CouldNotTell,
    );
    let code = status.code();
    error.hint(if code == Code::PermissionDenied {
        "ask as root"
    } else if code == Code::Unimplemented {
        "is the running daemon older than this tool? Restart it"
    } else {
        "`journalctl -u pullgated` says more"
    })
}

/// An instant, as RFC 3339 writes it.
pub(super) fn instant(time: Option<prost_types::Timestamp>) -> Option<String> {
    let time = time?;
    let time = jiff::Timestamp::new(time.seconds, time.nanos).ok()?;
    Some(format!("{time:.0}"))
}

/// A span, in seconds.
pub(super) fn seconds(span: Option<prost_types::Duration>) -> Option<f64> {
    Duration::try_from(span?).ok().map(|span| span.as_secs_f64())
}
