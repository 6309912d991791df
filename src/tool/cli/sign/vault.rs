//! Signing in OCI Vault: the private key never leaves the vault.
//!
//! The order of the steps: check everything that needs no request; fetch the public key of the key version, which shows
//! whether the key can sign images; look up the image; sign, and verify the signature with that public key. Only then is
//! the record uploaded or attached.

use jiff::Timestamp;
use serde_json::Value;

use super::{RecordDestination, Sign, SignReport, resolve_image, sign_error};
use crate::net::oracle::wire::{
    ContainerImage, CreateSignature, ImageSignature, KeyVersionState, LifecycleState, LookUpImage,
    SignRequest,
};
use crate::net::oracle::{ApiError, CallError, Ocid};
use crate::oci::{Digest, Reference};
use crate::pull::resolve::Subject;
use crate::signature::oracle::{OracleMessage, Record};
use crate::tool::cli::Context;
use crate::tool::cli::key::public_half;
use crate::tool::cli::oracle_args::{OracleSession, api_error, key_id, key_version_id};
use crate::tool::cli::output::{CliError, Exit};
use crate::tool::sign::{record_from_vault, signed_bytes};
use crate::trust::PublicKey;

/// Key version that signs.
struct KeyVersionId {
    id: Ocid,
    version: Ocid,
}

impl Sign {
    pub(super) fn sign_in_vault(&self, context: &Context) -> Result<SignReport, CliError> {
        let key = self.vault_key()?;
        let (to_oracle, to_registry) = match (self.upload, &self.output) {
            (_, Some(_)) | (Some(RecordDestination::Referrer), None) => (false, true),
            (Some(RecordDestination::Both), None) => (true, true),
            (Some(RecordDestination::Oracle) | None, None) => (true, false),
        };
        if to_oracle && self.repository_name.is_some() {
            let message = "--repository-name cannot be combined with an upload to Oracle's API, which signs the image's own repository name";
            return Err(CliError::new(message, Exit::Usage)
                .hint("omit --repository-name, or give `--upload referrer`"));
        }
        let session = self.oracle.session()?;
        // The digest is not known yet. A placeholder of the same length shows whether the message is too long.
        let placeholder = Digest::sha256(b"");
        let name = self
            .image
            .as_ref()
            .map(|image| self.repository_name(image))
            .unwrap_or_default();
        signed_bytes(&self.message(&key, &session, placeholder, name)?).map_err(sign_error)?;

        let registry = if to_registry {
            Some(self.registry.client(context, self.require_image()?)?.client)
        } else {
            None
        };
        let access = self.access();
        context.block_on(async {
            let public = self.public_half(&session, &key).await?;
            let image = if to_oracle {
                Some(self.image_in_oracle(&session).await?)
            } else {
                None
            };
            let subject = match &registry {
                Some(client) => Some(resolve_image(self.require_image()?, client, &access).await?),
                None => None,
            };
            let (digest, name) = self.digest_and_name(image.as_ref(), subject.as_ref())?;
            let message = self.message(&key, &session, digest, name)?;
            let mut record = sign(&session, &key, &message, &public).await?;
            let mut uploaded = None;
            if let Some(image) = &image {
                let stored_record = self.upload_record(&session, image, record).await?;
                uploaded = Some(serde_json::from_slice::<Value>(&stored_record.record.to_json())?);
                record = stored_record.record;
            }
            let stored = match (&registry, &subject) {
                (Some(client), Some(subject)) => {
                    let stored = self.store(client, subject, &record, &access).await;
                    Some(stored.map_err(|error| match &uploaded {
                        Some(_) => CliError {
                            message: format!(
                                "{}; Oracle's API stores it as `{}`",
                                error.message,
                                record.locator()
                            ),
                            ..error
                        },
                        None => error,
                    })?)
                }
                (Some(_) | None, _) => None,
            };
            Ok(SignReport {
                image: self.label(),
                digest: digest.to_string(),
                key: public.fingerprint().to_string(),
                id: record.id,
                stored,
                uploaded,
            })
        })?
    }

