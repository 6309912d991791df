//! Signed images, either as files below a folder that an origin serves or pushed to a registry.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use pullgate::net::registry::{Access, Credentials, RegistryClient, RegistryConfig};
use pullgate::oci::{Blob, Digest, MediaType, Repository};
use pullgate::signature::SourceName;
use pullgate::tool::sign::artifact;
use pullgate::tool::signature_store::{Referrer, attach};
use pullgate::trust::SigningAlgorithm;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::gate::HOST;
use super::http::Connection;
use super::signer::Signer;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Returns the digest in its text form, `sha256:<hex>`.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A blob's digest and size.
#[derive(Clone, Debug)]
pub struct Stored {
    pub digest: String,
    pub size: u64,
}

/// The parts of an image that a pull requests.
#[derive(Clone, Debug)]
pub struct Image {
    pub tag: String,
    pub digest: String,
    pub config: Stored,
    pub layers: Vec<Stored>,
}

/// A place to store images.
pub trait Store {
    fn blob(&mut self, repository: &str, bytes: &[u8]) -> Stored;
    fn manifest(&mut self, repository: &str, name: &str, media_type: &str, bytes: &[u8]);
    fn attach(&mut self, repository: &str, subject: &Digest, referrer: &Referrer);
}

/// Files below a folder, laid out for an origin that serves static files.
pub struct Tree<'a>(pub &'a Path);

impl Tree<'_> {
    fn put(&self, repository: &str, kind: &str, name: &str, bytes: &[u8]) {
        let folder = self.0.join("v2").join(repository).join(kind);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    }

    /// Stores a blob of zeros after a few bytes that make its digest unique. It takes no space on the disk, and the origin
    /// sends it from the page cache like any other blob.
    pub fn sparse(&self, repository: &str, number: u64, size: u64) -> Stored {
        let folder = self.0.join("v2").join(repository).join("blobs");
        std::fs::create_dir_all(&folder).unwrap();
        let unnamed = folder.join("unnamed");
        let mut file = File::create(&unnamed).unwrap();
        file.write_all(&number.to_be_bytes()).unwrap();
        file.set_len(size).unwrap();
        let mut hash = Sha256::new();
        std::io::copy(&mut File::open(&unnamed).unwrap(), &mut Hashing(&mut hash)).unwrap();
        let digest = format!("sha256:{}", hex::encode(hash.finalize()));
        std::fs::rename(unnamed, folder.join(&digest)).unwrap();
        Stored { digest, size }
    }
}

struct Hashing<'a>(&'a mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Store for Tree<'_> {
    fn blob(&mut self, repository: &str, bytes: &[u8]) -> Stored {
        let digest = digest_of(bytes);
        self.put(repository, "blobs", &digest, bytes);
        Stored {
            digest,
            size: bytes.len() as u64,
        }
    }

    fn manifest(&mut self, repository: &str, name: &str, _media_type: &str, bytes: &[u8]) {
        self.put(repository, "manifests", name, bytes);
        self.put(repository, "manifests", &digest_of(bytes), bytes);
    }

    /// Writes the files that [`attach`] leaves in a registry without the referrers API.
    fn attach(&mut self, repository: &str, subject: &Digest, referrer: &Referrer) {
        for blob in &referrer.blobs {
            self.blob(repository, blob.bytes());
        }
        let bytes = referrer.manifest.bytes();
        self.put(
            repository,
            "manifests",
            &referrer.manifest.digest().to_string(),
            bytes,
        );
        let listed = json!({
            "mediaType": MANIFEST,
            "digest": referrer.manifest.digest(),
            "size": bytes.len(),
            "artifactType": referrer.artifact_type,
            "data": BASE64_STANDARD.encode(bytes),
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [listed] }).to_string();
        self.put(
            repository,
            "manifests",
            &subject.to_string().replace(':', "-"),
            index.as_bytes(),
        );
    }
}

/// A registry that accepts pushes.
pub struct Pushed {
    connection: Connection,
    client: RegistryClient,
    runtime: tokio::runtime::Runtime,
}

impl Pushed {
    pub fn to(registry: SocketAddr) -> Self {
        let config = RegistryConfig {
            host: HOST.to_owned(),
            endpoints: vec![format!("http://{registry}").parse().unwrap()],
            ca: None,
            credentials: Credentials::Anonymous,
            signatures: SourceName::DEFAULT.to_vec(),
        };
        Self {
            connection: Connection::open(registry),
            client: RegistryClient::new(vec![config], Vec::new()).unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }
}

impl Store for Pushed {
    fn blob(&mut self, repository: &str, bytes: &[u8]) -> Stored {
        let digest = digest_of(bytes);
        let upload =
            self.connection
                .request_response("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"");
        assert_eq!(upload.status, 202, "{}", upload.head);
        let location = upload.header("location").unwrap();
        let path = location.split_once("/v2/").unwrap().1;
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("/v2/{path}{joint}digest={digest}");
        let stored = self.connection.request_response(
            "PUT",
            &path,
            &[("Content-Type", "application/octet-stream")],
            bytes,
        );
        assert_eq!(stored.status, 201, "{}", stored.head);
        Stored {
            digest,
            size: bytes.len() as u64,
        }
    }

    fn manifest(&mut self, repository: &str, name: &str, media_type: &str, bytes: &[u8]) {
        let path = format!("/v2/{repository}/manifests/{name}");
        let stored = self
            .connection
            .request_response("PUT", &path, &[("Content-Type", media_type)], bytes);
        assert_eq!(
            stored.status,
            201,
            "{}{}",
            stored.head,
            String::from_utf8_lossy(&stored.body)
        );
    }

    fn attach(&mut self, repository: &str, subject: &Digest, referrer: &Referrer) {
        let repository = Repository::new(HOST, repository).unwrap();
        let access = Access {
            presented: None,
            deadline: Instant::now() + Duration::from_secs(30),
        };
        let attached = attach(&self.client, &repository, subject, referrer, &access);
        self.runtime.block_on(attached).unwrap();
    }
}

/// Stores an image of these layers with its signature, as `pullgate sign` does.
pub fn put_signed(
    store: &mut dyn Store,
    repository: &str,
    tag: &str,
    layers: &[Stored],
    signer: &Signer,
) -> Image {
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": { "Cmd": [tag] },
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| &layer.digest).collect::<Vec<_>>() },
    });
    let config = store.blob(repository, config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": named(CONFIG, &config),
        "layers": layers.iter().map(|layer| named(LAYER, layer)).collect::<Vec<_>>(),
    });
    let manifest = Blob::from_bytes(manifest.to_string().into());
    let digest = manifest.digest().to_string();
    store.manifest(repository, tag, MANIFEST, manifest.bytes());
    let record = signer.record(&digest, repository, SigningAlgorithm::Sha256RsaPkcsPss);
    let referrer = artifact(&record, &manifest, MediaType::OciManifest, Timestamp::now());
    store.attach(repository, manifest.digest(), &referrer);
    Image {
        tag: tag.to_owned(),
        digest,
        config,
        layers: layers.to_vec(),
    }
}

fn named(media_type: &str, stored: &Stored) -> Value {
    json!({ "mediaType": media_type, "digest": stored.digest, "size": stored.size })
}
