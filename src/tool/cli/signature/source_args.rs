//! Selection of an image's records: from the sources that the configuration names for its registry, or from Oracle's API.

use std::time::Instant;

use clap::{Args, ValueEnum};

use crate::base::error_chain::chain;
use crate::base::limits::CANDIDATES;
use crate::net::oracle::wire::ImageSignature;
use crate::net::oracle::{Ocid, SignatureFilter};
use crate::net::registry::{Access, RegistryClient};
use crate::oci::{Digest, Reference};
use crate::pull::find::{self, SourceContext};
use crate::signature::{Candidate, Locator, oracle};
use crate::tool::cli::oracle_args::{OracleArgs, OracleSession, api_error, compartment_id, signature_id};
use crate::tool::cli::output::{CliError, Exit};
use crate::tool::cli::registry_args::{ImageSources, RegistryArgs};
use crate::tool::cli::sign::{TIMEOUT, look_up_image, name_without_namespace};
use crate::tool::cli::{Context, reference};
use crate::tool::signature_store;

/// Arguments that select an image and the source of its records.
#[derive(Args, Debug)]
pub(in crate::tool::cli) struct RecordSelection {
    /// Image, as a container runtime names it
    #[arg(value_name = "IMAGE", value_parser = reference)]
    pub(super) image: Option<Reference>,

    #[command(flatten)]
    pub(super) registry: RegistryArgs,

    #[command(flatten)]
    pub(super) oracle_api: OracleApiArgs,
}

/// Arguments that select records in Oracle's Artifacts API.
#[derive(Args, Debug)]
#[command(next_help_heading = "Records in Oracle's API")]
pub(in crate::tool::cli) struct OracleApiArgs {
    /// Read records only from Oracle's API, not from the registry and this host
    #[arg(long, value_name = "PLACE", value_enum)]
    from: Option<RemoteSource>,

    /// Compartment of the repository; implies `--from oracle`. Default: that of IMAGE
    #[arg(long, value_name = "OCID", value_parser = compartment_id)]
    compartment_id: Option<Ocid>,

    /// Include the compartments below; only for a tenancy
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value_t = false,
          hide_default_value = true, action = clap::ArgAction::Set, requires = "compartment_id")]
    compartment_id_in_subtree: bool,

    /// Repository without host and namespace, instead of IMAGE; for records outside Oracle's API, the repository name that
    /// must be signed
    #[arg(long, value_name = "NAME", alias = "repository-name")]
    pub(super) repo_name: Option<String>,

    /// Digest of the image, instead of IMAGE
    #[arg(long, value_name = "DIGEST")]
    image_digest: Option<Digest>,

    #[command(flatten)]
    pub(super) oracle: OracleArgs,
}

/// Source that is read only when it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RemoteSource {
    /// Oracle's Artifacts API.
    Oracle,
}

/// Parses the id of a record that is named without its image, which must be a record of Oracle's API.
pub(super) fn record_id(text: &str) -> Result<Ocid, CliError> {
    signature_id(text).map_err(|error| {
        CliError::new("no valid record is given", Exit::Usage)
            .because(error)
            .hint("give IMAGE, or the OCID of a record in Oracle's API")
    })
}

/// Converts a record of Oracle's API to the form of the other sources.
pub(super) fn in_oracle(signature: &ImageSignature) -> Candidate {
    Candidate {
        format: &oracle::Oracle,
        source: find::oracle_api::NAME,
        locator: Locator::Service(signature.id.to_string()),
        unverified_media_type: None,
        unverified: signature.record.to_json().into(),
    }
}

/// Records found for an image.
pub(super) struct CollectedRecords {
    pub(super) digest: Digest,
    pub(super) records: Vec<Candidate>,
    /// Errors of entries that could not be read as records.
    pub(super) unreadable: Vec<String>,
    /// Errors of sources that could not be read completely.
    pub(super) failures: Vec<String>,
    pub(super) source: QueriedSource,
}

/// Source that was read, kept for further requests.
pub(super) enum QueriedSource {
    Oracle(Box<OracleSession>),
    Registry(Box<RegistryClient>, Access),
}

impl RecordSelection {
    /// Returns whether the records come from Oracle's API.
    pub(super) const fn in_oracle(&self) -> bool {
        self.oracle_api.from.is_some() || self.oracle_api.compartment_id.is_some()
    }

    /// Returns the image name, or an error for a verb that requires one.
    pub(super) fn require_image(&self) -> Result<&Reference, CliError> {
        self.image.as_ref().ok_or_else(|| {
            CliError::new("no image is given", Exit::Usage)
                .hint("give IMAGE, or with Oracle's API --compartment-id, --repo-name and --image-digest")
        })
    }

    /// Returns the name of the image for people.
    pub(super) fn label(&self, digest: &Digest) -> String {
        match (&self.image, &self.oracle_api.repo_name) {
            (Some(image), _) => image.to_string(),
            (None, name) => format!("{}@{digest}", name.as_deref().unwrap_or_default()),
        }
    }

    pub(super) fn collect(&self, context: &Context) -> Result<CollectedRecords, CliError> {
        if self.oracle_api.repo_name.is_some() && !self.in_oracle() {
            return Err(
                CliError::new("--repo-name applies only to Oracle's API", Exit::Usage)
                    .hint("give IMAGE, or --compartment-id as well"),
            );
        }
        self.collect_as_named(context)
    }

