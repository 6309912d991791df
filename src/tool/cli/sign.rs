//! `pullgate sign`: signs an image with a private key file or with a key in OCI Vault.

mod vault;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
pub(super) use vault::{look_up_image, name_without_namespace};

use super::output::{CliError, Exit};
use super::{Context, reference};
use crate::base::files;
use crate::base::limits;
use crate::net::oracle::Ocid;
use crate::net::registry::{Access, RegistryClient};
use crate::oci::{Digest, Reference};
use crate::pull::resolve::{Subject, resolve};
use crate::signature::oracle::{OracleMessage, Record, repository_name};
use crate::tool::cli::oracle_args::{OracleArgs, compartment_id, image_id};
use crate::tool::cli::registry_args::RegistryArgs;
use crate::tool::sign::{PrivateKey, SignError, artifact, sign};
use crate::tool::signature_store;
use crate::trust::SigningAlgorithm;

/// Time limit for all requests to a registry: enough to read a manifest and to push a few small blobs.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// Arguments of `pullgate sign`. Options that Oracle's client has too (`oci artifacts container image-signature
/// sign-upload`) have its names.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("signing-key").required(true).multiple(true).args(["key", "kms_key_id"]),
    after_help = "Examples:\n  \
                  pullgate sign --key release.pem registry.example/acme/app:v1\n  \
                  pullgate sign --kms-key-id OCID --kms-key-version-id OCID phx.ocir.io/namespace/app:v1"
)]
pub(super) struct Sign {
    /// Image, as a container runtime names it
    #[arg(value_name = "IMAGE", value_parser = reference, required_unless_present = "image_id")]
    image: Option<Reference>,

    /// Image in Oracle's API, instead of IMAGE
    #[arg(long, value_name = "OCID", value_parser = image_id, conflicts_with_all = ["image", "key", "output"])]
    image_id: Option<Ocid>,

    /// Sign with the RSA private key in this PEM file, instead of a key in OCI Vault
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Signing algorithm
    #[arg(long, value_name = "NAME", default_value = "SHA_256_RSA_PKCS_PSS", ignore_case = true,
          value_parser = algorithm)]
    signing_algorithm: SigningAlgorithm,

    /// Free text to sign with the image
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,

    /// JSON text to sign with the image
    #[arg(long, value_name = "JSON", default_value = "", hide_default_value = true)]
    metadata: String,

    /// Key in OCI Vault to sign with; with --key, the vault's key that has this private key
    #[arg(long, value_name = "OCID", requires = "kms_key_version_id")]
    kms_key_id: Option<String>,

    /// Version of that key
    #[arg(long, value_name = "OCID", requires = "kms_key_id")]
    kms_key_version_id: Option<String>,

    /// Repository name to sign, if it differs from that of IMAGE, for example for a mirror
    #[arg(long, value_name = "NAME")]
    repository_name: Option<String>,

    /// Destination of a record that OCI Vault signed. Default: Oracle's API
    #[arg(long, value_name = "PLACE", value_enum, conflicts_with_all = ["key", "output"])]
    upload: Option<RecordDestination>,

    /// Compartment in which Oracle's API stores the record. Default: that of the image
    #[arg(long, value_name = "OCID", value_parser = compartment_id, conflicts_with_all = ["key", "output"])]
    compartment_id: Option<Ocid>,

    /// Write the record below this directory (`sha256/<hex>/<name>.json`) instead of pushing it
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,

    #[command(flatten)]
    registry: RegistryArgs,

    #[command(flatten)]
    oracle: OracleArgs,
}

/// Destination of a record that OCI Vault signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RecordDestination {
    /// To Oracle's Artifacts API and to the image's registry.
    Both,
    /// To Oracle's Artifacts API, as Oracle's client does.
    Oracle,
    /// To the image's registry, as a referrer.
    Referrer,
}

fn algorithm(text: &str) -> Result<SigningAlgorithm, String> {
    text.to_ascii_uppercase()
        .parse()
        .map_err(|error: crate::trust::UnknownAlgorithm| error.to_string())
}

/// Output of `--json`. The field names are a contract with scripts.
#[derive(Serialize)]
struct SignReport {
    image: String,
    digest: String,
    /// Fingerprint of the key.
    key: String,
    id: Option<String>,
    /// Reference of the referrer, or path of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<String>,
    /// Record as Oracle's API stores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    uploaded: Option<Value>,
}

impl SignReport {
    fn print(&self, context: &Context, out: &mut dyn Write) -> Result<(), CliError> {
        if context.json {
            serde_json::to_writer_pretty(&mut *out, self)?;
            writeln!(out)?;
            return Ok(());
        }
        writeln!(out, "signed  {} ({})", self.image, self.digest)?;
        writeln!(out, "key     {}", self.key)?;
        if self.uploaded.is_some() {
            writeln!(out, "id      {}", self.id.as_deref().unwrap_or("-"))?;
        }
        if let Some(stored) = &self.stored {
            writeln!(out, "stored  {stored}")?;
        }
        Ok(())
    }
}

