//! Where the records of an image are looked for: as the configuration says of its registry, or in Oracle's API.

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
use crate::tool::cli::oracle_args::{Cloud, Opened, compartment_id, refused, signature_id};
use crate::tool::cli::output::{CliError, Exit};
use crate::tool::cli::registry_args::{Reach, Reached};
use crate::tool::cli::sign::{PATIENCE, look_up, namespaced};
use crate::tool::cli::{Context, reference};
use crate::tool::signature_store::{self as carry};

/// An image, and where its records are looked for.
#[derive(Args, Debug)]
pub(in crate::tool::cli) struct Of {
    /// The image, as a runtime names it
    #[arg(value_name = "IMAGE", value_parser = reference)]
    pub(super) image: Option<Reference>,

    #[command(flatten)]
    pub(super) reach: Reach,

    #[command(flatten)]
    pub(super) api: Api,
}

/// What is asked of Oracle's Artifacts API.
#[derive(Args, Debug)]
#[command(next_help_heading = "Records in Oracle's API")]
pub(in crate::tool::cli) struct Api {
    /// Look there, and not in the registry and on this host
    #[arg(long, value_name = "PLACE", value_enum)]
    from: Option<From>,

    /// The compartment of the repository, which means `--from oracle`; that of IMAGE when left out
    #[arg(long, value_name = "OCID", value_parser = compartment_id)]
    compartment_id: Option<Ocid>,

    /// Look in the compartments below as well: of a tenancy alone
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value_t = false,
          hide_default_value = true, action = clap::ArgAction::Set, requires = "compartment_id")]
    compartment_id_in_subtree: bool,

    /// The repository, without host and namespace, in place of IMAGE; of an image that is looked for elsewhere, the name
    /// that must have been signed
    #[arg(long, value_name = "NAME", alias = "repository-name")]
    pub(super) repo_name: Option<String>,

    /// The digest, in place of IMAGE
    #[arg(long, value_name = "DIGEST")]
    image_digest: Option<Digest>,

    #[command(flatten)]
    pub(super) cloud: Cloud,
}

/// A place that is not looked in unless it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    /// Oracle's Artifacts API.
    Oracle,
}

/// A record that is named without its image: then it is one of Oracle's API.
pub(super) fn record_id(text: &str) -> Result<Ocid, CliError> {
    signature_id(text).map_err(|error| {
        CliError::new("no record is named", Exit::Usage)
            .because(error)
            .hint("give IMAGE as well, unless ID is the OCID of a record in Oracle's API")
    })
}

/// A record of Oracle's API, as those of other places are.
pub(super) fn in_oracle(signature: &ImageSignature) -> Candidate {
    Candidate {
        format: &oracle::Oracle,
        source: find::oracle_api::NAME,
        locator: Locator::Service(signature.id.to_string()),
        unverified_media_type: None,
        unverified: signature.record.to_json().into(),
    }
}

/// What was found of an image.
pub(super) struct Collected {
    pub(super) digest: Digest,
    pub(super) held: Vec<Candidate>,
    /// Why what a place gave as a record is none.
    pub(super) unreadable: Vec<String>,
    /// What could not be looked at.
    pub(super) troubles: Vec<String>,
    pub(super) asked: QueriedSource,
}

/// Who was asked, to be asked again.
pub(super) enum QueriedSource {
    Oracle(Box<Opened>),
    Registry(Box<RegistryClient>, Access),
}

impl Of {
    /// Whether Oracle's API is meant.
    pub(super) const fn in_oracle(&self) -> bool {
        self.api.from.is_some() || self.api.compartment_id.is_some()
    }

    /// The image, where the verb has no other way to name one.
    pub(super) fn named(&self) -> Result<&Reference, CliError> {
        self.image.as_ref().ok_or_else(|| {
            CliError::new("no image is named", Exit::Usage)
                .hint("give IMAGE; in Oracle's API also --compartment-id, --repo-name and --image-digest")
        })
    }

    /// How people name what is meant.
    pub(super) fn label(&self, digest: &Digest) -> String {
        match (&self.image, &self.api.repo_name) {
            (Some(image), _) => image.to_string(),
            (None, name) => format!("{}@{digest}", name.as_deref().unwrap_or_default()),
        }
    }

    pub(super) fn collect(&self, context: &Context) -> Result<Collected, CliError> {
        if self.api.repo_name.is_some() && !self.in_oracle() {
            return Err(
                CliError::new("--repo-name is a question to Oracle's API", Exit::Usage)
                    .hint("name the image, or give --compartment-id as well"),
            );
        }
        self.collect_as_named(context)
    }

