//! One request: the gate decides on the resource that it names, and the door answers with the verdict of the gate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, RANGE};
use http::{HeaderMap, Method, Request, Response};

use super::answer::{self, Puller};
use super::body::ResponseBody;
use super::route::{Name, Page, Route, RouteError};
use super::serve::{DoorAnswer, Handler};
use super::settings::RegistryDoorSettings;
use crate::base::error_chain::chain;
use crate::base::limits;
use crate::base::reason::Reason;
use crate::door::DoorSettings as _;
use crate::net::registry::{Access, Presented};
use crate::oci::Reference;
use crate::pull::decide::{Denial, Verdict};
use crate::pull::gate::Gate;
use crate::pull::request::{PullRequest, Purpose};

/// Answers requests by asking the gate.
pub(super) struct Pulls {
    pub(super) gate: Arc<Gate>,
    pub(super) default_registry: Option<String>,
    pub(super) pull_deadline: Duration,
    pub(super) blob_deadline: Duration,
}

impl Handler for Pulls {
    async fn handle(&self, request: Request<()>, peer: &str) -> DoorAnswer {
        let started = Instant::now();
        let response = match self.route(&request) {
            Ok((route, client)) => self.answer(route, &client, peer, started).await,
            Err(refusal) => {
                tracing::debug!(peer, error = chain(&refusal), "A request was refused");
                answer::refused(&refusal)
            }
        };
        let due = if response.body().is_blob() {
            started + self.blob_deadline
        } else {
            // The answer is written from memory: it takes longer only if the client does not read.
            Instant::now() + limits::BLOB_IDLE
        };
        DoorAnswer {
            response,
            due: due.into(),
        }
    }
}

/// The parts of a request beside the resource that it names.
struct ClientContext<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    presented: Option<Presented>,
}

impl Pulls {
    fn route<'a>(&self, request: &'a Request<()>) -> Result<(Route, ClientContext<'a>), RouteError> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        // `GET http://registry.example/v2/app/…`: a client sends this if it takes the door for a proxy. An answer by the path
        // alone could be for another registry than the one that the request names.
        if uri.authority().is_some() {
            return Err(if method == Method::CONNECT {
                RouteError::Method { allow: "GET, HEAD" }
            } else {
                RouteError::Proxy
            });
        }
        let route = Route::parse(method, uri.path(), uri.query(), self.default_registry.as_deref())?;
        let presented = presented(headers)?;
        Ok((
            route,
            ClientContext {
                method,
                headers,
                presented,
            },
        ))
    }

    async fn answer(
        &self,
        route: Route,
        client: &ClientContext<'_>,
        peer: &str,
        started: Instant,
    ) -> Response<ResponseBody> {
        let pull = |reference| PullRequest {
            door: RegistryDoorSettings::NAME,
            peer: peer.to_owned(),
            reference,
            presented: client.presented.clone(),
            deadline: started + self.pull_deadline,
            pod: None,
            purpose: Purpose::Serve,
        };
        // The futures of rare requests are boxed: a pull would carry their size.
        let answered = match route {
            Route::Base => Ok(Box::pin(self.base(client, started)).await),
            Route::Blob(reference) => self.blob(&pull(reference), client, started).await,
            Route::Manifest(reference) => self.manifest(&pull(reference)).await,
            Route::Referrers {
                subject,
                artifact_type,
            } => Box::pin(self.referrers(&pull(subject), artifact_type.as_deref())).await,
            Route::Tags { name, page } => {
                let reference = Reference {
                    repository: name.repository.clone(),
                    tag: None,
                    digest: None,
                };
                Box::pin(self.tags(&pull(reference), &name, &page)).await
            }
        };
        answered.unwrap_or_else(|denial| answer::denied(&denial, Puller::from_headers(client.headers)))
    }

    async fn manifest(&self, pull: &PullRequest) -> Result<Response<ResponseBody>, Box<Denial>> {
        match self.gate.admit(pull).await.verdict {
            Verdict::Allow(permit) => Ok(answer::manifest(&permit)),
            Verdict::Deny(denial) => Err(denial),
        }
    }

    async fn blob(
        &self,
        pull: &PullRequest,
        client: &ClientContext<'_>,
        started: Instant,
    ) -> Result<Response<ResponseBody>, Box<Denial>> {
        let permit = self.gate.admit_blob(pull).await?;
        // A range has no meaning in a HEAD (RFC 9110, 14.2).
        let range = client
            .headers
            .get(RANGE)
            .filter(|_| client.method == Method::GET)
            .cloned();
        let stream = self
            .gate
            .open_blob(&permit, client.method.clone(), range, pull)
            .await?;
        let deadline = (started + self.blob_deadline).into();
        Ok(answer::blob(&permit, stream, deadline))
    }

    /// Answers `/v2/` with the challenge of the default registry, which Docker and Podman read here alone. This is not a pull:
    /// if the registry cannot be reached, a later pull reports it.
    async fn base(&self, client: &ClientContext<'_>, started: Instant) -> Response<ResponseBody> {
        let challenge = match &self.default_registry {
            // A client that presents credentials has seen the challenge. The pull checks whether they are good.
            Some(registry) if client.presented.is_none() => {
                let deadline = started + self.pull_deadline.min(BASE_DEADLINE);
                let access = Access {
                    presented: None,
                    deadline,
                };
                match self.gate.settings().client.challenge(registry, &access).await {
                    Ok(challenge) => challenge,
                    Err(error) => {
                        tracing::debug!(
                            registry,
                            error = chain(&error),
                            "The registry's challenge could not be read"
                        );
                        None
                    }
                }
            }
            Some(_) | None => None,
        };
        answer::base(challenge)
    }

    /// Answers with a page of tags. A list of tags is not an image, but it shows which images exist: the rules hide it where
    /// they admit none.
    async fn tags(
        &self,
        pull: &PullRequest,
        name: &Name,
        page: &Page,
    ) -> Result<Response<ResponseBody>, Box<Denial>> {
        self.gate.check_rules(pull)?;
        let settings = self.gate.settings();
        let listed = settings
            .client
            .tags(&name.repository, page.query().as_deref(), &pull.access())
            .await;
        let (tags, link) = listed.map_err(|error| self.gate.registry_denial(pull, &error))?;
        // A list that ended here would claim that there are no further tags.
        let next = link.as_ref().map_or(Ok(None), Page::next).map_err(|error| {
            let detail = format!(
                "could not pass on the registry's next page of tags: {}",
                chain(&error)
            );
            self.gate.denial(pull, Reason::Malformed, detail)
        })?;
        let next = next.map(|page| name.tags_at(&page));
        Ok(answer::tags(tags, next.as_deref()))
    }

    /// Answers with the manifests that refer to an admitted manifest. The gate decides on each of them when it is pulled.
    async fn referrers(
        &self,
        pull: &PullRequest,
        artifact_type: Option<&str>,
    ) -> Result<Response<ResponseBody>, Box<Denial>> {
        let permit = match self.gate.admit(pull).await.verdict {
            Verdict::Allow(permit) => permit,
            Verdict::Deny(denial) => return Err(denial),
        };
        let settings = self.gate.settings();
        let (client, access) = (&settings.client, pull.access());
        let (repository, digest) = (&pull.reference.repository, permit.subject().digest());
        let listed = client
            .referrers_or_tag(repository, digest, artifact_type, &access)
            .await;
        let listed = listed.map_err(|error| self.gate.registry_denial(pull, &error))?;
        if listed.len() > limits::CANDIDATES {
            let detail = format!("more than {} manifests refer to the manifest", limits::CANDIDATES);
            return Err(self.gate.denial(pull, Reason::LimitExceeded, detail));
        }
        Ok(answer::referrers(&listed, artifact_type.is_some()))
    }
}

