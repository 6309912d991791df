//! `pullgate signature verify`: verifies records with the keys of the rule or with given keys.

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
use crate::tool::cli::check::CheckedRecord;
use crate::tool::cli::oracle_args::key_id;
use crate::tool::cli::output::{CliError, Exit, counted};
use crate::tool::cli::sign::name_without_namespace;
use crate::tool::cli::signature::source_args::{CollectedRecords, RecordSelection};
use crate::tool::cli::{Context, key};
use crate::trust::{Authority, Salt, SignerId, SigningAlgorithm, TrustedKey};

/// Arguments of `pullgate signature verify`. Options that Oracle's `get-verify` has too have its names. Unlike
/// `get-verify`, this verb verifies signatures itself and asks no service.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                  pullgate signature verify registry.example/acme/app:v1\n  \
                  pullgate signature verify registry.example/acme/app:v1 --key release.pem")]
pub(in crate::tool::cli) struct Verify {
    #[command(flatten)]
    selection: RecordSelection,

    /// Verify with the public key in this PEM file instead of the keys of the image's rule; may be repeated
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,

    /// Verify with the versions of this key in OCI Vault, whose public keys must be in the configuration or --keys; may be
    /// repeated, and one signature by any of them is enough
    #[arg(long, value_name = "OCID", value_parser = key_id, conflicts_with = "key")]
    trusted_keys: Vec<Ocid>,

    /// Read public keys from the `[[key]]` tables of this directory or file, as `key import` writes them, instead of the
    /// configuration
    #[arg(long, value_name = "DIR", conflicts_with = "key")]
    keys: Option<PathBuf>,
}

impl Verify {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let (signed, required_repository) = if !self.key.is_empty() {
            (
                any_key_of(self.by_keys()?),
                RequiredRepository::Named(self.expected_name()?),
            )
        } else if self.keys.is_some() || !self.trusted_keys.is_empty() {
            let name = RequiredRepository::Named(self.expected_name()?);
            (any_key_of(self.by_vault_keys(context)?), name)
        } else {
            self.by_rule(context)?
        };
        let found = self.selection.collect_as_named(context)?;
        let pulled = self.pulled_repository(&required_repository)?;
        let wanted = Wanted {
            digest: found.digest,
            pulled,
            required_repository,
            signed,
        };
        let checked = check_all(&found, &wanted);
        let signed = &wanted.signed;
        let signers: BTreeSet<_> = checked
            .iter()
            .filter_map(|checked| checked.outcome.as_ref().ok())
            .map(|verified| verified.claim().signer.id())
            .collect();
        let valid = signers.len() >= signed.threshold.get();
        let rows: Vec<CheckedRecord> = checked.iter().map(CheckedRecord::from_signature).collect();
        if context.json {
            let answer = json!({
                "image": self.selection.label(&found.digest),
                "digest": found.digest,
                "valid": valid,
                "signatures": serde_json::to_value(&rows)?,
            });
            write_json(out, &answer)?;
        } else {
            CheckedRecord::print_all(&rows, context, out)?;
            let wanted = signed.threshold;
            let word = if valid {
                context.paint.green("valid")
            } else {
                context.paint.red("not valid")
            };
            writeln!(
                out,
                "{word}: signed by {}, {wanted} required",
                counted(signers.len(), "key")
            )?;
        }
        let collected = found.report_failures(context)?;
        Ok(match (valid, collected) {
            (true, _) => Exit::Yes,
            (false, Exit::CouldNotTell) => Exit::CouldNotTell,
            (false, Exit::Yes | Exit::No | Exit::Usage) => Exit::No,
        })
    }

    /// Returns the repository name that must be signed.
    fn expected_name(&self) -> Result<String, CliError> {
        Ok(
            match (&self.selection.oracle_api.repo_name, &self.selection.image) {
                (Some(name), _) => name.clone(),
                (None, Some(image)) if self.selection.in_oracle() => name_without_namespace(image).to_owned(),
                (None, _) => oracle::repository_name(&self.selection.require_image()?.repository).to_owned(),
            },
        )
    }

    /// Returns the repository of the image. Arguments for Oracle's API may lack the registry; the format compares only the
    /// path then.
    fn pulled_repository(&self, required: &RequiredRepository) -> Result<Repository, CliError> {
        match (&self.selection.image, required) {
            (Some(image), _) => Ok(image.repository.clone()),
            (None, RequiredRepository::Named(name)) => {
                Repository::new("registry.invalid", name).map_err(|error| {
                    CliError::new(format!("`{name}` is not the name of a repository"), Exit::Usage)
                        .because(error)
                })
            }
            (None, RequiredRepository::AsPulled) => Ok(self.selection.require_image()?.repository.clone()),
        }
    }

    /// Returns the requirement of the image's rule.
    fn by_rule(&self, context: &Context) -> Result<(Signed, RequiredRepository), CliError> {
        let hint =
            "give keys with --key FILE or --trusted-keys OCID, or add a [[rule]] with `require = \"signed\"`";
        let Some(image) = &self.selection.image else {
            return Err(CliError::new("no key is given, and no IMAGE with a rule", Exit::Usage).hint(hint));
        };
        if self.selection.oracle_api.repo_name.is_some() && !self.selection.in_oracle() {
            return Err(
                CliError::new("--repo-name requires --key, --keys or --trusted-keys: the rule determines the repository name", Exit::Usage)
                    .hint("omit --repo-name, or give the keys as well"),
            );
        }
        let repository = &image.repository;
        let config = context.config()?;
        if let EffectiveRule::Rule(rule) = config.policy.effective_rule(repository, None)
            && let Requirement::Signed(signed) = &rule.requirement
        {
            return Ok((signed.clone(), rule.required_repository(repository)));
        }
        Err(CliError::new(
            format!("no rule requires signatures for `{repository}`"),
            Exit::Usage,
        )
        .hint(hint))
    }

    fn by_keys(&self) -> Result<Vec<TrustedKey>, CliError> {
        self.key.iter().map(|path| trusted_key(path)).collect()
    }

    /// Returns the known public keys of keys in a vault.
    fn by_vault_keys(&self, context: &Context) -> Result<Vec<TrustedKey>, CliError> {
        let mut keys = match &self.keys {
            Some(path) => load_trusted_keys(path)?,
            None => context.config()?.policy.keys().cloned().collect(),
        };
        // A key that one file revokes is revoked under every name in every file.
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
            if !keys.iter().any(|key| is_version_of(key, id)) {
                return Err(
                    CliError::new(format!("no public key of `{id}` is known"), Exit::Usage).hint(
                        "import them with `pullgate key import --all-versions`, or name their directory with --keys",
                    ),
                );
            }
        }
        if !self.trusted_keys.is_empty() {
            keys.retain(|key| self.trusted_keys.iter().any(|id| is_version_of(key, id)));
        }
        if keys.is_empty() {
            return Err(CliError::new("no key is available to verify with", Exit::Usage)
                .hint("import the keys of OCI Vault with `pullgate key import`"));
        }
        Ok(keys)
    }
}