    /// For whom `--repo-name` is what must have been signed.
    pub(super) fn collect_as_named(&self, context: &Context) -> Result<Collected, CliError> {
        if self.in_oracle() {
            let opened = self.api.cloud.open()?;
            return context.block_on(self.collect_from_oracle(opened))?;
        }
        if self.api.image_digest.is_some() {
            return Err(
                CliError::new("--image-digest is a question to Oracle's API", Exit::Usage)
                    .hint("name the image as `IMAGE@DIGEST`, or give --compartment-id"),
            );
        }
        let image = self.named()?;
        let Reached {
            client,
            oracle,
            signatures,
        } = self.reach.client(context, image)?;
        let access = Access {
            presented: None,
            deadline: Instant::now() + PATIENCE,
        };
        context.block_on(async {
            let digest = carry::digest_of(&client, image, &access).await.map_err(|error| {
                CliError::new(format!("the image `{image}` can't be read"), Exit::CouldNotTell).because(error)
            })?;
            let context = SourceContext {
                client,
                oracle,
                directory: signatures,
            };
            let (carried, troubles) = carry::collect(&context, &image.repository, &digest, &access).await;
            let troubles = troubles.iter().map(|trouble| {
                format!(
                    "{} could not be looked at: {}",
                    trouble.source.as_str(),
                    chain(&trouble.error)
                )
            });
            Ok(Collected {
                digest,
                held: carried,
                unreadable: Vec::new(),
                troubles: troubles.collect(),
                asked: QueriedSource::Registry(Box::new(context.client), access),
            })
        })?
    }

    async fn collect_from_oracle(&self, opened: Opened) -> Result<Collected, CliError> {
        let known = match (&self.api.image_digest, &self.image) {
            (Some(digest), Some(image)) if image.digest.is_some_and(|named| named != *digest) => {
                return Err(CliError::new(
                    "--image-digest is another than that of IMAGE",
                    Exit::Usage,
                ));
            }
            (Some(digest), _) => Some(*digest),
            (None, image) => image.as_ref().and_then(|image| image.digest),
        };
        let name = match (&self.api.repo_name, &self.image) {
            (Some(name), Some(image)) if name != namespaced(image) => {
                let message = format!(
                    "--repo-name is another than `{}`, the one of IMAGE",
                    namespaced(image)
                );
                return Err(CliError::new(message, Exit::Usage).hint("leave one of the two out"));
            }
            (Some(name), _) => Some(name.as_str()),
            (None, image) => image.as_ref().map(namespaced),
        };
        let (compartment, digest, name) = match (&self.api.compartment_id, known, name) {
            (Some(compartment), Some(digest), Some(name)) => (compartment.clone(), digest, name.to_owned()),
            (compartment, _, _) => {
                let image = look_up(&opened, self.named()?).await?;
                let compartment = compartment.clone().unwrap_or(image.compartment_id);
                (compartment, known.unwrap_or(image.digest), image.repository_name)
            }
        };
        let filter = SignatureFilter {
            compartment_id: &compartment,
            in_subtree: self.api.compartment_id_in_subtree,
            repository_name: &name,
            image_digest: &digest,
            limit: PAGE,
            page: None,
        };
        let artifacts = opened.artifacts()?;
        let listed = opened
            .client
            .list_signatures(&artifacts, &filter, CANDIDATES, opened.deadline)
            .await;
        let (mut held, mut unreadable) = (Vec::new(), Vec::new());
        for signature in &listed.signatures {
            match signature {
                Ok(signature) => held.push(in_oracle(signature)),
                Err(error) => unreadable.push(chain(error)),
            }
        }
        // Nothing at all was given: the error speaks for itself, with its hint.
        if let (Some(error), true) = (&listed.incomplete, listed.signatures.is_empty()) {
            let told = refused("Oracle's API did not list the signatures", error.clone());
            // A compartment that may not be seen is not an image without signatures.
            let exit = if told.exit == Exit::No {
                Exit::CouldNotTell
            } else {
                told.exit
            };
            return Err(CliError { exit, ..told });
        }
        let troubles = listed.incomplete.iter().map(|error| {
            format!(
                "{} could not be looked at to the end: {}",
                find::oracle_api::NAME.as_str(),
                chain(error)
            )
        });
        Ok(Collected {
            digest,
            held,
            unreadable,
            troubles: troubles.collect(),
            asked: QueriedSource::Oracle(Box::new(opened)),
        })
    }
}

impl Collected {
    /// What could not be looked at makes an answer "could not tell": a list that is short is not passed off as whole.
    pub(super) fn tell(&self, context: &Context) -> Result<Exit, CliError> {
        for what in &self.unreadable {
            context.say(&format!("what stands there as a record is none: {what}"));
        }
        for trouble in &self.troubles {
            context.say(trouble);
        }
        Ok(if !self.troubles.is_empty() {
            Exit::CouldNotTell
        } else if self.held.is_empty() {
            Exit::No
        } else {
            Exit::Yes
        })
    }

    pub(super) fn named(&self, ids: &[String]) -> Result<Vec<&Candidate>, CliError> {
        ids.iter()
            .map(|id| {
                self.held
                    .iter()
                    .find(|held| held.locator.to_string() == *id)
                    .ok_or_else(|| {
                        CliError::new(format!("the image has no record `{id}`"), Exit::No)
                            .hint("`pullgate signature list` names them")
                    })
            })
            .collect()
    }
}

/// Records on one page: what Oracle's services are known to give.
const PAGE: usize = 100;