    fn vault_key(&self) -> Result<KeyVersionId, CliError> {
        let read = |text: &Option<String>, of: fn(&str) -> Result<Ocid, String>| {
            of(text.as_deref().unwrap_or_default()).map_err(|error| {
                CliError::new("no valid key in OCI Vault is given", Exit::Usage)
                    .because(error)
                    .hint("give the OCIDs of a key and of its version with --kms-key-id and --kms-key-version-id")
            })
        };
        Ok(KeyVersionId {
            id: read(&self.kms_key_id, key_id)?,
            version: read(&self.kms_key_version_id, key_version_id)?,
        })
    }

    /// Returns the name of the image for people.
    fn label(&self) -> String {
        match (&self.image, &self.image_id) {
            (Some(image), _) => image.to_string(),
            (None, id) => id.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// Looks up the image in Oracle's API.
    async fn image_in_oracle(&self, session: &OracleSession) -> Result<ContainerImage, CliError> {
        let Some(id) = &self.image_id else {
            return look_up_image(session, self.require_image()?).await;
        };
        let found = session
            .client
            .get_image(&session.artifacts()?, id, session.deadline)
            .await
            .map_err(|error| image_unknown(id, error))?;
        if found.id == *id && found.lifecycle_state == LifecycleState::Available {
            Ok(found)
        } else {
            let message = format!("Oracle's API returned another image than `{id}`, or a deleted one");
            Err(CliError::new(message, Exit::CouldNotTell))
        }
    }

    /// Builds the message that Oracle's client builds from the same input.
    fn message(
        &self,
        key: &KeyVersionId,
        session: &OracleSession,
        image_digest: Digest,
        repository_name: String,
    ) -> Result<OracleMessage, CliError> {
        Ok(OracleMessage {
            description: self.description.clone(),
            image_digest,
            kms_key_id: key.id.to_string(),
            kms_key_version_id: key.version.to_string(),
            metadata: self.metadata.clone(),
            region: session.region()?.to_string(),
            repository_name,
            signing_algorithm: self.signing_algorithm,
        })
    }

    /// Fetches the public key that verifies the signature. Fails for an AES or EC key, and for a version that is not enabled.
    async fn public_half(&self, session: &OracleSession, key: &KeyVersionId) -> Result<PublicKey, CliError> {
        let management = session.kms_management(&key.id)?;
        let version = session
            .client
            .get_key_version(&management, &key.id, &key.version, session.deadline)
            .await
            .map_err(|error| api_error(format!("could not read the key version `{}`", key.version), error))?;
        if version.lifecycle_state != KeyVersionState::Enabled {
            let message = format!(
                "the key version `{}` is {}",
                key.version,
                version.lifecycle_state.as_str()
            );
            return Err(CliError::new(message, Exit::Usage).hint("sign with an enabled version"));
        }
        public_half(&version)
    }

    /// Returns the digest and the repository name to sign.
    fn digest_and_name(
        &self,
        image: Option<&ContainerImage>,
        subject: Option<&Subject>,
    ) -> Result<(Digest, String), CliError> {
        match (image, subject) {
            (Some(image), Some(subject)) if image.digest != *subject.digest() => {
                let message = format!(
                    "`{}` is {} in Oracle's API and {} in the registry: nothing was signed",
                    self.label(),
                    image.digest,
                    subject.digest()
                );
                Err(CliError::new(message, Exit::CouldNotTell).hint("name the image by its digest"))
            }
            (Some(image), _) => Ok((image.digest, image.repository_name.clone())),
            (None, Some(subject)) => Ok((*subject.digest(), self.repository_name(self.require_image()?))),
            // Unreachable: for each destination of a record the image was read.
            (None, None) => Err(CliError::new("could not read the image", Exit::CouldNotTell)),
        }
    }

    async fn upload_record(
        &self,
        session: &OracleSession,
        image: &ContainerImage,
        record: Record,
    ) -> Result<ImageSignature, CliError> {
        let failed = || CliError::new("could not upload the record", Exit::CouldNotTell);
        let compartment = self.compartment_id.as_ref().unwrap_or(&image.compartment_id);
        let (message, signature) = (record.message.clone(), record.signature.clone());
        let request = CreateSignature::new(compartment, &image.id, record);
        let request = request.map_err(|error| failed().because(error))?;
        let stored_record = session
            .client
            .create_signature(&session.artifacts()?, &request, session.deadline)
            .await
            .map_err(not_uploaded)?;
        if (&stored_record.record.message, &stored_record.record.signature) == (&message, &signature) {
            Ok(stored_record)
        } else {
            Err(CliError::new(
                format!(
                    "Oracle's API stored another record than it received, as `{}`",
                    stored_record.id
                ),
                Exit::CouldNotTell,
            )
            .hint("delete it with `pullgate signature delete --from oracle --id OCID`"))
        }
    }
}

/// Describes a failed lookup of an image. Only the API's own 404 means that the image does not exist.
fn image_unknown(image: impl std::fmt::Display, error: ApiError) -> CliError {
    match &error {
        ApiError::Call(CallError::NotFound { .. }) => {
            api_error(format!("Oracle's API has no image `{image}`"), error)
        }
        ApiError::Call(_) | ApiError::Identity { .. } => {
            api_error(format!("could not ask Oracle's API about `{image}`"), error)
        }
    }
}

/// Describes a failed upload. A refusal means that the service did not store the record; when the response was lost, the
/// outcome is unknown.
fn not_uploaded(error: ApiError) -> CliError {
    match &error {
        ApiError::Call(
            CallError::CutOff { .. }
            | CallError::DeadlineExceeded { .. }
            | CallError::Malformed { .. }
            | CallError::Protocol { .. }
            | CallError::TooLarge { .. }
            | CallError::Unreachable { .. },
        ) => api_error("could not tell whether the record was uploaded", error)
            .hint("check with `pullgate signature list IMAGE --from oracle`"),
        ApiError::Call(
            CallError::Clock { .. }
            | CallError::NotFound { .. }
            | CallError::Operation { .. }
            | CallError::PageLoop { .. }
            | CallError::Refused { .. }
            | CallError::Service { .. }
            | CallError::Signing { .. }
            | CallError::Unauthorized { .. },
        )
        | ApiError::Identity { .. } => api_error("could not upload the record", error),
    }
}

/// Has the vault sign the message, and verifies the signature.
async fn sign(
    session: &OracleSession,
    key: &KeyVersionId,
    message: &OracleMessage,
    public: &PublicKey,
) -> Result<Record, CliError> {
    let bytes = signed_bytes(message).map_err(sign_error)?;
    let request = SignRequest::new(&key.id, &key.version, message.signing_algorithm, bytes.clone())
        .map_err(|error| CliError::new("could not sign the image", Exit::Usage).because(error))?;
    let answer = session
        .client
        .sign(&session.kms_crypto(&key.id)?, &request, session.deadline)
        .await
        .map_err(|error| api_error("could not sign the image", error))?;
    record_from_vault(message, &bytes, &answer.signature, public, Timestamp::now()).map_err(|error| {
        CliError::new(
            "the vault returned an invalid signature; nothing was uploaded",
            Exit::CouldNotTell,
        )
        .because(error)
        .hint("try again; if the error persists, do not trust the endpoint")
    })
}

/// Looks up an image in Oracle's API, and compares the response with the reference.
pub(in crate::tool::cli) async fn look_up_image(
    session: &OracleSession,
    image: &Reference,
) -> Result<ContainerImage, CliError> {
    let request = LookUpImage::from_reference(image);
    let found = session
        .client
        .look_up_image(&session.artifacts()?, &request, session.deadline)
        .await
        .map_err(|error| image_unknown(image, error))?;
    let name = name_without_namespace(image);
    let is_the_image = image.digest.is_none_or(|digest| digest == found.digest)
        && name == found.repository_name
        && found.lifecycle_state == LifecycleState::Available;
    if is_the_image {
        Ok(found)
    } else {
        let message = format!(
            "Oracle's API returned {}@{} for `{image}`",
            crate::base::printable::excerpt(&found.repository_name),
            found.digest
        );
        Err(CliError::new(message, Exit::CouldNotTell).hint("push the image again, or name it by its digest"))
    }
}

/// Returns the repository name as Oracle's API has it: without the tenancy's namespace, the first part of the path.
pub(in crate::tool::cli) fn name_without_namespace(image: &Reference) -> &str {
    let path = image.repository.path();
    path.split_once('/').map_or(path, |(_namespace, name)| name)
}
