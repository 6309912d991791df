//! One request: what it asks for is put before the gate, and what the gate says is answered.

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
        let began = Instant::now();
        let response = match self.route(&request) {
            Ok((route, asked)) => self.answer(route, &asked, peer, began).await,
            Err(refusal) => {
                tracing::debug!(peer, error = chain(&refusal), "A request was refused");
                answer::refused(&refusal)
            }
        };
        let due = if response.body().is_blob() {
            began + self.blob_deadline
        } else {
            // It is written out of memory: what takes longer is a client that does not read.
            Instant::now() + limits::BLOB_IDLE
        };
        DoorAnswer {
            response,
            due: due.into(),
        }
    }
}

/// What a request says besides what it asks for.
struct ClientContext<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    presented: Option<Presented>,
}

impl Pulls {
    fn route<'a>(&self, request: &'a Request<()>) -> Result<(Route, ClientContext<'a>), RouteError> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        // `GET http://registry.example/v2/app/…`: sent by a client that takes this door for a proxy. To answer it by the
        // path alone would be to answer for another registry than it names.
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
        asked: &ClientContext<'_>,
        peer: &str,
        began: Instant,
    ) -> Response<ResponseBody> {
        let pull = |reference| PullRequest {
            door: RegistryDoorSettings::NAME,
            peer: peer.to_owned(),
            reference,
            presented: asked.presented.clone(),
            deadline: began + self.pull_deadline,
            pod: None,
            purpose: Purpose::Serve,
        };
        // What is rarely asked has a place of its own: a pull would carry it along.
        let answered = match route {
            Route::Base => Ok(Box::pin(self.base(asked, began)).await),
            Route::Blob(reference) => self.blob(&pull(reference), asked, began).await,
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
        answered.unwrap_or_else(|denial| answer::denied(&denial, Puller::from_headers(asked.headers)))
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
        asked: &ClientContext<'_>,
        began: Instant,
    ) -> Result<Response<ResponseBody>, Box<Denial>> {
        let permit = self.gate.admit_blob(pull).await?;
        // Of a HEAD a range means nothing (RFC 9110, 14.2).
        let range = asked
            .headers
            .get(RANGE)
            .filter(|_| asked.method == Method::GET)
            .cloned();
        let stream = self
            .gate
            .open_blob(&permit, asked.method.clone(), range, pull)
            .await?;
        let deadline = (began + self.blob_deadline).into();
        Ok(answer::blob(&permit, stream, deadline))
    }

    /// Of the registry that Docker's `registry-mirrors` mean, a client is told how it wants to be asked: Docker and
    /// Podman take that from here alone. This is no pull: where the registry does not say, the pull will.
    async fn base(&self, asked: &ClientContext<'_>, began: Instant) -> Response<ResponseBody> {
        let challenge = match &self.default_registry {
            // Who shows credentials was told before. Whether they are good, the pull shows.
            Some(registry) if asked.presented.is_none() => {
                let deadline = began + self.pull_deadline.min(BASE_DEADLINE);
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
                            "The registry did not say how it wants to be asked"
                        );
                        None
                    }
                }
            }
            Some(_) | None => None,
        };
        answer::base(challenge)
    }

    /// A list of tags is no image, but says what there is: the rules hide it where they let nothing through.
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
        // A list that ended here without a word would be a lie about what there is.
        let next = link.as_ref().map_or(Ok(None), Page::next).map_err(|error| {
            let detail = format!(
                "the registry's next page of tags can not be passed on: {}",
                chain(&error)
            );
            self.gate.denial(pull, Reason::Malformed, detail)
        })?;
        let next = next.map(|page| name.tags_at(&page));
        Ok(answer::tags(tags, next.as_deref()))
    }

    /// What refers to a manifest that is admitted: a list, whose entries are pulled and judged by themselves.
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
            let detail = format!("more than {} manifests refer to it", limits::CANDIDATES);
            return Err(self.gate.denial(pull, Reason::LimitExceeded, detail));
        }
        Ok(answer::referrers(&listed, artifact_type.is_some()))
    }
}

/// The client's own credentials, if it shows any.
fn presented(headers: &HeaderMap) -> Result<Option<Presented>, RouteError> {
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    let Some(first) = shown.next() else {
        return Ok(None);
    };
    if shown.next().is_some() {
        return Err(RouteError::Duplicate("Authorization"));
    }
    // Podman sends user and password empty (`:` in base64) when it dropped those of another host: none is meant, and
    // a registry would refuse them where it lets everybody in.
    if first.as_bytes().eq_ignore_ascii_case(b"basic og==") {
        return Ok(None);
    }
    let mut credentials = first.clone();
    credentials.set_sensitive(true);
    Ok(Some(Presented::Header(credentials)))
}

/// Docker waits 15 s for `/v2/` (moby, `registry.PingV2Registry`), and asks nothing else before.
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
    fn credentials_are_passed_on_as_they_came_and_never_printed() {
        let shown = presented(&headers(&["Bearer secret"])).unwrap().unwrap();
        assert_eq!(
            shown,
            Presented::Header(HeaderValue::from_static("Bearer secret"))
        );
        assert!(!format!("{shown:?}").contains("secret"));
        assert_eq!(presented(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn empty_credentials_are_none_and_two_are_refused() {
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
