//! `pullgate signature`: the records of an image, wherever they are kept.

mod carried;
mod delete;
mod import;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::Signature as Shown;
use super::output::{CliError, Exit, columns, counted};
use super::reach::Reach;
use super::sign::PATIENCE;
use super::{Context, reference};
use crate::carry::{self, Carried};
use crate::find::{Found, Trouble};
use crate::oci::{Digest, Reference};
use crate::policy::{Requirement, Ruling, Signed, signed_name};
use crate::registry::{Access, Client};
use crate::signature::FormatName;
use crate::trust::{PublicKey, SaltLength, SigningAlgorithm, TrustedKey};
use crate::verify::{Judged, Wanted, verify};
use carried::Shape;

/// Verbs of `pullgate signature`.
#[derive(Debug, Subcommand)]
pub(super) enum Signature {
    /// Take records away
    Delete(delete::Delete),
    /// Write the records of an image to a directory
    Export(Export),
    /// Bring records from files to the local directory or to a registry
    Import(import::Import),
    /// List the records of an image
    List(Image),
    /// Show the records of an image whole
    Show(Show),
    /// Verify the records of an image under the keys of its rule, or under keys that you name
    Verify(Verify),
}

/// An image, and how its registry is reached.
#[derive(Args, Debug)]
pub(super) struct Image {
    /// The image, as a runtime names it
    #[arg(value_name = "IMAGE", value_parser = reference)]
    image: Reference,

    #[command(flatten)]
    reach: Reach,
}

/// Arguments of `pullgate signature export`.
#[derive(Args, Debug)]
pub(super) struct Export {
    #[command(flatten)]
    of: Image,

    /// Where to; records go to `<DIR>/sha256/<hex>/<name>.json`
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Arguments of `pullgate signature show`.
#[derive(Args, Debug)]
pub(super) struct Show {
    #[command(flatten)]
    of: Image,

    /// This record alone, as `signature list` names it
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

/// Arguments of `pullgate signature verify`.
#[derive(Args, Debug)]
pub(super) struct Verify {
    #[command(flatten)]
    of: Image,

    /// Verify under this public key, a PEM file, instead of the keys of the image's rule; more than one may be given
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,

    /// The repository that must have been signed, where it is not the one of IMAGE
    #[arg(long, value_name = "NAME", requires = "key")]
    repository_name: Option<String>,
}

impl Signature {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        match self {
            Self::Delete(verb) => verb.run(context, out),
            Self::Export(verb) => verb.run(context, out),
            Self::Import(verb) => verb.run(context, out),
            Self::List(verb) => verb.list(context, out),
            Self::Show(verb) => verb.run(context, out),
            Self::Verify(verb) => verb.run(context, out),
        }
    }
}

/// What was found of an image.
struct Collected {
    client: Client,
    access: Access,
    digest: Digest,
    carried: Vec<Carried>,
    troubles: Vec<Trouble>,
}

impl Image {
    fn collect(&self, context: &Context) -> Result<Collected, CliError> {
        let (client, signatures) = self.reach.client(context, &self.image)?;
        let access = Access {
            authorization: None,
            deadline: Instant::now() + PATIENCE,
        };
        context.block_on(async {
            let digest = carry::digest_of(&client, &self.image, &access)
                .await
                .map_err(|error| {
                    CliError::new(
                        format!("the image `{}` can't be read", self.image),
                        Exit::CouldNotTell,
                    )
                    .because(error)
                })?;
            let repository = &self.image.repository;
            let (carried, troubles) =
                carry::collect(&client, &signatures, repository, &digest, &access).await;
            Ok(Collected {
                client,
                access,
                digest,
                carried,
                troubles,
            })
        })?
    }

    fn list(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let found = self.collect(context)?;
        if context.json {
            let all: Vec<Value> = found
                .carried
                .iter()
                .map(|carried| Shape::of(carried).json(carried))
                .collect();
            write_json(
                out,
                &json!({ "image": self.image.to_string(), "digest": found.digest, "signatures": all }),
            )?;
        } else {
            let rows: Vec<Vec<String>> = found
                .carried
                .iter()
                .map(|carried| Shape::of(carried).row(carried))
                .collect();
            columns(
                out,
                context.paint,
                &["ID", "SOURCE", "KEY", "ALGORITHM", "CREATED"],
                &rows,
            )?;
        }
        found.tell(context)
    }
}

impl Collected {
    /// What could not be looked at makes an answer "could not tell": a list that is short is not passed off as whole.
    fn tell(&self, context: &Context) -> Result<Exit, CliError> {
        for trouble in &self.troubles {
            let what = crate::causes::chain(&trouble.error);
            context.say(&format!(
                "{} could not be looked at: {what}",
                trouble.source.as_str()
            ));
        }
        Ok(if !self.troubles.is_empty() {
            Exit::CouldNotTell
        } else if self.carried.is_empty() {
            Exit::No
        } else {
            Exit::Yes
        })
    }

