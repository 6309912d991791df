//! The parts that our own gRPC services share: deadlines, health, reflection, and the way from a socket to a service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower_service::Service as _;

use super::callers::Peer;
use super::read_slots::ReadSlots;
use super::unix_socket::{BoundSocket, CallerBounds};
use crate::base::limits;
use crate::base::proto::v1;

/// Calls at one time on one connection. A caller that needs more opens another connection.
const STREAMS: u32 = 256;

/// Bytes that a caller may send on one connection before they are read: one whole request.
const WINDOW: u32 = 128 * 1024;

/// Requests that are read at one time, for root and again for all other users.
const READ_SLOTS: usize = 128;

/// The time within which a request must have come: over a local socket it comes at once. After that, a caller that sent a
/// part of it no longer holds a slot and memory.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// Largest message of health and reflection: the name of a service, or of a file.
const SMALL_BYTES: usize = 4096;

/// The beginning of the paths of our own services. None of their methods takes a stream.
const OWN_SERVICES: &str = "/pullgate.";

/// The most of a caller's time that is kept for the way back.
const WAY_BACK: Duration = Duration::from_millis(250);

/// Serves `routes` with health and reflection, until `stop` is cancelled.
pub(crate) async fn serve(
    socket: BoundSocket,
    routes: Routes,
    service_name: &'static str,
    connections: usize,
    stop: CancellationToken,
    grace: Duration,
) {
    let (health, service) = tonic_health::server::health_reporter();
    health
        .set_service_status(service_name, ServingStatus::Serving)
        .await;
    let routes = routes.add_service(service.max_decoding_message_size(SMALL_BYTES));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(service_name)
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
    let slots = Arc::new(ReadSlots::new(READ_SLOTS));
    let answer = move |peer: Peer, mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let (mut routes, slots) = (routes.clone(), Arc::clone(&slots));
        async move {
            match read_request(peer, request, &slots).await {
                Ok(request) => call(&mut routes, request).await,
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
        report_stop(health, service_name, stop)
    );
}

/// Reads the message of a request whole. A part of a message must not take memory for as long as its caller likes.
async fn read_request(
    peer: Peer,
    request: Request<Incoming>,
    slots: &ReadSlots,
) -> Result<Request<Body>, Status> {
    if !request.uri().path().starts_with(OWN_SERVICES) {
        return Ok(request.map(Body::new));
    }
    let (head, body) = request.into_parts();
    // With the five bytes before a message (gRPC over HTTP/2, "Length-Prefixed-Message").
    let body = Limited::new(body, limits::GRPC_REQUEST_BYTES + 5);
    match slots.read(peer, REQUEST_DEADLINE, body.collect()).await {
        Ok(Ok(read)) => Ok(Request::from_parts(head, Body::new(Full::new(read.to_bytes())))),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Status::out_of_range("the message is longer than 64 KiB"))
        }
        Ok(Err(error)) => Err(Status::cancelled(error.to_string())),
        Err(_elapsed) => Err(Status::deadline_exceeded(
            "the message of the call did not come in time",
        )),
    }
}

async fn call(routes: &mut Routes, request: Request<Body>) -> Response<Body> {
    match routes.call(request).await {
        Ok(response) => response,
        // The error type has no values: routes answer every request.
        Err(never) => match never {},
    }
}

/// Reports to the watchers of the service's health that it stops, before its connections end.
async fn report_stop(health: HealthReporter, service_name: &'static str, stop: CancellationToken) {
    stop.cancelled().await;
    health
        .set_service_status(service_name, ServingStatus::NotServing)
        .await;
    health.set_service_status("", ServingStatus::NotServing).await;
}

/// Returns the name of a service, as health and reflection spell it.
pub(crate) const fn name_of<S: NamedService>(_service: &S) -> &'static str {
    S::NAME
}

/// Returns the caller of a request.
pub(crate) fn peer_of<T>(request: &tonic::Request<T>) -> Result<Peer, Status> {
    let peer = request.extensions().get::<Peer>().copied();
    peer.ok_or_else(|| Status::internal("the caller is not known"))
}

/// Returns the time at which a call must be answered: the caller's own deadline, at most `longest` from now. A little of
/// the caller's time is kept for the way back, so that the caller reads our reason and not a timeout of its own.
pub(crate) fn deadline(metadata: &MetadataMap, longest: Duration) -> Result<Instant, Status> {
    let Some(value) = metadata.get("grpc-timeout") else {
        return Ok(Instant::now() + longest);
    };
    let allowed = value.to_str().ok().and_then(parse_timeout);
    let allowed = allowed.ok_or_else(|| Status::invalid_argument("grpc-timeout is not a time"))?;
    let way_back = (allowed / 10).min(WAY_BACK);
    Ok(Instant::now() + allowed.saturating_sub(way_back).min(longest))
}

/// `TimeoutValue TimeoutUnit`: up to eight digits and a letter (gRPC over HTTP/2, `PROTOCOL-HTTP2.md`, "Requests").
fn parse_timeout(text: &str) -> Option<Duration> {
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

    use super::{deadline, parse_timeout};

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
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
    }

    #[test]
    fn the_earlier_of_the_callers_deadline_and_ours_is_kept() {
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
