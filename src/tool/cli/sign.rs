//! `pullgate sign`: a record for an image, with a key of this machine or in OCI Vault.

mod vault;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
pub(super) use vault::{look_up, namespaced};

use super::output::{CliError, Exit};
use super::{Context, reference};
use crate::base::files;
use crate::base::limits;
use crate::net::oracle::Ocid;
use crate::net::registry::{Access, RegistryClient};
use crate::oci::{Digest, Reference};
use crate::pull::resolve::{Subject, resolve};
use crate::signature::oracle::{OracleMessage, Record, repository_name};
use crate::tool::cli::oracle_args::{Cloud, compartment_id, image_id};
use crate::tool::cli::registry_args::Reach;
use crate::tool::sign::{PrivateKey, SignError, artifact, sign};
use crate::tool::signature_store as carry;
use crate::trust::SigningAlgorithm;

/// Reading an image and pushing a few small things takes no longer, or the registry does not answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Arguments of `pullgate sign`. The names are those of Oracle's client (`oci artifacts container image-signature
/// sign-upload`), where it has them.
#[derive(Debug, Args)]
pub(super) struct Sign {
    /// The image, as a runtime names it
    #[arg(value_name = "IMAGE", value_parser = reference, required_unless_present = "image_id")]
    image: Option<Reference>,

    /// The image in Oracle's API, in place of IMAGE
    #[arg(long, value_name = "OCID", value_parser = image_id, conflicts_with_all = ["image", "key", "output"])]
    image_id: Option<Ocid>,

    /// Sign with this RSA private key, a PEM file; without it, with the key in OCI Vault that is named
    #[arg(long, value_name = "FILE", required_unless_present = "kms_key_id")]
    key: Option<PathBuf>,

    /// The algorithm
    #[arg(long, value_name = "NAME", default_value = "SHA_256_RSA_PKCS_PSS", ignore_case = true,
          value_parser = algorithm)]
    signing_algorithm: SigningAlgorithm,

    /// Free text that is signed with the image
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,

    /// JSON text that is signed with the image
    #[arg(long, value_name = "JSON", default_value = "", hide_default_value = true)]
    metadata: String,

    /// The key in OCI Vault that signs; with --key, the one that the private key is imported as
    #[arg(long, value_name = "OCID", requires = "kms_key_version_id")]
    kms_key_id: Option<String>,

    /// The version of that key
    #[arg(long, value_name = "OCID", requires = "kms_key_id")]
    kms_key_version_id: Option<String>,

    /// The repository that is signed, where it is not the one of IMAGE: for a mirror
    #[arg(long, value_name = "NAME")]
    repository_name: Option<String>,

    /// Where a record goes that OCI Vault signed; to Oracle's API when left out
    #[arg(long, value_name = "PLACE", value_enum, conflicts_with_all = ["key", "output"])]
    upload: Option<RecordDestination>,

    /// The compartment that Oracle's API keeps the record in; that of the image when left out
    #[arg(long, value_name = "OCID", value_parser = compartment_id, conflicts_with_all = ["key", "output"])]
    compartment_id: Option<Ocid>,

    /// Write the record below this directory (`sha256/<hex>/<name>.json`), and push nothing
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,

    #[command(flatten)]
    reach: Reach,

    #[command(flatten)]
    cloud: Cloud,
}

/// Where a record goes that OCI Vault signed.
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

/// What was done; `--json`.
#[derive(Serialize)]
struct SignReport {
    image: String,
    digest: String,
    /// The fingerprint.
    key: String,
    id: Option<String>,
    /// The referrer or the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<String>,
    /// The record as Oracle's API keeps it.
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
            Some(key) => self.with_key(&read_key(key)?, context)?,
            None => self.in_vault(context)?,
        };
        signed.print(context, out)?;
        Ok(Exit::Yes)
    }

    fn with_key(&self, key: &PrivateKey, context: &Context) -> Result<SignReport, CliError> {
        let image = self.named()?;
        let client = self.reach.client(context, image)?.client;
        let access = self.access();
        context.block_on(async {
            let subject = subject(image, &client, &access).await?;
            let record = self.record(key, *subject.digest(), self.name(image))?;
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
            deadline: Instant::now() + PATIENCE,
        }
    }

    /// The image's name, which only a question to Oracle's API can do without.
    fn named(&self) -> Result<&Reference, CliError> {
        self.image.as_ref().ok_or_else(|| {
            CliError::new("no image is named whose registry could be asked", Exit::Usage)
                .hint("give IMAGE in place of --image-id")
        })
    }

    /// Writes the record to the directory that is named, or attaches it to the image in its registry.
    async fn store(
        &self,
        client: &RegistryClient,
        subject: &Subject,
        record: &Record,
        access: &Access,
    ) -> Result<String, CliError> {
        let failed = || CliError::new("the record was not stored", Exit::CouldNotTell);
        if let Some(folder) = &self.output {
            let path = carry::store(folder, subject.digest(), &record.to_json());
            return Ok(path
                .map_err(|error| failed().because(error))?
                .display()
                .to_string());
        }
        let media_type = subject.document.media_type();
        let referrer = artifact(record, &subject.manifest, media_type, Timestamp::now());
        carry::attach(client, &subject.repository, subject.digest(), &referrer, access)
            .await
            .map_err(|error| {
                failed()
                    .because(error)
                    .hint("pushing needs a login; --output DIR writes the record to a directory instead")
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
            region: self.cloud.region.clone().unwrap_or_else(|| "local".to_owned()),
            repository_name,
            signing_algorithm: self.signing_algorithm,
        };
        sign(&message, key, Timestamp::now()).map_err(unsigned)
    }

    /// The repository that is signed.
    fn name(&self, image: &Reference) -> String {
        let name = self.repository_name.clone();
        name.unwrap_or_else(|| repository_name(&image.repository).to_owned())
    }
}

/// The image as its registry has it.
async fn subject(image: &Reference, client: &RegistryClient, access: &Access) -> Result<Subject, CliError> {
    resolve(client, image, access).await.map_err(|error| {
        CliError::new(format!("the image `{image}` can't be read"), Exit::CouldNotTell)
            .because(error)
            .hint("push the image first; log in with `docker login` or give --authfile")
    })
}

/// What cannot be signed is the caller's to change.
fn unsigned(error: SignError) -> CliError {
    CliError::new("the image was not signed", Exit::Usage).because(error)
}

fn read_key(path: &std::path::Path) -> Result<PrivateKey, CliError> {
    let unusable = || CliError::new(format!("the key `{}` can't be used", path.display()), Exit::Usage);
    let bytes =
        files::read_argument(path, limits::RECORD_BYTES).map_err(|error| unusable().because(error))?;
    let pem = std::str::from_utf8(&bytes).map_err(|_quotes_the_file| unusable().because("not a text"))?;
    PrivateKey::from_pem(pem).map_err(|error| unusable().because(error))
}
