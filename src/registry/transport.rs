//! The connections: TLS, proxies, pools, and the resolver that applies the [`Guard`] to what a name resolves to.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::Url;

use super::RegistryError;
use super::body::printable;
use super::guard::{Forbidden, Guard, Lane, host_of};

/// How long one connection may take to be made. A registry that is up answers within a round trip or two.
const CONNECT: Duration = Duration::from_secs(10);

/// How long an unused connection is kept. Below the 60 s after which common load balancers (and 75 s after which
/// nginx) drop it, so that few requests meet a dead one.
const IDLE: Duration = Duration::from_secs(50);

/// Unused connections kept for one host: the layers that a runtime pulls at once.
const IDLE_CONNECTIONS: usize = 16;

/// Header fields that one answer may have. Registries send about twenty.
const HEADERS: usize = 100;

/// The connections under one set of trusted certificates.
pub(super) struct Transport {
    guard: Arc<Guard>,
    tls: rustls::ClientConfig,
    /// At most eight, and four for each port of the gate's own listeners.
    lanes: Mutex<HashMap<Lane, reqwest::Client>>,
}

impl Transport {
    /// `ca`: PEM certificates trusted beside `system`'s.
    pub(super) fn new(
        guard: Arc<Guard>,
        system: &RootCertStore,
        ca: Option<&[u8]>,
    ) -> Result<Self, TransportError> {
        let mut roots = system.clone();
        if let Some(ca) = ca {
            let mut found = 0_usize;
            for certificate in CertificateDer::pem_slice_iter(ca) {
                roots.add(certificate?)?;
                found = found.saturating_add(1);
            }
            if found == 0 {
                return Err(TransportError::NoCertificate);
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            guard,
            tls,
            lanes: Mutex::new(HashMap::new()),
        })
    }

    /// Sends one request and waits for the head of its answer. Follows nothing.
    pub(super) async fn execute(
        &self,
        request: reqwest::Request,
        lane: Lane,
    ) -> Result<reqwest::Response, Failure> {
        let host = host_of(request.url());
        let client = self.lane(lane).map_err(|error| Failure::of(&host, error))?;
        client
            .execute(request)
            .await
            .map_err(|error| Failure::of(&host, error))
    }

    fn lane(&self, lane: Lane) -> reqwest::Result<reqwest::Client> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = lanes.get(&lane) {
            return Ok(client.clone());
        }
        let resolver = GuardedResolver {
            guard: Arc::clone(&self.guard),
            lane,
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("pullgate/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(CONNECT)
            .tcp_keepalive(IDLE)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_only()
            .http1_max_headers(HEADERS)
            .dns_resolver(resolver)
            .tls_backend_preconfigured(self.tls.clone());
        if lane.direct {
            builder = builder.no_proxy();
        }
        let client = builder.build()?;
        lanes.insert(lane, client.clone());
        Ok(client)
    }
}

/// The certificates that the system trusts. A system without any still reaches registries with a `ca`, or over http.
pub(super) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "A file of trusted certificates cannot be read");
    }
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::warn!(
            ignored,
            "Some of the system's trusted certificates cannot be read"
        );
    }
    roots
}

/// Why connections cannot be set up at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransportError {
    #[error("no PEM certificate in `ca`")]
    NoCertificate,
    #[error("`ca` is not PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("`ca` or TLS cannot be used")]
    Tls(#[from] rustls::Error),
}

/// A request that got no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: RegistryError,
    /// The same request may meet a better moment. Not so where a certificate is wrong or we ourselves refused.
    pub(super) transient: bool,
}

impl Failure {
    fn of(host: &str, error: reqwest::Error) -> Self {
        // The URL of a redirect may hold a signature that is as good as a password.
        let error = error.without_url();
        let host = host.to_owned();
        if let Some(why) = find::<Forbidden>(&error) {
            return Self {
                error: RegistryError::Refused {
                    host,
                    why: why.to_string(),
                },
                transient: false,
            };
        }
        let what = chain(error.source().unwrap_or(&error));
        if find::<hyper::Error>(&error).is_some_and(hyper::Error::is_parse) {
            let what = format!("the head of the answer cannot be read: {what}");
            return Self {
                error: RegistryError::Malformed { host, what },
                transient: false,
            };
        }
        let transient = find::<rustls::Error>(&error).is_none() && !error.is_builder();
        Self {
            error: RegistryError::Unreachable { host, what },
            transient,
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self {
            error,
            transient: false,
        }
    }
}

/// An error and its causes in one printable line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    printable(crate::causes::chain(error).as_bytes())
}

/// Looks for a cause, also inside `io::Error`, which skips what it wraps when it is asked for its source.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Resolves as the system does, and lets through the addresses that the guard lets through: a name that leads to
/// a metadata service is refused at the moment of connecting, so that no later answer of the DNS can change it.
struct GuardedResolver {
    guard: Arc<Guard>,
    lane: Lane,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, lane) = (Arc::clone(&self.guard), self.lane);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            if guard.is_proxy(name.as_str()) {
                let all: Addrs = Box::new(found.into_iter());
                return Ok(all);
            }
            let mut refused = None;
            let mut allowed = Vec::with_capacity(found.len());
            for address in found {
                match guard.address(address.ip(), lane) {
                    Ok(()) => allowed.push(address),
                    Err(why) => refused = Some(why),
                }
            }
            match refused {
                Some(why) if allowed.is_empty() => Err(why.into()),
                _ => {
                    let allowed: Addrs = Box::new(allowed.into_iter());
                    Ok(allowed)
                }
            }
        })
    }
}

/// Whether a configured endpoint is on this machine or in a private network: only then may it lead to others there.
/// A name that does not resolve is taken for public, which allows less.
pub(super) async fn endpoint_is_private(url: &Url) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return false;
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match tokio::net::lookup_host((host, port)).await {
        Ok(mut found) => found.any(|address| super::guard::is_private(address.ip())),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::endpoint_is_private;

    #[tokio::test]
    async fn an_endpoint_is_where_its_address_is() {
        for (url, private) in [
            ("http://127.0.0.1:5000/", true),
            ("http://[::1]:5000/", true),
            ("http://localhost:5000/", true),
            ("https://10.1.2.3/", true),
            ("https://192.0.2.7/", false),
            ("https://[2001:db8::1]/", false),
        ] {
            assert_eq!(endpoint_is_private(&url.parse().unwrap()).await, private, "{url}");
        }
    }
}
