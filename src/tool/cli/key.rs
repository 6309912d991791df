//! `pullgate key`: inspection and import of public keys.

mod file;
mod import;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
pub(super) use import::public_half;
use serde_json::json;

use super::Context;
use super::output::{CliError, Exit};
use crate::base::files;
use crate::base::limits::KEY_BYTES;
use crate::signature::check_key_kind;
use crate::trust::PublicKey;

/// Verbs of `pullgate key`.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Import public keys from OCI Vault, as PEM files with `[[key]]` tables that name them
    Import(Box<import::KeyImportArgs>),
    /// Show the kind, size and fingerprint of a public key
    Show(KeyShowArgs),
}

/// Arguments of `pullgate key show`.
#[derive(Args, Debug)]
pub(super) struct KeyShowArgs {
    /// PEM file of the public key, or of a certificate for it
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl KeyCommand {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        match self {
            Self::Import(verb) => verb.run(context, out),
            Self::Show(verb) => verb.run(context, out),
        }
    }
}

impl KeyShowArgs {
    fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let key = read_public_key(&self.file)?;
        let fingerprint = key.fingerprint().to_string();
        if context.json {
            let answer = json!({
                "file": self.file.display().to_string(),
                "kind": key.kind().to_string(),
                "bits": key.bits(),
                "fingerprint": fingerprint,
            });
            serde_json::to_writer_pretty(&mut *out, &answer)?;
            writeln!(out)?;
        } else {
            writeln!(out, "file         {}", self.file.display())?;
            writeln!(out, "kind         {}", key.kind())?;
            writeln!(out, "bits         {}", key.bits())?;
            writeln!(out, "fingerprint  {fingerprint}")?;
        }
        Ok(Exit::Yes)
    }
}

/// Reads a public key from a file.
pub(super) fn read_public_key(path: &Path) -> Result<PublicKey, CliError> {
    let unusable = || CliError::new(format!("could not use the key `{}`", path.display()), Exit::Usage);
    let pem = files::read_argument(path, KEY_BYTES).map_err(|error| unusable().because(error))?;
    let key = PublicKey::from_pem(&pem).map_err(|error| unusable().because(error))?;
    check_key_kind(&key).map_err(|error| unusable().because(error))?;
    Ok(key)
}
