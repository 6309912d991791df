//! `pullgate key import`: public keys from OCI Vault.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::file::{KeyChange, KeyFile};
use crate::net::oracle::Ocid;
use crate::net::oracle::wire::{KeyVersion, KeyVersionState, VaultKey};
use crate::signature::check_key_kind;
use crate::tool::cli::Context;
use crate::tool::cli::oracle_args::{OracleArgs, OracleSession, api_error, key_id, key_version_id};
use crate::tool::cli::output::{CliError, Exit, columns};
use crate::trust::PublicKey;

/// Arguments of `pullgate key import`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                  pullgate key import --kms-key-id OCID --name release --output /etc/pullgate/policy.d\n  \
                  pullgate key import --kms-key-id OCID --all-versions --name release --output /etc/pullgate/policy.d")]
pub(in crate::tool::cli) struct KeyImportArgs {
    /// Key in OCI Vault
    #[arg(long, value_name = "OCID", value_parser = key_id)]
    kms_key_id: Ocid,

    /// Import only this version, which needs only the right to read key versions; may be repeated. Default: the key's
    /// current version
    #[arg(long, value_name = "OCID", value_parser = key_version_id, conflicts_with = "all_versions")]
    kms_key_version_id: Vec<Ocid>,

    /// Import every version, and update versions that were imported before
    #[arg(long)]
    all_versions: bool,

    /// Directory to write to: `<DIR>/<NAME>.toml` and the PEM files
    #[arg(long, value_name = "DIR", default_value = ".")]
    output: PathBuf,

    /// Name of the key; a version is named `<NAME>-<end of its OCID>`. Default: `vault-<end of the key's OCID>`
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,

    #[command(flatten)]
    oracle: OracleArgs,
}

/// One line of the output.
struct ImportLine {
    version: String,
    state: String,
    /// `None` when the version was skipped.
    change: Option<KeyChange>,
    name: Option<String>,
    key: Option<PublicKey>,
}

impl KeyImportArgs {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let base = match &self.name {
            Some(name) => name.clone(),
            None => format!("vault-{}", ocid_suffix(&self.kms_key_id)),
        };
        let mut file = KeyFile::read(self.output.join(format!("{base}.toml")), self.kms_key_id.clone())?;
        let session = self.oracle.session()?;
        let versions = context.block_on(self.fetch(&session))??;

        let mut lines = Vec::new();
        for version in &versions {
            lines.push(import_version(&mut file, version, &base)?);
        }
        if self.all_versions {
            let listed: BTreeSet<&str> = versions.iter().map(|version| version.id.as_str()).collect();
            let gone: Vec<String> = file
                .versions()
                .filter(|version| !listed.contains(version))
                .map(str::to_owned)
                .collect();
            for version in gone {
                lines.push(ImportLine {
                    state: "gone".to_owned(),
                    change: Some(file.revoke(&version)),
                    name: file.name_of(&version).map(str::to_owned),
                    key: None,
                    version,
                });
            }
        }
        let path = file.path().to_owned();
        let written = file.write()?;
        if context.json {
            let keys: Vec<Value> = lines.iter().map(ImportLine::json).collect();
            let answer = json!({
                "kms_key_id": self.kms_key_id.as_str(),
                "file": path.display().to_string(),
                "written": written,
                "versions": keys,
            });
            serde_json::to_writer_pretty(&mut *out, &answer)?;
            writeln!(out)?;
        } else {
            let rows: Vec<Vec<String>> = lines.iter().map(ImportLine::row).collect();
            let heads = ["NAME", "STATE", "CHANGE", "BITS", "FINGERPRINT"];
            columns(out, context.paint, &heads, &rows)?;
            let word = if written { "written" } else { "unchanged" };
            writeln!(out, "\n{word}  {}", path.display())?;
            context.say("compare the fingerprints with the owner of the key before a rule names them");
        }
        for each in lines.iter().filter(|each| each.change.is_none()) {
            context.say(&format!("passed over: {} is {}", each.version, each.state));
        }
        Ok(if lines.iter().any(|each| each.key.is_some()) {
            Exit::Yes
        } else {
            Exit::No
        })
    }

    /// Fetches the selected versions; enabled ones come with their public keys.
    async fn fetch(&self, session: &OracleSession) -> Result<Vec<KeyVersion>, CliError> {
        let management = session.kms_management(&self.kms_key_id)?;
        let client = &session.client;
        let unreadable = |error| api_error(format!("could not read the key `{}`", self.kms_key_id), error);
        let mut version_ids = self.kms_key_version_id.clone();
        let mut versions = Vec::new();
        if version_ids.is_empty() {
            let key = client
                .get_key(&management, &self.kms_key_id, session.deadline)
                .await;
            let key = key.map_err(unreadable)?;
            check_algorithm(&key)?;
            if self.all_versions {
                let listed = client
                    .list_key_versions(&management, &self.kms_key_id, session.deadline)
                    .await
                    .map_err(unreadable)?;
                let (enabled, others) = listed
                    .into_iter()
                    .partition(|version| version.lifecycle_state == KeyVersionState::Enabled);
                versions = others;
                let enabled: Vec<KeyVersion> = enabled;
                version_ids = enabled.into_iter().map(|version| version.id).collect();
            } else {
                version_ids = vec![key.current_version];
            }
        }
        for id in version_ids {
            let version = client
                .get_key_version(&management, &self.kms_key_id, &id, session.deadline)
                .await
                .map_err(|error| api_error(format!("could not read the key version `{id}`"), error))?;
            versions.push(version);
        }
        Ok(versions)
    }
}

