//! What is asked: untrusted text into a [`PullRequest`].

use std::time::Instant;

use http::HeaderValue;

use super::settings::AdmissionDoorSettings;
use crate::base::proto::v1;
use crate::door::DoorSettings as _;
use crate::net::registry::{DockerAuthError, Login, Presented, Secret};
use crate::oci::{Digest, DigestError, Reference, ReferenceError, normalised_registry};
use crate::pull::request::{DescribedManifest, PullRequest, Purpose};

/// Why a question is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("`reference` is not an image's name: {0}")]
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

/// Why credentials are none. It never holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestCredentialsError {
    #[error(transparent)]
    Auth(#[from] DockerAuthError),
    #[error("`registry_token` holds bytes that no header can")]
    RegistryToken,
}

/// The request that was meant.
pub(super) fn read(
    asked: v1::CheckRequest,
    peer: String,
    deadline: Instant,
) -> Result<PullRequest, AskError> {
    let mut reference: Reference = asked.reference.parse()?;
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
    if let Some(descriptor) = asked.descriptor {
        of_descriptor = digest("descriptor.digest", &descriptor.digest)?;
        if descriptor.media_type.is_empty() {
            return Err(AskError::MediaType);
        }
        described = Some(DescribedManifest {
            size: u64::try_from(descriptor.size).map_err(|_negative| AskError::Size)?,
            media_type: descriptor.media_type,
        });
    }
    for other in [digest("digest", &asked.digest)?, of_descriptor]
        .into_iter()
        .flatten()
    {
        if *reference.digest.get_or_insert(other) != other {
            return Err(AskError::Digests);
        }
    }
    let presented = match asked.credentials {
        Some(shown) => presented(shown, reference.repository.registry())?,
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

/// What CRI's `AuthConfig` means for this registry, as containerd reads it (`internal/cri/server/images/image_pull.go`,
/// `ParseAuth`): nothing where it is for another server; a name before `auth`; an identity token alone where there is no
/// name. A registry token is a bearer token.
pub(crate) fn presented(
    shown: v1::Credentials,
    registry: &str,
) -> Result<Option<Presented>, RequestCredentialsError> {
    if !shown.server_address.is_empty() && !is_for(&shown.server_address, registry) {
        return Ok(None);
    }
    let login = if !shown.username.is_empty() {
        Login::Basic {
            user: shown.username,
            password: Secret::new(shown.password),
        }
    } else if !shown.identity_token.is_empty() {
        Login::IdentityToken(Secret::new(shown.identity_token))
    } else if !shown.auth.is_empty() {
        Login::from_docker_auth(&shown.auth)?
    } else if !shown.registry_token.is_empty() {
        let header = HeaderValue::try_from(format!("Bearer {}", shown.registry_token));
        let mut header = header.map_err(|_said_no_more| RequestCredentialsError::RegistryToken)?;
        header.set_sensitive(true);
        return Ok(Some(Presented::Header(header)));
    } else {
        return Ok(None);
    };
    Ok(Some(Presented::Login(login)))
}

/// `https://index.docker.io/v1/`, `registry.example:5000`, `https://registry.example`.
fn is_for(server: &str, registry: &str) -> bool {
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = server.split('/').next().unwrap_or_default();
    normalised_registry(host).is_ok_and(|host| host == registry)
}