    fn named(&self, ids: &[String]) -> Result<Vec<&Carried>, CliError> {
        ids.iter()
            .map(|id| {
                self.carried
                    .iter()
                    .find(|carried| Shape::of(carried).id == *id)
                    .ok_or_else(|| {
                        CliError::new(format!("the image has no record `{id}`"), Exit::No)
                            .hint("`pullgate signature list` names them")
                    })
            })
            .collect()
    }
}

impl Show {
    fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let found = self.of.collect(context)?;
        let shown = match &self.id {
            Some(id) => found.named(std::slice::from_ref(id))?,
            None => found.carried.iter().collect(),
        };
        let all: Vec<Value> = shown
            .into_iter()
            .map(|carried| Shape::of(carried).whole(carried))
            .collect();
        // A record is JSON and people read it as such; there is no second form of it.
        write_json(out, &Value::Array(all))?;
        found.tell(context)
    }
}

impl Verify {
    fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let image = &self.of.image;
        let (signed, name) = if self.key.is_empty() {
            self.by_rule(context)?
        } else {
            self.by_keys()?
        };
        let found = self.of.collect(context)?;
        let wanted = Wanted {
            digest: &found.digest,
            repository: &name,
            signed: &signed,
        };
        let judged: Vec<Judged> = found
            .carried
            .iter()
            .flat_map(|carried| {
                let one = Found {
                    candidates: vec![carried.candidate.clone()],
                    troubles: Vec::new(),
                };
                verify(carried.source, &one, wanted, Timestamp::now())
            })
            .collect();
        let signers: std::collections::BTreeSet<_> = judged
            .iter()
            .filter_map(|judged| judged.outcome.as_ref().ok())
            .map(|verified| verified.claim().signed_by.public_key.fingerprint())
            .collect();
        let valid = signers.len() >= signed.threshold.get();
        let shown: Vec<Shown> = judged.iter().map(Shown::of).collect();
        if context.json {
            let answer = json!({
                "image": image.to_string(),
                "digest": found.digest,
                "valid": valid,
                "signatures": serde_json::to_value(&shown)?,
            });
            write_json(out, &answer)?;
        } else {
            Shown::print_all(&shown, context, out)?;
            let wanted = signed.threshold;
            let word = if valid {
                context.paint.green("valid")
            } else {
                context.paint.red("not valid")
            };
            writeln!(
                out,
                "{word}: signed by {} of the {wanted} wanted",
                counted(signers.len(), "key")
            )?;
        }
        let told = found.tell(context)?;
        Ok(match (valid, told) {
            (true, _) => Exit::Yes,
            (false, Exit::CouldNotTell) => Exit::CouldNotTell,
            (false, Exit::Yes | Exit::No | Exit::Usage) => Exit::No,
        })
    }

    /// The keys of the rule that speaks for the image.
    fn by_rule(&self, context: &Context) -> Result<(Signed, String), CliError> {
        let repository = &self.of.image.repository;
        let config = context.config()?;
        if let Ruling::Rule(rule) = config.policy.ruling(repository)
            && let Requirement::Signed(signed) = &rule.requirement
        {
            return Ok((signed.clone(), rule.signed_name(repository)));
        }
        Err(
            CliError::new(format!("no rule wants `{repository}` signed"), Exit::Usage)
                .hint("name keys with --key FILE, or add a [[rule]] with `require = \"signed\"`"),
        )
    }

    fn by_keys(&self) -> Result<(Signed, String), CliError> {
        let keys = self
            .key
            .iter()
            .map(|path| trusted(path).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let signed = Signed {
            keys,
            threshold: std::num::NonZeroUsize::MIN,
            formats: FormatName::ALL.into(),
            signed_repository: None,
        };
        let name = self.repository_name.clone();
        Ok((
            signed,
            name.unwrap_or_else(|| signed_name(&self.of.image.repository).to_owned()),
        ))
    }
}

impl Export {
    fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let found = self.of.collect(context)?;
        let mut stored = Vec::new();
        for carried in &found.carried {
            let path = carry::store(&self.directory, &found.digest, &carried.candidate.unverified).map_err(
                |error| CliError::new("the record was not stored", Exit::CouldNotTell).because(error),
            )?;
            stored.push(path.display().to_string());
        }
        if context.json {
            write_json(out, &json!({ "digest": found.digest, "stored": stored }))?;
        } else {
            for path in &stored {
                writeln!(out, "stored  {path}")?;
            }
        }
        found.tell(context)
    }
}

fn trusted(path: &Path) -> Result<TrustedKey, CliError> {
    let unusable = || CliError::new(format!("the key `{}` can't be used", path.display()), Exit::Usage);
    let pem =
        carry::read_file(path, crate::limits::RECORD_BYTES).map_err(|error| unusable().because(error))?;
    Ok(TrustedKey {
        name: path.display().to_string(),
        public_key: PublicKey::from_pem(&pem).map_err(|error| unusable().because(error))?,
        algorithms: SigningAlgorithm::ALL.into(),
        salt: SaltLength::Any,
        kms_key_id: None,
        kms_key_version_id: None,
        not_before: None,
        not_after: None,
        revoked: false,
    })
}

fn write_json(out: &mut dyn Write, value: &Value) -> Result<(), CliError> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}