/// Checks that the key is an RSA key: Oracle signs images with RSA keys only (SDK,
/// `CreateContainerImageSignatureDetails.signingAlgorithm`).
fn check_algorithm(key: &VaultKey) -> Result<(), CliError> {
    let kind = crate::base::printable::excerpt(&key.algorithm);
    let hint = "create an asymmetric RSA key in the vault for signing images";
    match kind.as_str() {
        "RSA" => Ok(()),
        "AES" => Err(unusable(&key.id, "is a symmetric (AES) key, which cannot sign").hint(hint)),
        _ => Err(unusable(
            &key.id,
            &format!("is a key for {kind}; images are signed with RSA keys only"),
        )
        .hint(hint)),
    }
}

fn unusable(id: &Ocid, why: &str) -> CliError {
    CliError::new(format!("`{id}` {why}"), Exit::Usage)
}

/// Returns the public key of a version, if a gate can trust it.
pub(in crate::tool::cli) fn public_half(version: &KeyVersion) -> Result<PublicKey, CliError> {
    let unfit = || unusable(&version.id, "cannot be used for images");
    match version.public_key() {
        Ok(Some(key)) => {
            check_key_kind(&key).map_err(|error| unfit().because(error))?;
            Ok(key)
        }
        Ok(None) => Err(unusable(
            &version.id,
            "has no public key: it belongs to a symmetric (AES) key, which cannot sign",
        )),
        Err(error) => Err(unfit().because(error)),
    }
}

fn import_version(file: &mut KeyFile, version: &KeyVersion, base: &str) -> Result<ImportLine, CliError> {
    let id = version.id.as_str();
    let state = version.lifecycle_state.as_str().to_owned();
    let known = file.name_of(id).map(str::to_owned);
    if version.lifecycle_state != KeyVersionState::Enabled {
        return Ok(ImportLine {
            version: id.to_owned(),
            state,
            change: known.is_some().then(|| file.revoke(id)),
            name: known,
            key: None,
        });
    }
    let key = public_half(version)?;
    let name = known.unwrap_or_else(|| format!("{base}-{}", ocid_suffix(&version.id)));
    Ok(ImportLine {
        version: id.to_owned(),
        state,
        change: Some(file.add(&version.id, &name, &key)?),
        name: Some(name),
        key: Some(key),
    })
}

impl ImportLine {
    fn change(&self) -> &'static str {
        self.change.map_or("passed over", KeyChange::as_str)
    }

    fn row(&self) -> Vec<String> {
        let key = self.key.as_ref();
        let dash = || "-".to_owned();
        vec![
            self.name.clone().unwrap_or_else(dash),
            self.state.clone(),
            self.change().to_owned(),
            key.map_or_else(dash, |key| key.bits().to_string()),
            key.map_or_else(dash, |key| key.fingerprint().to_string()),
        ]
    }

    fn json(&self) -> Value {
        let key = self.key.as_ref();
        json!({
            "name": self.name,
            "kms_key_version_id": self.version,
            "state": self.state,
            "change": self.change(),
            "bits": key.map(PublicKey::bits),
            "fingerprint": key.map(|key| key.fingerprint().to_string()),
        })
    }
}

/// Shortens an OCID as Oracle does in names that it generates (`displayName` of signatures).
fn ocid_suffix(ocid: &Ocid) -> &str {
    let unique = ocid.unique();
    unique.get(unique.len().saturating_sub(10)..).unwrap_or(unique)
}

/// Parses a name that the configuration still accepts when the end of a version's OCID is appended.
fn name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=50).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with(['.', '-']) {
        Ok(text.to_owned())
    } else {
        Err(
            "a name has at most 50 letters, digits, `.`, `_` and `-`, and begins with a letter or digit"
                .to_owned(),
        )
    }
}
