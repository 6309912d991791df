//! Signing in OCI Vault: the private half never leaves it.
//!
//! In this order: all that can be refused without asking anyone; the key version's public half, which says whether the
//! key can do it; the image; the signature, which is checked under that public half; then, and only then, the record
//! goes to where it is kept.

use jiff::Timestamp;
use serde_json::Value;

use super::{RecordDestination, Sign, SignReport, subject, unsigned};
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
use crate::tool::cli::oracle_args::{Opened, key_id, key_version_id, refused};
use crate::tool::cli::output::{CliError, Exit};
use crate::tool::sign::{signed_elsewhere, spelled};
use crate::trust::PublicKey;

/// The key that signs.
struct VaultKey {
    id: Ocid,
    version: Ocid,
}

impl Sign {
    pub(super) fn in_vault(&self, context: &Context) -> Result<SignReport, CliError> {
        let key = self.vault_key()?;
        let (to_oracle, to_registry) = match (self.upload, &self.output) {
            (_, Some(_)) | (Some(RecordDestination::Referrer), None) => (false, true),
            (Some(RecordDestination::Both), None) => (true, true),
            (Some(RecordDestination::Oracle) | None, None) => (true, false),
        };
        if to_oracle && self.repository_name.is_some() {
            let message =
                "Oracle's API keeps a record under the image's own repository, which is signed then";
            return Err(CliError::new(message, Exit::Usage)
                .hint("leave --repository-name out, or give `--upload referrer`"));
        }
        let opened = self.cloud.open()?;
        // A digest of the usual length stands in for the one that is not known yet: what is too long for it is too long.
        let stand_in = Digest::sha256(b"");
        let name = self
            .image
            .as_ref()
            .map(|image| self.name(image))
            .unwrap_or_default();
        spelled(&self.message(&key, &opened, stand_in, name)?).map_err(unsigned)?;

        let registry = if to_registry {
            Some(self.reach.client(context, self.named()?)?.client)
        } else {
            None
        };
        let access = self.access();
        context.block_on(async {
            let public = self.public_half(&opened, &key).await?;
            let image = if to_oracle {
                Some(self.in_oracle(&opened).await?)
            } else {
                None
            };
            let subject = match &registry {
                Some(client) => Some(subject(self.named()?, client, &access).await?),
                None => None,
            };
            let (digest, name) = self.what(image.as_ref(), subject.as_ref())?;
            let message = self.message(&key, &opened, digest, name)?;
            let mut record = sign(&opened, &key, &message, &public).await?;
            let mut uploaded = None;
            if let Some(image) = &image {
                let kept = self.create(&opened, image, record).await?;
                uploaded = Some(serde_json::from_slice::<Value>(&kept.record.to_json())?);
                record = kept.record;
            }
            let stored = match (&registry, &subject) {
                (Some(client), Some(subject)) => {
                    let stored = self.store(client, subject, &record, &access).await;
                    Some(stored.map_err(|error| match &uploaded {
                        Some(_) => CliError {
                            message: format!(
                                "{}, and Oracle's API has it as `{}`",
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

    fn vault_key(&self) -> Result<VaultKey, CliError> {
        let read = |text: &Option<String>, of: fn(&str) -> Result<Ocid, String>| {
            of(text.as_deref().unwrap_or_default()).map_err(|error| {
                CliError::new("no key in OCI Vault is named", Exit::Usage)
                    .because(error)
                    .hint("--kms-key-id and --kms-key-version-id take the OCIDs of a key and of a version of it")
            })
        };
        Ok(VaultKey {
            id: read(&self.kms_key_id, key_id)?,
            version: read(&self.kms_key_version_id, key_version_id)?,
        })
    }

    /// How people name the image.
    fn label(&self) -> String {
        match (&self.image, &self.image_id) {
            (Some(image), _) => image.to_string(),
            (None, id) => id.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// The image as Oracle's API has it.
    async fn in_oracle(&self, opened: &Opened) -> Result<ContainerImage, CliError> {
        let Some(id) = &self.image_id else {
            return look_up(opened, self.named()?).await;
        };
        let found = opened
            .client
            .get_image(&opened.artifacts()?, id, opened.deadline)
            .await
            .map_err(|error| image_unknown(id, error))?;
        if found.id == *id && found.lifecycle_state == LifecycleState::Available {
            Ok(found)
        } else {
            let message =
                format!("asked for `{id}`, Oracle's API answered with another, or one that is deleted");
            Err(CliError::new(message, Exit::CouldNotTell))
        }
    }

    /// As Oracle's client makes it of the same input.
    fn message(
        &self,
        key: &VaultKey,
        opened: &Opened,
        image_digest: Digest,
        repository_name: String,
    ) -> Result<OracleMessage, CliError> {
        Ok(OracleMessage {
            description: self.description.clone(),
            image_digest,
            kms_key_id: key.id.to_string(),
            kms_key_version_id: key.version.to_string(),
            metadata: self.metadata.clone(),
            region: opened.region()?.to_string(),
            repository_name,
            signing_algorithm: self.signing_algorithm,
        })
    }

    /// What the signature will be checked under. An AES or EC key, or one that may not be used, ends it here.
    async fn public_half(&self, opened: &Opened, key: &VaultKey) -> Result<PublicKey, CliError> {
        let management = opened.kms_management(&key.id)?;
        let version = opened
            .client
            .get_key_version(&management, &key.id, &key.version, opened.deadline)
            .await
            .map_err(|error| refused(format!("the key version `{}` can't be read", key.version), error))?;
        if version.lifecycle_state != KeyVersionState::Enabled {
            let message = format!(
                "the key version `{}` is {}",
                key.version,
                version.lifecycle_state.as_str()
            );
            return Err(CliError::new(message, Exit::Usage).hint("sign with a version that is enabled"));
        }
        public_half(&version)
    }

    /// The digest and the name that are signed.
    fn what(
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
                Err(CliError::new(message, Exit::CouldNotTell)
                    .hint("name the image by the digest that you mean"))
            }
            (Some(image), _) => Ok((image.digest, image.repository_name.clone())),
            (None, Some(subject)) => Ok((*subject.digest(), self.name(self.named()?))),
            // Every place that a record goes to has read the image.
            (None, None) => Err(CliError::new("no image was read", Exit::CouldNotTell)),
        }
    }

    async fn create(
        &self,
        opened: &Opened,
        image: &ContainerImage,
        record: Record,
    ) -> Result<ImageSignature, CliError> {
        let failed = || CliError::new("the record was not uploaded", Exit::CouldNotTell);
        let compartment = self.compartment_id.as_ref().unwrap_or(&image.compartment_id);
        let (message, signature) = (record.message.clone(), record.signature.clone());
        let signature_to_be = CreateSignature::new(compartment, &image.id, record);
        let signature_to_be = signature_to_be.map_err(|error| failed().because(error))?;
        let kept = opened
            .client
            .create_signature(&opened.artifacts()?, &signature_to_be, opened.deadline)
            .await
            .map_err(not_uploaded)?;
        if (&kept.record.message, &kept.record.signature) == (&message, &signature) {
            Ok(kept)
        } else {
            Err(CliError::new(
                format!(
                    "the service keeps another record than it was given, as `{}`",
                    kept.id
                ),
                Exit::CouldNotTell,
            )
            .hint("delete it: `pullgate signature delete --from oracle --id OCID`"))
        }
    }
}

/// The error for an image that is not to be had from Oracle's API. Only the API's own 404 says that it has no such image.
fn image_unknown(image: impl std::fmt::Display, error: ApiError) -> CliError {
    match &error {
        ApiError::Call(CallError::NotFound { .. }) => {
            refused(format!("Oracle's API has no image `{image}`"), error)
        }
        ApiError::Call(_) | ApiError::Identity { .. } => {
            refused(format!("could not ask Oracle's API about `{image}`"), error)
        }
    }
}

/// A service that answered with a refusal has not taken the record. Where its answer was lost, nobody here knows.
fn not_uploaded(error: ApiError) -> CliError {
    match &error {
        ApiError::Call(
            CallError::DeadlineExceeded { .. }
            | CallError::Malformed { .. }
            | CallError::Protocol { .. }
            | CallError::TooLarge { .. }
            | CallError::Unreachable { .. },
        ) => refused("it is not known whether the record was uploaded", error)
            .hint("`pullgate signature list IMAGE --from oracle` shows it"),
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
        | ApiError::Identity { .. } => refused("the record was not uploaded", error),
    }
}

/// The vault's signature over the message, if it is one.
async fn sign(
    opened: &Opened,
    key: &VaultKey,
    message: &OracleMessage,
    public: &PublicKey,
) -> Result<Record, CliError> {
    let bytes = spelled(message).map_err(unsigned)?;
    let request = SignRequest::new(&key.id, &key.version, message.signing_algorithm, bytes.clone())
        .map_err(|error| CliError::new("the image was not signed", Exit::Usage).because(error))?;
    let answer = opened
        .client
        .sign(&opened.kms_crypto(&key.id)?, &request, opened.deadline)
        .await
        .map_err(|error| refused("the image was not signed", error))?;
    signed_elsewhere(message, &bytes, &answer.signature, public, Timestamp::now()).map_err(|error| {
        CliError::new("nothing was uploaded", Exit::CouldNotTell)
            .because(error)
            .hint("ask again; if it stays so, do not trust the endpoint")
    })
}

/// The image that Oracle's API has for a reference. Its word is compared with what was asked for.
pub(in crate::tool::cli) async fn look_up(
    opened: &Opened,
    image: &Reference,
) -> Result<ContainerImage, CliError> {
    let asked = LookUpImage::from_reference(image);
    let found = opened
        .client
        .look_up_image(&opened.artifacts()?, &asked, opened.deadline)
        .await
        .map_err(|error| image_unknown(image, error))?;
    let name = namespaced(image);
    let is_asked = image.digest.is_none_or(|digest| digest == found.digest)
        && name == found.repository_name
        && found.lifecycle_state == LifecycleState::Available;
    if is_asked {
        Ok(found)
    } else {
        let message = format!(
            "asked for `{image}`, Oracle's API answered with {}@{}",
            crate::base::printable::excerpt(&found.repository_name),
            found.digest
        );
        Err(CliError::new(message, Exit::CouldNotTell).hint("push the image again, or name it by its digest"))
    }
}

/// The repository as Oracle's API names it: the tenancy's namespace, the first part of the path, is cut off.
pub(in crate::tool::cli) fn namespaced(image: &Reference) -> &str {
    let path = image.repository.path();
    path.split_once('/').map_or(path, |(_namespace, name)| name)
}
