//! `pullgate signature verify`.

use std::collections::BTreeSet;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::write_json;
use crate::net::oracle::Ocid;
use crate::oci::Repository;
use crate::process::config;
use crate::pull::find::oracle_api;
use crate::pull::policy::{EffectiveRule, Requirement, Signed};
use crate::pull::verify::{CheckedSignature, Wanted, verify};
use crate::signature::oracle::{self, KMS_KEY_ID};
use crate::signature::{Locator, RequiredRepository, SignatureError};
use crate::tool::cli::check::CheckedRecord as Shown;
use crate::tool::cli::oracle_args::key_id;
use crate::tool::cli::output::{CliError, Exit, counted};
use crate::tool::cli::sign::namespaced;
use crate::tool::cli::signature::source_args::{Collected, Of};
use crate::tool::cli::{Context, key};
use crate::trust::{Authority, Salt, SignerId, SigningAlgorithm, TrustedKey};

/// Arguments of `pullgate signature verify`. Those that Oracle's `get-verify` has, have its names; here no service is
/// asked whether a signature is good.
#[derive(Args, Debug)]
pub(in crate::tool::cli) struct Verify {
    #[command(flatten)]
    of: Of,

    /// Verify under this public key, a PEM file, instead of the keys of the image's rule; more than one may be given
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,

    /// Verify under the versions of this key in OCI Vault, whose public halves the configuration or --keys has; more than
    /// one may be given, and a signature of any of them will do
    #[arg(long, value_name = "OCID", value_parser = key_id, conflicts_with = "key")]
    trusted_keys: Vec<Ocid>,

    /// Take public halves from the `[[key]]` tables of this directory (or file), as `key import` writes them, instead of
    /// the configuration
    #[arg(long, value_name = "DIR", conflicts_with = "key")]
    keys: Option<PathBuf>,
}

