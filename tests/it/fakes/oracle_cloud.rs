//! Tests the stand-in for Oracle's cloud against recordings of the real client and data that Oracle published: a test
//! against a stand-in is only as good as the stand-in.

mod artifacts;
mod client;
mod faults;
mod federation;
mod kms;
mod requests;

use std::sync::OnceLock;

use client::Client;

use crate::oracle_cloud::{self, Cloud, Image, Kind, Options, World, world};

/// A cloud with one user, one RSA key and one image.
struct Site {
    cloud: Cloud,
    client: Client,
    key: String,
    version: String,
    image: Image,
    tenancy: String,
    compartment: String,
}

impl Site {
    async fn start() -> Self {
        Self::start_with(|_options| ()).await
    }

    async fn start_with(alter: impl FnOnce(&mut Options)) -> Self {
        let mut world = World::new();
        let (private, public) = USER.get_or_init(world::pair);
        let key_id = world.user(public);
        let (key, version) = world.key(Kind::Rsa);
        let (tenancy, compartment) = (world.tenancy.id.clone(), world.compartment().to_owned());
        let mut options = Options::new(world);
        alter(&mut options);
        let cloud = Cloud::start(options).await.unwrap();
        Self {
            client: Client::new(cloud.address, &key_id, private),
            image: cloud.push(REPOSITORY, DIGEST, Some("v1")),
            cloud,
            key,
            version,
            tenancy,
            compartment,
        }
    }

    /// Returns the path of the list of the compartment's signatures, with more parameters.
    fn list(&self, more: &str) -> String {
        format!("{SIGNATURES}?compartmentId={}{more}", self.compartment)
    }

    /// Signs the image and uploads the record. Returns its OCID.
    fn sign(&self) -> String {
        self.cloud.sign_and_upload(&self.image, &self.version, ALGORITHM)
    }
}

/// The API key of every site's user, generated once.
static USER: OnceLock<(String, String)> = OnceLock::new();

const SIGNATURES: &str = "/20160918/container/imageSignatures";
const IMAGES: &str = "/20160918/container/images";
const REPOSITORY: &str = "project01/acme-web-app";
const DIGEST: &str = "sha256:289676fac4febfea1de58adff7e2c1a5a8ec97945559927c94d9153ffef1d603";
const ALGORITHM: &str = "SHA_256_RSA_PKCS_PSS";