/// Returns the client's own credentials, if it presents any.
fn presented(headers: &HeaderMap) -> Result<Option<Presented>, RouteError> {
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    let Some(first) = shown.next() else {
        return Ok(None);
    };
    if shown.next().is_some() {
        return Err(RouteError::Duplicate("Authorization"));
    }
    // Podman sends an empty user and password (`:` in base64) after it dropped the credentials of another host. It means no
    // credentials, and a registry that is open to all would refuse these.
    if first.as_bytes().eq_ignore_ascii_case(b"basic og==") {
        return Ok(None);
    }
    let mut credentials = first.clone();
    credentials.set_sensitive(true);
    Ok(Some(Presented::Header(credentials)))
}

/// The time to read the challenge for `/v2/`. Docker waits 15 s for this answer (moby, `registry.PingV2Registry`), and sends
/// no other request before.
const BASE_DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;
    use http::{HeaderMap, HeaderValue};

    use super::presented;
    use crate::door::registry::route::RouteError;
    use crate::net::registry::Presented;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (AUTHORIZATION, HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn credentials_are_passed_on_unchanged_and_never_printed() {
        let shown = presented(&headers(&["Bearer secret"])).unwrap().unwrap();
        assert_eq!(
            shown,
            Presented::Header(HeaderValue::from_static("Bearer secret"))
        );
        assert!(!format!("{shown:?}").contains("secret"));
        assert_eq!(presented(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn empty_credentials_count_as_absent_and_two_headers_are_refused() {
        for empty in ["Basic Og==", "basic Og=="] {
            assert_eq!(presented(&headers(&[empty])), Ok(None));
        }
        assert!(presented(&headers(&["Basic Ojo="])).unwrap().is_some());
        assert_eq!(
            presented(&headers(&["Basic YTpi", "Basic Yzpk"])),
            Err(RouteError::Duplicate("Authorization"))
        );
    }
}
