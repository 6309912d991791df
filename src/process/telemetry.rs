//! The log of the daemon, and the HTTP address of its metrics.

mod json_lines;

use std::convert::Infallible;
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::process::telemetry::json_lines::{Lines, Writing};

/// The filter of the log where `PULLGATE_LOG` is not set (syntax: the `EnvFilter` directives of tracing-subscriber).
const DEFAULT_FILTER: &str = "info";

/// The media type of the metrics (OpenMetrics 1.0).
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The number of scrapes at one time. A scraper that hangs must not use up the daemon's file descriptors.
const SCRAPES: usize = 8;

/// The time after which a scrape is cut off.
const SCRAPE_DEADLINE: Duration = Duration::from_secs(10);

/// The log of a process. Dropping it waits until the last line is written; later lines are lost.
#[derive(Debug)]
#[must_use = "the log ends when it is dropped"]
pub struct Log {
    _writing: Option<Writing>,
}

/// Sets up the log: under systemd the journal with its native fields, on a terminal text, elsewhere one JSON object for each
/// line of standard output.
///
/// # Errors
/// When the thread that writes cannot be started.
pub fn init_log() -> io::Result<Log> {
    let filter =
        EnvFilter::try_from_env("PULLGATE_LOG").unwrap_or_else(|_unset| EnvFilter::new(DEFAULT_FILTER));
    let log = tracing_subscriber::registry().with(filter);
    // systemd sets the variable when standard output is the journal (systemd.exec(5), "$JOURNAL_STREAM").
    if std::env::var_os("JOURNAL_STREAM").is_some()
        && let Ok(journal) = tracing_journald::layer()
    {
        log.with(journal.with_field_prefix(None)).init();
        Ok(Log { _writing: None })
    } else if io::stdout().is_terminal() {
        log.with(tracing_subscriber::fmt::layer()).init();
        Ok(Log { _writing: None })
    } else {
        let (lines, writing) = Lines::new(io::stdout())?;
        log.with(lines).init();
        Ok(Log {
            _writing: Some(writing),
        })
    }
}

/// The address of the metrics, bound but not yet served.
#[derive(Debug)]
pub struct MetricsDoor {
    listener: TcpListener,
}

impl MetricsDoor {
    /// Binds the address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: SocketAddr) -> Result<Self, io::Error> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
        })
    }

    /// Returns the bound address, with the real port where the configuration has port 0.
    ///
    /// # Errors
    /// When the system does not report the address.
    pub fn local_addr(&self) -> Result<SocketAddr, io::Error> {
        self.listener.local_addr()
    }

    /// Serves `GET /metrics` until the process ends.
    pub async fn serve(self, metrics: Arc<Registry>) {
        let places = Arc::new(Semaphore::new(SCRAPES));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok((stream, _peer)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "Could not accept a connection for metrics");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let metrics = Arc::clone(&metrics);
            tokio::spawn(async move {
                let service = service_fn(|request| answer(request, Arc::clone(&metrics)));
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(SCRAPE_DEADLINE)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                if let Ok(Err(error)) = tokio::time::timeout(SCRAPE_DEADLINE, connection).await {
                    tracing::debug!(%error, "A scrape was cut off");
                }
                drop(place);
            });
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    metrics: Arc<Registry>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let answered = if request.uri().path() != "/metrics" {
        plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n")
    } else if request.method() != Method::GET {
        plain(StatusCode::METHOD_NOT_ALLOWED, "metrics are read with GET\n")
    } else {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &metrics) {
            Ok(()) => {
                let mut response = Response::new(Full::from(text));
                response.headers_mut().insert(
                    http::header::CONTENT_TYPE,
                    http::HeaderValue::from_static(CONTENT_TYPE),
                );
                response
            }
            Err(std::fmt::Error) => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics could not be written\n",
            ),
        }
    };
    Ok(answered)
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
