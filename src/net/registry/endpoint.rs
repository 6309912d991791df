//! A registry as it is configured: its endpoints in order, and what is remembered of each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use url::Url;

use super::{Credentials, RegistryConfig, RegistryError, SourceName};
use crate::base::printable::excerpt;
use crate::net::transport::guard::{Guard, host_of, same_origin};
use crate::net::transport::{Transport, endpoint_is_private};
use crate::oci::normalised_registry;

/// How long a mirror that gave no answer is passed over: a pull of many blobs does not wait for it at each.
const MIRROR_REST: Duration = Duration::from_secs(30);

/// How long it is remembered whether an endpoint is in a private network.
const PRIVATE_MEMORY: Duration = Duration::from_secs(60);

/// One registry that images name.
pub(super) struct Registry {
    /// As it stands in image names.
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
        // As images name it: `index.docker.io` and a default port are other spellings of one registry.
        let host = normalised_registry(&config.host).map_err(|error| RegistryError::Refused {
            host: excerpt(&config.host),
            why: error.to_string(),
        })?;
        let refused = |why: &str| RegistryError::Refused {
            host: host.clone(),
            why: why.to_owned(),
        };
        let Some((last, mirrors)) = config.endpoints.split_last() else {
            return Err(refused("it has no endpoint"));
        };
        // The host in image names may be no URL of its own (a name that only the configuration knows).
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

    /// The mirrors that are worth asking now, in order.
    pub(super) fn mirrors(&self) -> impl Iterator<Item = &RegistryEndpoint> {
        self.mirrors.iter().filter(|mirror| !mirror.rests())
    }

    /// The endpoint itself: asked last, and its answer is the registry's.
    pub(super) fn endpoint(&self) -> &RegistryEndpoint {
        &self.endpoint
    }
}

/// One place where a registry is reached.
pub(super) struct RegistryEndpoint {
    /// Host and port, for errors.
    pub(super) host: String,
    /// Of the registry itself, rather than of a mirror elsewhere: only here the client's own credentials are shown.
    pub(super) own: bool,
    /// Scheme, host, port, and the path up to and with `/v2/`.
    root: Url,
    /// What stands between `/v2/` and the repository, with its slash; empty for most.
    prefix: String,
    private: Mutex<Option<(Instant, bool)>>,
    rests_until: Mutex<Option<Instant>>,
}

impl RegistryEndpoint {
    /// The API is below `/v2/` of the URL's path; where the path has a `/v2` already, what follows it goes before each
    /// repository (a proxy cache of Harbor: `https://harbor.example/v2/hub-cache`).
    fn new(url: &Url, own: bool, guard: &Guard) -> Result<Self, RegistryError> {
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
                why: "an endpoint has no query and no fragment".to_owned(),
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
            own,
            root,
            prefix,
            private: Mutex::new(None),
            rests_until: Mutex::new(None),
        })
    }

    /// `/v2/`
    pub(super) fn root(&self) -> &Url {
        &self.root
    }

    /// `/v2/<repository>/<rest>`: both of types that hold nothing that means something in a path.
    pub(super) fn url(&self, repository: &str, rest: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(&format!("{}{}{repository}/{rest}", self.root.path(), self.prefix));
        url
    }

    /// The repository as this endpoint calls it, in scopes of tokens.
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

    /// A test's endpoint is on loopback; this one behaves as if it were not.
    #[cfg(test)]
    pub(super) fn pretend_public(&self) {
        let later = Instant::now() + Duration::from_secs(1);
        *self.private.lock().unwrap_or_else(PoisonError::into_inner) = Some((later, false));
    }

    /// Takes note that nothing was reached here.
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

#[cfg(test)]
mod tests {
    use url::Url;

    use super::{Guard, RegistryEndpoint};
    use crate::net::registry::RegistryError;

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
    fn an_endpoint_that_could_never_be_asked_is_refused_at_once() {
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
