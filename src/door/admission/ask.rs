//! Reads the untrusted text of a call into a [`PullRequest`].

use std::time::Instant;

use http::HeaderValue;

use super::settings::AdmissionDoorSettings;
use crate::base::proto::v1;
use crate::door::DoorSettings as _;
use crate::net::registry::{DockerAuthError, Login, Presented, Secret};
use crate::oci::{Digest, DigestError, Reference, ReferenceError, normalised_registry};
use crate::pull::request::{DescribedManifest, PullRequest, Purpose};

/// Why a call could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("`reference` is not an image name: {0}")]
    Reference(#[from] ReferenceError),
    #[error("`{field}` is not a digest: {source}")]
    Digest {
        field: &'static str,
        #[source]
        source: DigestError,
    },
    #[error("`reference`, `digest` and `descriptor.digest` do not name the same digest")]
    Digests,
    #[error("`descriptor.media_type` is empty")]
    MediaType,
    #[error("`descriptor.size` is negative")]
    Size,
    #[error("`credentials`: {0}")]
    Credentials(#[from] RequestCredentialsError),
}

/// Why credentials could not be read. The error never holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestCredentialsError {
    #[error(transparent)]
    Auth(#[from] DockerAuthError),
    #[error("`registry_token` holds bytes that a header cannot carry")]
    RegistryToken,
}

/// Reads a call of `peer`, to be answered by `deadline`.
pub(super) fn read(
    check: v1::CheckRequest,
    peer: String,
    deadline: Instant,
) -> Result<PullRequest, AskError> {
    let mut reference: Reference = check.reference.parse()?;
    let digest = |field, text: &str| {
        let parsed = if text.is_empty() {
            None
        } else {
            Some(text.parse::<Digest>())
        };
        parsed
            .transpose()
            .map_err(|source| AskError::Digest { field, source })
    };
    let (mut described, mut of_descriptor) = (None, None);
    if let Some(descriptor) = check.descriptor {
        of_descriptor = digest("descriptor.digest", &descriptor.digest)?;
        if descriptor.media_type.is_empty() {
            return Err(AskError::MediaType);
        }
        described = Some(DescribedManifest {
            size: u64::try_from(descriptor.size).map_err(|_negative| AskError::Size)?,
            media_type: descriptor.media_type,
        });
    }
    for other in [digest("digest", &check.digest)?, of_descriptor]
        .into_iter()
        .flatten()
    {
        if *reference.digest.get_or_insert(other) != other {
            return Err(AskError::Digests);
        }
    }
    let presented = match check.credentials {
        Some(credentials) => presented(credentials, reference.repository.registry())?,
        None => None,
    };
    Ok(PullRequest {
        door: AdmissionDoorSettings::NAME,
        peer,
        reference,
        presented,
        deadline,
        pod: None,
        purpose: Purpose::VerdictOnly(described),
    })
}

/// Reads CRI's `AuthConfig` for this registry as containerd does (`internal/cri/server/images/image_pull.go`, `ParseAuth`):
/// credentials for another server are ignored; a user name comes before `auth`; an identity token counts only without a user
/// name. A registry token is a bearer token.
pub(crate) fn presented(
    credentials: v1::Credentials,
    registry: &str,
) -> Result<Option<Presented>, RequestCredentialsError> {
    if !credentials.server_address.is_empty() && !names_registry(&credentials.server_address, registry) {
        return Ok(None);
    }
    let login = if !credentials.username.is_empty() {
        Login::Basic {
            user: credentials.username,
            password: Secret::new(credentials.password),
        }
    } else if !credentials.identity_token.is_empty() {
        Login::IdentityToken(Secret::new(credentials.identity_token))
    } else if !credentials.auth.is_empty() {
        Login::from_docker_auth(&credentials.auth)?
    } else if !credentials.registry_token.is_empty() {
        let header = HeaderValue::try_from(format!("Bearer {}", credentials.registry_token));
        let mut header = header.map_err(|_no_details| RequestCredentialsError::RegistryToken)?;
        header.set_sensitive(true);
        return Ok(Some(Presented::Header(header)));
    } else {
        return Ok(None);
    };
    Ok(Some(Presented::Login(login)))
}

/// Whether a server address names this registry: `https://index.docker.io/v1/`, `registry.example:5000` or
/// `https://registry.example`.
fn names_registry(server: &str, registry: &str) -> bool {
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = server.split('/').next().unwrap_or_default();
    normalised_registry(host).is_ok_and(|host| host == registry)
}
