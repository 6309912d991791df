//! Calls from the verbs to the running daemon.

use std::path::Path;
use std::time::Duration;

use tonic::{Code, Request, Response, Status};

use super::Context;
use super::output::{CliError, Exit};
use crate::base::proto::v1::control_client::ControlClient;
use crate::door::listen::socket_settings::SocketSettings;
use crate::net::uds_client::{Channel, origin};
use crate::process::config::{DaemonTable, load_daemon};

/// Time limit for a call that needs no registry.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Connects to the control socket that the configuration names.
pub(super) async fn control(context: &Context) -> Result<ControlClient<Channel>, CliError> {
    let socket = socket(context, "control", |daemon| daemon.settings.control)?;
    let channel = connect(&socket.path).await?;
    Ok(ControlClient::with_origin(channel, origin()))
}

/// Reads the settings of a socket of `[daemon]`. Problems elsewhere in the file are ignored: the daemon runs with the
/// configuration that it loaded, and can still answer.
pub(super) fn socket(
    context: &Context,
    key: &str,
    select: impl FnOnce(DaemonTable) -> Option<SocketSettings>,
) -> Result<SocketSettings, CliError> {
    select(load_daemon(&context.config_path)?).ok_or_else(|| {
        let path = context.config_path.display();
        CliError::new(format!("`{path}` does not configure a {key} socket"), Exit::Usage).hint(format!(
            "set `{key} = \"/run/pullgate/{key}.sock\"` below [daemon] and restart the daemon"
        ))
    })
}

/// Connects to a socket of the daemon.
pub(super) async fn connect(path: &Path) -> Result<Channel, CliError> {
    Channel::connect(path).await.map_err(|error| {
        let hint = error.hint();
        CliError::new("could not connect to the daemon", Exit::CouldNotTell)
            .because(error)
            .hint(hint)
    })
}

/// Builds a request with the time limit for calls that need no registry.
pub(super) fn with_timeout<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    request
}

/// Returns the message of a response, or the call's error as text for people.
pub(super) fn response<T>(result: Result<Response<T>, Status>) -> Result<T, CliError> {
    result
        .map(Response::into_inner)
        .map_err(|status| call_error(&status))
}

/// Describes a failed call for people.
pub(super) fn call_error(status: &Status) -> CliError {
    let error = CliError::new(
        format!("the call to the daemon failed: {}", status.message()),
        Exit::CouldNotTell,
    );
    let code = status.code();
    error.hint(if code == Code::PermissionDenied {
        "run it as root, for example with `sudo`"
    } else if code == Code::Unimplemented {
        "restart the daemon: it may be older than this tool"
    } else {
        "see `journalctl -u pullgated`"
    })
}

/// Formats an instant as RFC 3339, in whole seconds.
pub(super) fn rfc3339(time: Option<prost_types::Timestamp>) -> Option<String> {
    let time = time?;
    let time = jiff::Timestamp::new(time.seconds, time.nanos).ok()?;
    Some(format!("{time:.0}"))
}

/// Converts a duration to seconds.
pub(super) fn seconds(span: Option<prost_types::Duration>) -> Option<f64> {
    Duration::try_from(span?).ok().map(|span| span.as_secs_f64())
}