    /// As [`Self::collect`], for a verb in which `--repo-name` is the repository name that must be signed.
    pub(super) fn collect_as_named(&self, context: &Context) -> Result<CollectedRecords, CliError> {
        if self.in_oracle() {
            let session = self.oracle_api.oracle.session()?;
            return context.block_on(self.collect_from_oracle(session))?;
        }
        if self.oracle_api.image_digest.is_some() {
            return Err(
                CliError::new("--image-digest applies only to Oracle's API", Exit::Usage)
                    .hint("give `IMAGE@DIGEST`, or --compartment-id"),
            );
        }
        let image = self.require_image()?;
        let ImageSources {
            client,
            oracle,
            signatures,
        } = self.registry.client(context, image)?;
        let access = Access {
            presented: None,
            deadline: Instant::now() + TIMEOUT,
        };
        context.block_on(async {
            let digest = signature_store::digest_of(&client, image, &access)
                .await
                .map_err(|error| {
                    CliError::new(format!("could not read the image `{image}`"), Exit::CouldNotTell)
                        .because(error)
                })?;
            let context = SourceContext {
                client,
                oracle,
                directory: signatures,
            };
            let (records, failures) =
                signature_store::collect(&context, &image.repository, &digest, &access).await;
            let failures = failures.iter().map(|failure| {
                format!(
                    "could not read {}: {}",
                    failure.source.as_str(),
                    chain(&failure.error)
                )
            });
            Ok(CollectedRecords {
                digest,
                records,
                unreadable: Vec::new(),
                failures: failures.collect(),
                source: QueriedSource::Registry(Box::new(context.client), access),
            })
        })?
    }

    async fn collect_from_oracle(&self, session: OracleSession) -> Result<CollectedRecords, CliError> {
        let known = match (&self.oracle_api.image_digest, &self.image) {
            (Some(digest), Some(image)) if image.digest.is_some_and(|named| named != *digest) => {
                return Err(CliError::new(
                    "--image-digest differs from the digest of IMAGE",
                    Exit::Usage,
                ));
            }
            (Some(digest), _) => Some(*digest),
            (None, image) => image.as_ref().and_then(|image| image.digest),
        };
        let name = match (&self.oracle_api.repo_name, &self.image) {
            (Some(name), Some(image)) if name != name_without_namespace(image) => {
                let message = format!(
                    "--repo-name differs from `{}`, the repository of IMAGE",
                    name_without_namespace(image)
                );
                return Err(CliError::new(message, Exit::Usage).hint("omit one of the two"));
            }
            (Some(name), _) => Some(name.as_str()),
            (None, image) => image.as_ref().map(name_without_namespace),
        };
        let (compartment, digest, name) = match (&self.oracle_api.compartment_id, known, name) {
            (Some(compartment), Some(digest), Some(name)) => (compartment.clone(), digest, name.to_owned()),
            (compartment, _, _) => {
                let image = look_up_image(&session, self.require_image()?).await?;
                let compartment = compartment.clone().unwrap_or(image.compartment_id);
                (compartment, known.unwrap_or(image.digest), image.repository_name)
            }
        };
        let filter = SignatureFilter {
            compartment_id: &compartment,
            in_subtree: self.oracle_api.compartment_id_in_subtree,
            repository_name: &name,
            image_digest: &digest,
            limit: PAGE,
            page: None,
        };
        let artifacts = session.artifacts()?;
        let listed = session
            .client
            .list_signatures(&artifacts, &filter, CANDIDATES, session.deadline)
            .await;
        let (mut records, mut unreadable) = (Vec::new(), Vec::new());
        for signature in &listed.signatures {
            match signature {
                Ok(signature) => records.push(in_oracle(signature)),
                Err(error) => unreadable.push(chain(error)),
            }
        }
        // The list failed on its first page: return its error with its hint.
        if let (Some(error), true) = (&listed.incomplete, listed.signatures.is_empty()) {
            let refused = api_error("could not list the signatures in Oracle's API", error.clone());
            // A 404 for the compartment does not mean that the image has no signatures.
            let exit = if refused.exit == Exit::No {
                Exit::CouldNotTell
            } else {
                refused.exit
            };
            return Err(CliError { exit, ..refused });
        }
        let failures = listed.incomplete.iter().map(|error| {
            format!(
                "could not read all of {}: {}",
                find::oracle_api::NAME.as_str(),
                chain(error)
            )
        });
        Ok(CollectedRecords {
            digest,
            records,
            unreadable,
            failures: failures.collect(),
            source: QueriedSource::Oracle(Box::new(session)),
        })
    }
}

impl CollectedRecords {
    /// Reports unreadable records and failed sources, and returns the exit code. After a failure it is "could not tell",
    /// because the list may be incomplete.
    pub(super) fn report_failures(&self, context: &Context) -> Result<Exit, CliError> {
        for what in &self.unreadable {
            context.say(&format!("skipped an invalid record: {what}"));
        }
        for failure in &self.failures {
            context.say(failure);
        }
        Ok(if !self.failures.is_empty() {
            Exit::CouldNotTell
        } else if self.records.is_empty() {
            Exit::No
        } else {
            Exit::Yes
        })
    }

    pub(super) fn select(&self, ids: &[String]) -> Result<Vec<&Candidate>, CliError> {
        ids.iter()
            .map(|id| {
                self.records
                    .iter()
                    .find(|record| record.locator.to_string() == *id)
                    .ok_or_else(|| {
                        CliError::new(format!("the image has no record `{id}`"), Exit::No)
                            .hint("list the records with `pullgate signature list`")
                    })
            })
            .collect()
    }
}

/// Records on one page: the number that Oracle's services are known to return.
const PAGE: usize = 100;
