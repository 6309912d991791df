//! What our own gRPC services share: deadlines, health, reflection, and the way from a socket to a service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower_service::Service as _;

use crate::base::limits;
use crate::base::proto::v1;
use crate::door::listen::callers::Peer;
use crate::door::listen::read_slots::Reading;
use crate::door::listen::unix_socket::{BoundSocket, CallerBounds};

/// Calls at one time on one connection. Who has more to ask opens another.
const STREAMS: u32 = 256;

/// What a caller may send on one connection before it is read: a question, whole.
const WINDOW: u32 = 128 * 1024;

/// Questions that are read at one time: of root, and as many of all others.
const READING: usize = 128;

/// A question comes over a local socket at once. Who sends half of one holds a place and memory no longer.
const QUESTION: Duration = Duration::from_secs(10);

/// Largest message of health and reflection: the name of a service, or of a file.
const SMALL_BYTES: usize = 4096;

/// What begins the paths of our own services. None of their methods takes a stream.
const OURS: &str = "/pullgate.";

/// Serves `routes`, with health and reflection beside them, until told to stop.
pub(crate) async fn serve(
    socket: BoundSocket,
    routes: Routes,
    named: &'static str,
    connections: usize,
    stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let (health, service) = tonic_health::server::health_reporter();
    health.set_service_status(named, ServingStatus::Serving).await;
    let routes = routes.add_service(service.max_decoding_message_size(SMALL_BYTES));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(named)
        .with_service_name("grpc.health.v1.Health")
        .build_v1();
    let routes = match reflection {
        Ok(reflection) => routes.add_service(reflection.max_decoding_message_size(SMALL_BYTES)),
        Err(error) => {
            tracing::error!(%error, "Reflection is not served");
            routes
        }
    };
    let routes = routes.prepare();
    let reading = Arc::new(Reading::new(READING));
    let answer = move |peer: Peer, mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let (mut routes, reading) = (routes.clone(), Arc::clone(&reading));
        async move {
            match whole(peer, request, &reading).await {
                Ok(request) => routed(&mut routes, request).await,
                Err(status) => status.into_http(),
            }
        }
    };
    let bounds = CallerBounds {
        connections,
        streams: STREAMS,
        window: Some(WINDOW),
    };
    tokio::join!(
        socket.serve(bounds, stop.clone(), grace, answer),
        tell_health(health, named, stop)
    );
}

/// A question with its message read: what is only begun must not be kept for those who never end it.
async fn whole(peer: Peer, request: Request<Incoming>, reading: &Reading) -> Result<Request<Body>, Status> {
    if !request.uri().path().starts_with(OURS) {
        return Ok(request.map(Body::new));
    }
    let (head, body) = request.into_parts();
    // With the five bytes before a message (gRPC over HTTP/2, "Length-Prefixed-Message").
    let body = Limited::new(body, limits::GRPC_REQUEST_BYTES + 5);
    let read = async {
        let _place = reading.place(peer).await;
        body.collect().await
    };
    match timeout(QUESTION, read).await {
        Ok(Ok(read)) => Ok(Request::from_parts(head, Body::new(Full::new(read.to_bytes())))),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Status::out_of_range("the message is longer than 64 KiB"))
        }
        Ok(Err(error)) => Err(Status::cancelled(error.to_string())),
        Err(_elapsed) => Err(Status::deadline_exceeded("the call's message did not come")),
    }
}

async fn routed(routes: &mut Routes, request: Request<Body>) -> Response<Body> {
    match routes.call(request).await {
        Ok(response) => response,
        // It has no values: routes answer every request.
        Err(never) => match never {},
    }
}

/// Who watches the service's health learns that it stops before it is gone.
async fn tell_health(health: HealthReporter, named: &'static str, mut stop: watch::Receiver<bool>) {
    super::accept::stopped(&mut stop).await;
    health.set_service_status(named, ServingStatus::NotServing).await;
    health.set_service_status("", ServingStatus::NotServing).await;
}

/// The name of a service, as health and reflection spell it.
pub(crate) const fn name_of<S: NamedService>(_service: &S) -> &'static str {
    S::NAME
}

/// Who called.
pub(crate) fn peer_of<T>(request: &tonic::Request<T>) -> Result<Peer, Status> {
    let peer = request.extensions().get::<Peer>().copied();
    peer.ok_or_else(|| Status::internal("the caller is not known"))
}

/// When the answer to a call must be there: what the caller allows, and no later than `most` from now. A little of the
/// caller's time is left for the way back, so that it reads "too late" with a reason, and not its own clock's.
pub(crate) fn deadline(metadata: &MetadataMap, most: Duration) -> Result<Instant, Status> {
    let Some(value) = metadata.get("grpc-timeout") else {
        return Ok(Instant::now() + most);
    };
    let allowed = value.to_str().ok().and_then(time);
    let allowed = allowed.ok_or_else(|| Status::invalid_argument("grpc-timeout is not a time"))?;
    let way_back = (allowed / 10).min(WAY_BACK);
    Ok(Instant::now() + allowed.saturating_sub(way_back).min(most))
}

const WAY_BACK: Duration = Duration::from_millis(250);

/// `TimeoutValue TimeoutUnit`: up to eight digits and a letter (gRPC over HTTP/2, `PROTOCOL-HTTP2.md`, "Requests").
fn time(text: &str) -> Option<Duration> {
    let (last, _) = text.char_indices().next_back()?;
    let (digits, unit) = text.split_at_checked(last)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tonic::Code;
    use tonic::metadata::MetadataMap;

    use super::{deadline, time};

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        for (text, expected) in [
            ("9S", Some(Duration::from_secs(9))),
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("100m", Some(Duration::from_millis(100))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("999999999S", None),
            ("S", None),
            ("9", None),
            ("9s", None),
            ("-9S", None),
            ("+9S", None),
            ("9é", None),
            ("", None),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
    }

    #[test]
    fn the_caller_s_deadline_is_kept_and_ours_too() {
        let most = Duration::from_secs(30);
        let within = |text: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            deadline(&metadata, most).map(|at| at.saturating_duration_since(Instant::now()))
        };
        let left = deadline(&MetadataMap::new(), most).unwrap() - Instant::now();
        assert!(left > Duration::from_secs(29) && left <= most, "{left:?}");
        assert!(within("1H").unwrap() <= most);
        let left = within("9S").unwrap();
        assert!(
            left > Duration::from_secs(8) && left <= Duration::from_millis(8750),
            "{left:?}"
        );
        let left = within("100m").unwrap();
        assert!(left <= Duration::from_millis(90), "{left:?}");
        assert_eq!(within("soon").unwrap_err().code(), Code::InvalidArgument);
    }
}