impl Sign {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let signed = match &self.key {
            Some(key) => self.sign_with_key(&read_key(key)?, context)?,
            None => self.sign_in_vault(context)?,
        };
        signed.print(context, out)?;
        Ok(Exit::Yes)
    }

    fn sign_with_key(&self, key: &PrivateKey, context: &Context) -> Result<SignReport, CliError> {
        let image = self.require_image()?;
        let client = self.registry.client(context, image)?.client;
        let access = self.access();
        context.block_on(async {
            let subject = resolve_image(image, &client, &access).await?;
            let record = self.record(key, *subject.digest(), self.repository_name(image))?;
            Ok(SignReport {
                image: image.to_string(),
                digest: subject.digest().to_string(),
                key: key.fingerprint().to_string(),
                stored: Some(self.store(&client, &subject, &record, &access).await?),
                id: record.id,
                uploaded: None,
            })
        })?
    }

    fn access(&self) -> Access {
        Access {
            presented: None,
            deadline: Instant::now() + TIMEOUT,
        }
    }

    /// Returns the image name. Only a lookup in Oracle's API works without one.
    fn require_image(&self) -> Result<&Reference, CliError> {
        self.image.as_ref().ok_or_else(|| {
            CliError::new("no image is given", Exit::Usage).hint("give IMAGE instead of --image-id")
        })
    }

    /// Writes the record to the directory of `--output`, or attaches it to the image in its registry.
    async fn store(
        &self,
        client: &RegistryClient,
        subject: &Subject,
        record: &Record,
        access: &Access,
    ) -> Result<String, CliError> {
        let failed = || CliError::new("could not store the record", Exit::CouldNotTell);
        if let Some(folder) = &self.output {
            let path = signature_store::store(folder, subject.digest(), &record.to_json());
            return Ok(path
                .map_err(|error| failed().because(error))?
                .display()
                .to_string());
        }
        let media_type = subject.document.media_type();
        let referrer = artifact(record, &subject.manifest, media_type, Timestamp::now());
        signature_store::attach(client, &subject.repository, subject.digest(), &referrer, access)
            .await
            .map_err(|error| {
                failed()
                    .because(error)
                    .hint("log in to the registry, or write the record to a directory with --output DIR")
            })?;
        Ok(format!("{}@{}", subject.repository, referrer.manifest.digest()))
    }

    fn record(
        &self,
        key: &PrivateKey,
        image_digest: Digest,
        repository_name: String,
    ) -> Result<Record, CliError> {
        let fingerprint = || key.fingerprint().to_string();
        let message = OracleMessage {
            description: self.description.clone(),
            image_digest,
            kms_key_id: self.kms_key_id.clone().unwrap_or_else(fingerprint),
            kms_key_version_id: self.kms_key_version_id.clone().unwrap_or_else(fingerprint),
            metadata: self.metadata.clone(),
            region: self.oracle.region.clone().unwrap_or_else(|| "local".to_owned()),
            repository_name,
            signing_algorithm: self.signing_algorithm,
        };
        sign(&message, key, Timestamp::now()).map_err(sign_error)
    }

    /// Returns the repository name to sign.
    fn repository_name(&self, image: &Reference) -> String {
        let name = self.repository_name.clone();
        name.unwrap_or_else(|| repository_name(&image.repository).to_owned())
    }
}

/// Resolves the image in its registry.
async fn resolve_image(
    image: &Reference,
    client: &RegistryClient,
    access: &Access,
) -> Result<Subject, CliError> {
    resolve(client, image, access).await.map_err(|error| {
        CliError::new(format!("could not read the image `{image}`"), Exit::CouldNotTell)
            .because(error)
            .hint("push the image first, and log in with `docker login` or give --authfile")
    })
}

/// Describes a signing error as a usage error, because only the user can change the input.
fn sign_error(error: SignError) -> CliError {
    CliError::new("could not sign the image", Exit::Usage).because(error)
}

fn read_key(path: &std::path::Path) -> Result<PrivateKey, CliError> {
    let unusable = || CliError::new(format!("could not use the key `{}`", path.display()), Exit::Usage);
    let bytes =
        files::read_argument(path, limits::RECORD_BYTES).map_err(|error| unusable().because(error))?;
    let pem = std::str::from_utf8(&bytes)
        .map_err(|_quotes_the_file| unusable().because("the file is not UTF-8 text"))?;
    PrivateKey::from_pem(pem).map_err(|error| unusable().because(error))
}
