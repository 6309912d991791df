//! A registry as it is configured: its endpoints in order, and the memory of each (silent mirrors, private networks,
//! missing referrers APIs).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use url::Url;

use super::config::{Credentials, RegistryConfig};
use super::error::RegistryError;
use crate::base::printable::excerpt;
use crate::net::transport::Transport;
use crate::net::transport::guard::{Guard, endpoint_is_private, host_of, same_origin};
use crate::oci::normalised_registry;
use crate::signature::SourceName;

/// The time for which a mirror that did not answer is skipped, so that a pull of many blobs does not wait for it at each.
const MIRROR_REST: Duration = Duration::from_secs(30);

/// The time for which the answer whether an endpoint is in a private network is reused.
const PRIVATE_MEMORY: Duration = Duration::from_secs(60);

/// The time for which a missing referrers API is remembered. It can only change with an upgrade of the registry.
const NO_REFERRERS_MEMORY: Duration = Duration::from_secs(10 * 60);

/// Most repositories and endpoints for which a missing referrers API is remembered.
const NO_REFERRERS_ENTRIES: usize = 1024;

/// One registry that image names refer to.
pub(super) struct Registry {
    /// The registry as image names write it.
    pub(super) host: String,
    pub(super) credentials: Credentials,
    pub(super) signatures: Vec<SourceName>,
    pub(super) transport: Arc<Transport>,
    mirrors: Vec<RegistryEndpoint>,
    endpoint: RegistryEndpoint,
}

impl Registry {
    pub(super) fn new(
        config: RegistryConfig,
        transport: Arc<Transport>,
        guard: &Guard,
    ) -> Result<Self, RegistryError> {
        // `index.docker.io` and a default port are other spellings of the same registry.
        let host = normalised_registry(&config.host).map_err(|error| RegistryError::Refused {
            host: excerpt(&config.host),
            why: error.to_string(),
        })?;
        let refused = |why: &str| RegistryError::Refused {
            host: host.clone(),
            why: why.to_owned(),
        };
        let Some((last, mirrors)) = config.endpoints.split_last() else {
            return Err(refused("no endpoint is configured"));
        };
        // The host in image names need not form a URL (a name that only the configuration knows).
        let named = Url::parse(&format!("https://{host}")).ok();
        let is_own =
            |url: &Url| same_origin(url, last) || named.as_ref().is_some_and(|named| same_origin(url, named));
        let mirrors = mirrors
            .iter()
            .map(|url| RegistryEndpoint::new(url, is_own(url), guard))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            mirrors,
            endpoint: RegistryEndpoint::new(last, true, guard)?,
            host,
            credentials: config.credentials,
            signatures: config.signatures,
            transport,
        })
    }

    /// Returns the mirrors that are not skipped now, in order.
    pub(super) fn mirrors(&self) -> impl Iterator<Item = &RegistryEndpoint> {
        self.mirrors.iter().filter(|mirror| !mirror.rests())
    }

    /// Returns the registry's own endpoint: it is tried last, and its answer counts as the registry's.
    pub(super) fn endpoint(&self) -> &RegistryEndpoint {
        &self.endpoint
    }
}

/// One endpoint of a registry.
pub(super) struct RegistryEndpoint {
    /// Host and port, for errors.
    pub(super) host: String,
    /// Whether it belongs to the registry itself rather than to a mirror elsewhere: only here the client's own
    /// credentials are shown.
    pub(super) is_own: bool,
    /// Scheme, host, port, and the path up to and including `/v2/`.
    root: Url,
    /// The part of the path between `/v2/` and the repository, with its slash; usually empty.
    prefix: String,
    /// Whether the endpoint is in a private network, and when that was found out.
    private: Mutex<Option<(Instant, bool)>>,
    rests_until: Mutex<Option<Instant>>,
}

impl RegistryEndpoint {
    /// Reads an endpoint's URL. The API is at `/v2/` below the URL's path; where the path itself has a `/v2`, the rest of
    /// the path becomes a prefix of each repository (a proxy cache of Harbor: `https://harbor.example/v2/hub-cache`).
    fn new(url: &Url, is_own: bool, guard: &Guard) -> Result<Self, RegistryError> {
        let host = host_of(url);
        if let Err(why) = guard.check(url, true) {
            return Err(RegistryError::Refused {
                host,
                why: why.to_string(),
            });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(RegistryError::Refused {
                host,
                why: "an endpoint cannot have a query or a fragment".to_owned(),
            });
        }
        let path = url.path().trim_end_matches('/');
        let (before, prefix) = match path.strip_prefix("/v2") {
            Some("") => ("", String::new()),
            Some(rest) if rest.starts_with('/') => ("", format!("{}/", rest.trim_start_matches('/'))),
            Some(_) | None => (path, String::new()),
        };
        let mut root = url.clone();
        root.set_path(&format!("{before}/v2/"));
        Ok(Self {
            host,
            is_own,
            root,
            prefix,
            private: Mutex::new(None),
            rests_until: Mutex::new(None),
        })
    }