fn is_version_of(key: &TrustedKey, id: &Ocid) -> bool {
    key.ids.get(KMS_KEY_ID).map(String::as_str) == Some(id.as_str())
}

/// Requires one signature by any of these keys.
fn any_key_of(keys: Vec<TrustedKey>) -> Signed {
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
fn check_all(found: &CollectedRecords, wanted: &Wanted) -> Vec<CheckedSignature> {
    let now = Timestamp::now();
    let mut checked: Vec<_> = found
        .records
        .iter()
        .map(|record| verify(record, wanted, now))
        .collect();
    for (number, what) in found.unreadable.iter().enumerate() {
        checked.push(CheckedSignature {
            source: oracle_api::NAME,
            locator: Locator::Service(format!("(unreadable {})", number + 1)),
            format: oracle::NAME,
            outcome: Err(SignatureError::Malformed(what.clone()).into()),
        });
    }
    checked
}

/// Loads the keys of a file, or of each `*.toml` file in a directory.
fn load_trusted_keys(path: &Path) -> Result<Vec<TrustedKey>, CliError> {
    let unreadable = |error: std::io::Error| {
        CliError::new(format!("could not read `{}`", path.display()), Exit::Usage).because(error)
    };
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return load_key_tables(path);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let mut keys = Vec::new();
    for file in files {
        keys.extend(load_key_tables(&file)?);
    }
    Ok(keys)
}

/// Loads the keys of a file of `[[key]]` tables.
fn load_key_tables(path: &Path) -> Result<Vec<TrustedKey>, CliError> {
    let authorities = config::load_keys(path)?.into_iter();
    let keys = authorities.map(|authority| {
        let Authority::Key(key) = Arc::unwrap_or_clone(authority);
        key
    });
    Ok(keys.collect())
}

fn trusted_key(path: &Path) -> Result<TrustedKey, CliError> {
    let name = path.display().to_string();
    let schemes = SigningAlgorithm::every_scheme(Salt::Any);
    Ok(TrustedKey::new(name, key::read_public_key(path)?, schemes))
}
