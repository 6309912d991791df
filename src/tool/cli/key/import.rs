//! `pullgate key import`: public halves from OCI Vault.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::file::{Change, KeyFile};
use crate::net::oracle::Ocid;
use crate::net::oracle::wire::{KeyVersion, KeyVersionState, VaultKey};
use crate::signature::check_key_kind;
use crate::tool::cli::Context;
use crate::tool::cli::oracle_args::{Cloud, Opened, key_id, key_version_id, refused};
use crate::tool::cli::output::{CliError, Exit, columns};
use crate::trust::PublicKey;

/// Arguments of `pullgate key import`.
#[derive(Args, Debug)]
pub(in crate::tool::cli) struct KeyImportArgs {
    /// The key
    #[arg(long, value_name = "OCID", value_parser = key_id)]
    kms_key_id: Ocid,

    /// This version of it alone, which needs only the right to read key versions; more than one may be given. When left
    /// out: the key's current version
    #[arg(long, value_name = "OCID", value_parser = key_version_id, conflicts_with = "all_versions")]
    kms_key_version_id: Vec<Ocid>,

    /// Every version, and look after those that were imported before
    #[arg(long)]
    all_versions: bool,

    /// Where to: `<DIR>/<NAME>.toml` and the PEM files beside it
    #[arg(long, value_name = "DIR", default_value = ".")]
    output: PathBuf,

    /// What the key is called; a version is called `<NAME>-<the end of its OCID>`. When left out:
    /// `vault-<the end of the key's OCID>`
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,

    #[command(flatten)]
    cloud: Cloud,
}

/// One line of the answer.
struct ImportLine {
    version: String,
    state: String,
    /// None where it was passed over.
    change: Option<Change>,
    name: Option<String>,
    key: Option<PublicKey>,
}

impl KeyImportArgs {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let base = match &self.name {
            Some(name) => name.clone(),
            None => format!("vault-{}", ending(&self.kms_key_id)),
        };
        let mut file = KeyFile::read(self.output.join(format!("{base}.toml")), self.kms_key_id.clone())?;
        let opened = self.cloud.open()?;
        let versions = context.block_on(self.fetch(&opened))??;

        let mut told = Vec::new();
        for version in &versions {
            told.push(take(&mut file, version, &base)?);
        }
        if self.all_versions {
            let listed: BTreeSet<&str> = versions.iter().map(|version| version.id.as_str()).collect();
            let gone: Vec<String> = file
                .versions()
                .filter(|version| !listed.contains(version))
                .map(str::to_owned)
                .collect();
            for version in gone {
                told.push(ImportLine {
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
            let keys: Vec<Value> = told.iter().map(ImportLine::json).collect();
            let answer = json!({
                "kms_key_id": self.kms_key_id.as_str(),
                "file": path.display().to_string(),
                "written": written,
                "versions": keys,
            });
            serde_json::to_writer_pretty(&mut *out, &answer)?;
            writeln!(out)?;
        } else {
            let rows: Vec<Vec<String>> = told.iter().map(ImportLine::row).collect();
            let heads = ["NAME", "STATE", "CHANGE", "BITS", "FINGERPRINT"];
            columns(out, context.paint, &heads, &rows)?;
            let word = if written { "written" } else { "as it was" };
            writeln!(out, "\n{word}  {}", path.display())?;
            context.say("compare the fingerprints with whoever keeps the key before a rule names them");
        }
        for each in told.iter().filter(|each| each.change.is_none()) {
            context.say(&format!("passed over: {} is {}", each.version, each.state));
        }
        Ok(if told.iter().any(|each| each.key.is_some()) {
            Exit::Yes
        } else {
            Exit::No
        })
    }

    /// The versions that are meant, those in use with their public halves.
    async fn fetch(&self, opened: &Opened) -> Result<Vec<KeyVersion>, CliError> {
        let management = opened.kms_management(&self.kms_key_id)?;
        let client = &opened.client;
        let unread = |error| refused(format!("the key `{}` can't be read", self.kms_key_id), error);
        let mut wanted = self.kms_key_version_id.clone();
        let mut versions = Vec::new();
        if wanted.is_empty() {
            let key = client
                .get_key(&management, &self.kms_key_id, opened.deadline)
                .await;
            let key = key.map_err(unread)?;
            check_kind(&key)?;
            if self.all_versions {
                let listed = client
                    .list_key_versions(&management, &self.kms_key_id, opened.deadline)
                    .await
                    .map_err(unread)?;
                let (enabled, others) = listed
                    .into_iter()
                    .partition(|version| version.lifecycle_state == KeyVersionState::Enabled);
                versions = others;
                let enabled: Vec<KeyVersion> = enabled;
                wanted = enabled.into_iter().map(|version| version.id).collect();
            } else {
                wanted = vec![key.current_version];
            }
        }
        for id in wanted {
            let version = client
                .get_key_version(&management, &self.kms_key_id, &id, opened.deadline)
                .await
                .map_err(|error| refused(format!("the key version `{id}` can't be read"), error))?;
            versions.push(version);
        }
        Ok(versions)
    }
}

/// Images are signed with RSA keys alone (SDK, `CreateContainerImageSignatureDetails.signingAlgorithm`).
fn check_kind(key: &VaultKey) -> Result<(), CliError> {
    let kind = crate::base::printable::excerpt(&key.algorithm);
    let hint = "create an asymmetric RSA key in the vault for signing images";
    match kind.as_str() {
        "RSA" => Ok(()),
        "AES" => Err(unusable(
            &key.id,
            "is a symmetric (AES) key: it cannot sign, and has no public half",
        )
        .hint(hint)),
        _ => Err(unusable(
            &key.id,
            &format!("is a key for {kind}: images are signed with RSA keys alone"),
        )
        .hint(hint)),
    }
}

fn unusable(id: &Ocid, why: &str) -> CliError {
    CliError::new(format!("`{id}` {why}"), Exit::Usage)
}

/// The public half of a version, as a gate trusts it.
pub(in crate::tool::cli) fn public_half(version: &KeyVersion) -> Result<PublicKey, CliError> {
    let unfit = || unusable(&version.id, "can't be used for images");
    match version.public_key() {
        Ok(Some(key)) => {
            check_key_kind(&key).map_err(|error| unfit().because(error))?;
            Ok(key)
        }
        Ok(None) => Err(unusable(
            &version.id,
            "has no public half: it is of a symmetric (AES) key, which cannot sign",
        )),
        Err(error) => Err(unfit().because(error)),
    }
}

fn take(file: &mut KeyFile, version: &KeyVersion, base: &str) -> Result<ImportLine, CliError> {
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
    let name = known.unwrap_or_else(|| format!("{base}-{}", ending(&version.id)));
    Ok(ImportLine {
        version: id.to_owned(),
        state,
        change: Some(file.put(&version.id, &name, &key)?),
        name: Some(name),
        key: Some(key),
    })
}

impl ImportLine {
    fn change(&self) -> &'static str {
        self.change.map_or("passed over", Change::as_str)
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

/// As Oracle shortens an OCID in names that it makes itself (`displayName` of signatures).
fn ending(ocid: &Ocid) -> &str {
    let unique = ocid.unique();
    unique.get(unique.len().saturating_sub(10)..).unwrap_or(unique)
}

/// With the end of a version's OCID after it, a name that the configuration takes.
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