impl Verify {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let (signed, required_repository) = if !self.key.is_empty() {
            (any_of(self.by_keys()?), RequiredRepository::Named(self.name()?))
        } else if self.keys.is_some() || !self.trusted_keys.is_empty() {
            let name = RequiredRepository::Named(self.name()?);
            (any_of(self.by_vault_keys(context)?), name)
        } else {
            self.by_rule(context)?
        };
        let found = self.of.collect_as_named(context)?;
        let pulled = self.pulled(&required_repository)?;
        let wanted = Wanted {
            digest: found.digest,
            pulled,
            required_repository,
            signed,
        };
        let judged = judge(&found, &wanted);
        let signed = &wanted.signed;
        let signers: BTreeSet<_> = judged
            .iter()
            .filter_map(|judged| judged.outcome.as_ref().ok())
            .map(|verified| verified.claim().signer.id())
            .collect();
        let valid = signers.len() >= signed.threshold.get();
        let shown: Vec<Shown> = judged.iter().map(Shown::of).collect();
        if context.json {
            let answer = json!({
                "image": self.of.label(&found.digest),
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

    /// The name that must have been signed.
    fn name(&self) -> Result<String, CliError> {
        Ok(match (&self.of.api.repo_name, &self.of.image) {
            (Some(name), _) => name.clone(),
            (None, Some(image)) if self.of.in_oracle() => namespaced(image).to_owned(),
            (None, _) => oracle::repository_name(&self.of.named()?.repository).to_owned(),
        })
    }

    /// The repository of the image. A record of Oracle's API that is named without an image names no registry either, and
    /// its format compares the path alone.
    fn pulled(&self, required: &RequiredRepository) -> Result<Repository, CliError> {
        match (&self.of.image, required) {
            (Some(image), _) => Ok(image.repository.clone()),
            (None, RequiredRepository::Named(name)) => {
                Repository::new("registry.invalid", name).map_err(|error| {
                    CliError::new(format!("`{name}` is not the name of a repository"), Exit::Usage)
                        .because(error)
                })
            }
            (None, RequiredRepository::AsPulled) => Ok(self.of.named()?.repository.clone()),
        }
    }

    /// The keys of the rule that speaks for the image.
    fn by_rule(&self, context: &Context) -> Result<(Signed, RequiredRepository), CliError> {
        let hint =
            "name keys with --key FILE or --trusted-keys OCID, or add a [[rule]] with `require = \"signed\"`";
        let Some(image) = &self.of.image else {
            return Err(
                CliError::new("no key is named, and no IMAGE whose rule names some", Exit::Usage).hint(hint),
            );
        };
        if self.of.api.repo_name.is_some() && !self.of.in_oracle() {
            return Err(
                CliError::new("the rule says which name must have been signed", Exit::Usage)
                    .hint("leave --repo-name out, or name the keys as well"),
            );
        }
        let repository = &image.repository;
        let config = context.config()?;
        if let EffectiveRule::Rule(rule) = config.policy.effective_rule(repository, None)
            && let Requirement::Signed(signed) = &rule.requirement
        {
            return Ok((signed.clone(), rule.required_repository(repository)));
        }
        Err(CliError::new(format!("no rule wants `{repository}` signed"), Exit::Usage).hint(hint))
    }

    fn by_keys(&self) -> Result<Vec<TrustedKey>, CliError> {
        self.key.iter().map(|path| trusted(path)).collect()
    }

    /// The public halves that are here of the keys in a vault.
    fn by_vault_keys(&self, context: &Context) -> Result<Vec<TrustedKey>, CliError> {
        let mut keys = match &self.keys {
            Some(place) => keys_of(place)?,
            None => context.config()?.policy.keys().cloned().collect(),
        };
        // Two files know nothing of each other: a key that one of them takes out is out under every name.
        let revoked: BTreeSet<SignerId> = keys
            .iter()
            .filter(|key| key.validity.revoked)
            .map(TrustedKey::signer_id)
            .collect();
        for key in &mut keys {
            if revoked.contains(&key.signer_id()) {
                key.validity.revoked = true;
            }
        }
        for id in &self.trusted_keys {
            if !keys.iter().any(|key| is_of(key, id)) {
                return Err(
                    CliError::new(format!("no public half of `{id}` is here"), Exit::Usage).hint(
                        "`pullgate key import --all-versions` brings them; --keys names the directory that has them",
                    ),
                );
            }
        }
        if !self.trusted_keys.is_empty() {
            keys.retain(|key| self.trusted_keys.iter().any(|id| is_of(key, id)));
        }
        if keys.is_empty() {
            return Err(CliError::new("there is no key to verify under", Exit::Usage)
                .hint("`pullgate key import` brings those of OCI Vault"));
        }
        Ok(keys)
    }
}

fn is_of(key: &TrustedKey, id: &Ocid) -> bool {
    key.ids.get(KMS_KEY_ID).map(String::as_str) == Some(id.as_str())
}

/// A signature of one of these will do.
fn any_of(keys: Vec<TrustedKey>) -> Signed {
    Signed {
        authorities: keys
            .into_iter()
            .map(|key| Arc::new(Authority::from(key)))
            .collect(),
        threshold: NonZeroUsize::MIN,
        formats: BTreeSet::from([oracle::NAME]),
        signed_repository: None,
    }
}

/// Verifies each record. A damaged record says nothing about the others.
fn judge(found: &Collected, wanted: &Wanted) -> Vec<CheckedSignature> {
    let now = Timestamp::now();
    let mut judged: Vec<_> = found.held.iter().map(|held| verify(held, wanted, now)).collect();
    for (number, what) in found.unreadable.iter().enumerate() {
        judged.push(CheckedSignature {
            source: oracle_api::NAME,
            locator: Locator::Service(format!("(unreadable {})", number + 1)),
            format: oracle::NAME,
            outcome: Err(SignatureError::Malformed(what.clone()).into()),
        });
    }
    judged
}

/// The keys of a file, or of each `*.toml` of a directory.
fn keys_of(place: &Path) -> Result<Vec<TrustedKey>, CliError> {
    let unreadable = |error: std::io::Error| {
        CliError::new(format!("`{}` can't be read", place.display()), Exit::Usage).because(error)
    };
    if !std::fs::metadata(place).map_err(unreadable)?.is_dir() {
        return loaded(place);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(place).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let mut keys = Vec::new();
    for file in files {
        keys.extend(loaded(&file)?);
    }
    Ok(keys)
}

/// The keys of a file of `[[key]]` tables.
fn loaded(path: &Path) -> Result<Vec<TrustedKey>, CliError> {
    let authorities = config::load_keys(path)?.into_iter();
    let keys = authorities.map(|authority| {
        let Authority::Key(key) = Arc::unwrap_or_clone(authority);
        key
    });
    Ok(keys.collect())
}

fn trusted(path: &Path) -> Result<TrustedKey, CliError> {
    let name = path.display().to_string();
    let schemes = SigningAlgorithm::every_scheme(Salt::Any);
    Ok(TrustedKey::new(name, key::read(path)?, schemes))
}
