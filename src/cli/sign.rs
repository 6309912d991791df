//! `pullgate sign`: a record for an image, with a key of this machine.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::output::{CliError, Exit};
use super::reach::Reach;
use super::{Context, reference};
use crate::carry;
use crate::limits;
use crate::oci::Reference;
use crate::policy::signed_name;
use crate::registry::Access;
use crate::resolve::resolve;
use crate::sign::{PrivateKey, artifact, sign};
use crate::signature::oracle::{Message, Record};
use crate::trust::SigningAlgorithm;

/// Reading an image and pushing a few small things takes no longer, or the registry does not answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Arguments of `pullgate sign`. The names are those of Oracle's client (`oci artifacts container image-signature
/// sign-upload`), where it has them.
#[derive(Debug, Args)]
pub(super) struct Sign {
    /// The image, as a runtime names it
    #[arg(value_name = "IMAGE", value_parser = reference)]
    image: Reference,

    /// The RSA private key, a PEM file
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

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

    /// The Vault key that this key is imported as; else the record names the key's fingerprint
    #[arg(long, value_name = "OCID", requires = "kms_key_version_id")]
    kms_key_id: Option<String>,

    /// The Vault key version that this key is imported as
    #[arg(long, value_name = "OCID", requires = "kms_key_id")]
    kms_key_version_id: Option<String>,

    /// The region that is signed with the image
    #[arg(long, value_name = "NAME", default_value = "local")]
    region: String,

    /// The repository that is signed, where it is not the one of IMAGE: for a mirror
    #[arg(long, value_name = "NAME")]
    repository_name: Option<String>,

    /// Write the record below this directory (`sha256/<hex>/<name>.json`), and push nothing
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,

    #[command(flatten)]
    reach: Reach,
}

fn algorithm(text: &str) -> Result<SigningAlgorithm, String> {
    text.to_ascii_uppercase()
        .parse()
        .map_err(|error: crate::trust::UnknownAlgorithm| error.to_string())
}

/// `--json`.
#[derive(Serialize)]
struct Signed {
    image: String,
    digest: String,
    key: String,
    id: Option<String>,
    stored: String,
}

impl Sign {
    pub(super) fn run(&self, context: &Context, out: &mut dyn Write) -> Result<Exit, CliError> {
        let key = read_key(&self.key)?;
        let (client, _) = self.reach.client(context, &self.image)?;
        let access = Access {
            authorization: None,
            deadline: Instant::now() + PATIENCE,
        };
        let signed = context.block_on(async {
            let subject = resolve(&client, &self.image, &access).await.map_err(|error| {
                CliError::new(format!("the image `{}` can't be read", self.image), Exit::CouldNotTell)
                    .because(error)
                    .hint("push the image first; log in with `docker login` or give --authfile")
            })?;
            let record = self.record(&key, *subject.digest())?;
            let stored = match &self.output {
                Some(folder) => carry::store(folder, subject.digest(), &record.to_json())
                    .map_err(|error| CliError::new("the record was not stored", Exit::CouldNotTell).because(error))?
                    .display()
                    .to_string(),
                None => {
                    let media_type = subject.document.media_type();
                    let referrer = artifact(&record, &subject.manifest, media_type, Timestamp::now());
                    carry::attach(&client, &subject.repository, subject.digest(), &referrer, &access).await.map_err(
                        |error| {
                            CliError::new("the record was not stored", Exit::CouldNotTell)
                                .because(error)
                                .hint("pushing needs a login; --output DIR writes the record to a directory instead")
                        },
                    )?;
                    format!("{}@{}", subject.repository, referrer.manifest.digest())
                }
            };
            Ok::<_, CliError>(Signed {
                image: self.image.to_string(),
                digest: subject.digest().to_string(),
                key: key.fingerprint().to_string(),
                id: record.id,
                stored,
            })
        })??;
        if context.json {
            serde_json::to_writer_pretty(&mut *out, &signed)?;
            writeln!(out)?;
        } else {
            writeln!(out, "signed  {} ({})", signed.image, signed.digest)?;
            writeln!(out, "key     {}", signed.key)?;
            writeln!(out, "stored  {}", signed.stored)?;
        }
        Ok(Exit::Yes)
    }

    fn record(&self, key: &PrivateKey, image_digest: crate::oci::Digest) -> Result<Record, CliError> {
        let name = self.repository_name.clone();
        let fingerprint = || key.fingerprint().to_string();
        let message = Message {
            description: self.description.clone(),
            image_digest,
            kms_key_id: self.kms_key_id.clone().unwrap_or_else(fingerprint),
            kms_key_version_id: self.kms_key_version_id.clone().unwrap_or_else(fingerprint),
            metadata: self.metadata.clone(),
            region: self.region.clone(),
            repository_name: name.unwrap_or_else(|| signed_name(&self.image.repository).to_owned()),
            signing_algorithm: self.signing_algorithm,
        };
        sign(&message, key, Timestamp::now())
            .map_err(|error| CliError::new("the image was not signed", Exit::Usage).because(error))
    }
}

fn read_key(path: &std::path::Path) -> Result<PrivateKey, CliError> {
    let unusable = || CliError::new(format!("the key `{}` can't be used", path.display()), Exit::Usage);
    let bytes = carry::read_file(path, limits::RECORD_BYTES).map_err(|error| unusable().because(error))?;
    let pem = String::from_utf8(bytes).map_err(|_quotes_the_file| unusable().because("not a text"))?;
    PrivateKey::from_pem(&pem).map_err(|error| unusable().because(error))
}
