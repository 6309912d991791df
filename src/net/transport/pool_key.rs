//! The key under which connections are pooled.

use http::header::InvalidHeaderValue;
use http::{HeaderValue, Uri};
use url::{Position, Url};

use super::guard::ConnectPolicy;

/// A destination. Connections with the same key may serve each other's requests.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub(super) policy: ConnectPolicy,
    pub(super) is_tls: bool,
    /// Host, and port where it is not the default of the scheme.
    pub(super) authority: HeaderValue,
}

impl PoolKey {
    pub(super) fn new(url: &Url, policy: ConnectPolicy) -> Result<Self, InvalidHeaderValue> {
        Ok(Self {
            policy,
            is_tls: url.scheme() == "https",
            authority: HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])?,
        })
    }

    /// Returns the URL of the destination, without a path.
    pub(super) fn uri(&self) -> Result<Uri, http::Error> {
        let scheme = if self.is_tls { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).path_and_query("/");
        uri.authority(self.authority.as_bytes()).build()
    }
}
