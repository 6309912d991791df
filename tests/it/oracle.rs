//! The source `oracle-api`: pulls of images whose signatures are in a stand-in for Oracle's cloud.

mod client;
mod faults;
mod identity;
mod secrets;
mod source;

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use pullgate::base::reason::Reason;
use pullgate::fakes::registry::EmbeddedRegistry;
use pullgate::oci::{Descriptor, Reference};
use tempfile::TempDir;

use super::oracle_cloud::{Cloud, Image, Kind, Operation, Options, World, world};
use super::support::{Node, registry};

/// The host in the names of Oracle's images.
pub const HOST: &str = "phx.ocir.io";
const NAMESPACE: &str = "ansh81vru1zp";
const REPOSITORY: &str = "project01/acme";
pub const ALGORITHM: &str = "SHA_256_RSA_PKCS_PSS";

/// A cloud with one user and one key, and a registry with images.
pub struct Site {
    pub cloud: Cloud,
    pub registry: EmbeddedRegistry,
    pub key: String,
    pub version: String,
    pub compartment: String,
    pub tenancy: String,
    pub key_id: String,
}

/// Returns a user's API key, private half first. It is generated once for all tests.
pub fn user() -> &'static (String, String) {
    static USER: OnceLock<(String, String)> = OnceLock::new();
    USER.get_or_init(world::pair)
}

impl Site {
    pub async fn start() -> Self {
        let mut world = World::new();
        let key_id = world.user(&user().1);
        let (key, version) = world.key(Kind::Rsa);
        Self {
            compartment: world.compartment().to_owned(),
            tenancy: world.tenancy.id.clone(),
            cloud: Cloud::start(Options::new(world)).await.unwrap(),
            registry: registry().await,
            key,
            version,
            key_id,
        }
    }

    /// Pushes an image to the registry and to the cloud.
    pub fn push(&self, tag: &str) -> (Descriptor, Image) {
        let layer = format!("the layer of {tag}");
        let repository = format!("{NAMESPACE}/{REPOSITORY}");
        let stored = self.registry.put_image(&repository, tag, &[layer.as_bytes()]);
        let stored = stored.unwrap();
        let image = self.cloud.push(REPOSITORY, &stored.digest.to_string(), Some(tag));
        (stored, image)
    }

    /// Pushes an image and signs it as `sign-upload` does. Returns the record's OCID.
    pub fn push_signed(&self, tag: &str) -> String {
        let (_, image) = self.push(tag);
        self.cloud.sign_and_upload(&image, &self.version, ALGORITHM)
    }

    /// Returns the record as the cloud stores it.
    pub fn record(&self, id: &str) -> serde_json::Value {
        let signatures = self.cloud.world().signatures;
        signatures.into_iter().find(|record| record["id"] == id).unwrap()
    }

    /// Returns the lines of `[registry.oracle]` with an API key.
    pub fn oracle(&self) -> String {
        format!(
            "compartment_id = \"{}\"\nauth = {{ config_file = \"oci/config\" }}\n",
            self.compartment
        )
    }

    pub fn config(&self, oracle: &str) -> String {
        self.configured("signatures = [\"oracle-api\"]", oracle)
    }

    /// Returns a configuration with the lines `registry` in `[[registry]]` and `oracle` in `[registry.oracle]`.
    pub fn configured(&self, registry: &str, oracle: &str) -> String {
        let Self {
            key, version, cloud, ..
        } = self;
        let (endpoint, api) = (self.registry.url(), cloud.url());
        format!(
            "[daemon]\nstate = \"state\"\n[door.registry]\nlisten = \"127.0.0.1:0\"\n\
             [limits]\npull = \"30s\"\n[cache]\npositive = \"1s\"\nnegative = \"30s\"\n\
             [policy]\ndefault = \"reject\"\n\
             [[key]]\nname = \"release\"\npublic_key = \"keys/release.pem\"\n\
             [[key]]\nname = \"vault\"\npublic_key = \"keys/vault.pem\"\nkms_key_id = \"{key}\"\nkms_key_version_id = \"{version}\"\n\
             [[rule]]\nscope = \"{HOST}/**\"\nrequire = \"signed\"\nformats = [\"oracle\"]\nkeys = [\"vault\", \"release\"]\n\
             [[registry]]\nhost = \"{HOST}\"\nendpoint = \"{endpoint}\"\n{registry}\n\
             [registry.oracle]\nendpoint = \"{api}\"\n{oracle}"
        )
    }

    /// Creates a folder with the vault's public key, and a user's configuration file and API key.
    pub fn folder(&self) -> TempDir {
        let folder = TempDir::new().unwrap();
        let world = self.cloud.world();
        let public = world.keys[0].versions[0].public_key.clone().unwrap();
        std::fs::create_dir_all(folder.path().join("keys")).unwrap();
        std::fs::write(folder.path().join("keys/vault.pem"), public).unwrap();
        self.write_profile(folder.path(), &user().0, "");
        folder
    }

    /// Writes `oci/config` with this private key, and the lines `more` at its end.
    pub fn write_profile(&self, folder: &Path, private: &str, more: &str) {
        let [tenancy, user, fingerprint] = self.key_id.split('/').collect::<Vec<_>>()[..] else {
            panic!("{}", self.key_id)
        };
        std::fs::create_dir_all(folder.join("oci")).unwrap();
        std::fs::write(folder.join("oci/key.pem"), private).unwrap();
        let config = format!(
            "[DEFAULT]\ntenancy={tenancy}\nuser={user}\nfingerprint={fingerprint}\nkey_file=key.pem\n{more}"
        );
        std::fs::write(folder.join("oci/config"), config).unwrap();
    }

    pub async fn node(&self, oracle: &str) -> Node {
        Node::start_in(self.folder(), &self.config(oracle)).await
    }

    /// Starts a node whose pulls have this limit.
    pub async fn node_with_limit(&self, limit: Duration) -> Node {
        let limit = format!("pull = \"{}s\"", limit.as_secs());
        let config = self.config(&self.oracle()).replace("pull = \"30s\"", &limit);
        Node::start_in(self.folder(), &config).await
    }

    /// Returns the number of requests for this operation.
    pub fn count(&self, operation: Operation) -> usize {
        let requests = self.cloud.requests();
        requests
            .iter()
            .filter(|seen| seen.operation == Some(operation))
            .count()
    }
}

pub fn image(tag: &str) -> Reference {
    format!("{HOST}/{NAMESPACE}/{REPOSITORY}:{tag}").parse().unwrap()
}

/// Pulls an image, which must be refused for this reason.
pub async fn denied(node: &Node, tag: &str, reason: Reason) {
    node.assert_denied(&image(tag), reason).await;
}

/// Pulls an image, which must be admitted.
pub async fn pulled(node: &Node, tag: &str) {
    if let Err(error) = node.pull(&image(tag)).await {
        panic!("{tag}: {error:?}");
    }
}