    /// Returns the URL of `/v2/`.
    pub(super) fn root(&self) -> &Url {
        &self.root
    }

    /// Returns the URL of `/v2/<repository>/<rest>`. Both come from types that hold no character with a meaning in
    /// a path.
    pub(super) fn url(&self, repository: &str, rest: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(&format!("{}{}{repository}/{rest}", self.root.path(), self.prefix));
        url
    }

    /// Returns the name of the repository at this endpoint, for the scope of a token.
    pub(super) fn name_of(&self, repository: &str) -> String {
        format!("{}{repository}", self.prefix)
    }

    /// Whether this endpoint is on this machine or in a private network.
    pub(super) async fn is_private(&self) -> bool {
        let now = Instant::now();
        let known = *self.private.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, private)) = known
            && now.duration_since(at) < PRIVATE_MEMORY
        {
            return private;
        }
        let private = endpoint_is_private(&self.root).await;
        *self.private.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, private));
        private
    }

    /// Treats this endpoint as public for some time: the endpoint of a test is on loopback.
    #[cfg(test)]
    pub(super) fn pretend_public(&self) {
        let later = Instant::now() + Duration::from_secs(1);
        *self.private.lock().unwrap_or_else(PoisonError::into_inner) = Some((later, false));
    }

    /// Skips this mirror for [`MIRROR_REST`], because it did not answer.
    pub(super) fn rest(&self) {
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + MIRROR_REST);
    }

    fn rests(&self) -> bool {
        self.rests_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|until| Instant::now() < until)
    }
}

/// The endpoints and repositories without a referrers API. A 404 counts for one repository, and for a whole endpoint
/// only where its body says that the route does not exist: otherwise one pull from a repository that does not exist
/// would hide the signatures of all others.
pub(super) struct NoReferrersApi {
    known_until: quick_cache::sync::Cache<(Url, Option<Arc<str>>), Instant>,
}

impl NoReferrersApi {
    pub(super) fn new() -> Self {
        Self {
            known_until: quick_cache::sync::Cache::new(NO_REFERRERS_ENTRIES),
        }
    }

    pub(super) fn contains(&self, endpoint: &Url, repository: &str) -> bool {
        let now = Instant::now();
        let is_fresh = |key| {
            self.known_until
                .get(&key)
                .is_some_and(|until: Instant| now < until)
        };
        is_fresh((endpoint.clone(), None)) || is_fresh((endpoint.clone(), Some(Arc::from(repository))))
    }

    /// Remembers a repository, or the whole endpoint where `repository` is `None`.
    pub(super) fn insert(&self, endpoint: &Url, repository: Option<&str>) {
        self.known_until.insert(
            (endpoint.clone(), repository.map(Arc::from)),
            Instant::now() + NO_REFERRERS_MEMORY,
        );
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::{Guard, RegistryEndpoint, RegistryError};

    fn endpoint(url: &str) -> Result<RegistryEndpoint, RegistryError> {
        RegistryEndpoint::new(
            &Url::parse(url).unwrap(),
            true,
            &Guard::new(vec!["127.0.0.1:5443".parse().unwrap()], vec![]),
        )
    }

    #[test]
    fn the_api_is_below_v2() {
        for (url, manifest, scope) in [
            ("https://r.example", "https://r.example/v2/a/b/tags/list", "a/b"),
            (
                "https://r.example:5000/",
                "https://r.example:5000/v2/a/b/tags/list",
                "a/b",
            ),
            (
                "https://r.example/v2",
                "https://r.example/v2/a/b/tags/list",
                "a/b",
            ),
            (
                "https://r.example/v2/",
                "https://r.example/v2/a/b/tags/list",
                "a/b",
            ),
            (
                "https://r.example/v2/hub/cache/",
                "https://r.example/v2/hub/cache/a/b/tags/list",
                "hub/cache/a/b",
            ),
            (
                "https://r.example/registry",
                "https://r.example/registry/v2/a/b/tags/list",
                "a/b",
            ),
            (
                "https://r.example/v2x",
                "https://r.example/v2x/v2/a/b/tags/list",
                "a/b",
            ),
        ] {
            let endpoint = endpoint(url).unwrap();
            assert_eq!(endpoint.url("a/b", "tags/list").as_str(), manifest, "{url}");
            assert_eq!(endpoint.name_of("a/b"), scope, "{url}");
        }
    }

    #[test]
    fn a_forbidden_endpoint_is_refused_when_it_is_configured() {
        for url in [
            "http://169.254.169.254/",
            "http://127.0.0.1:5443/",
            "ftp://r.example/",
            "https://user:secret@r.example/",
            "https://r.example/?x=y",
            "https://r.example/#x",
        ] {
            let error = endpoint(url).map(|_| ()).unwrap_err();
            assert!(matches!(error, RegistryError::Refused { .. }), "{url}: {error:?}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }
}
