//! The tool against a stand-in for Oracle's cloud: the real program with its real files, and the requests that it sends.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot continue must fail at once"
)]
#![allow(missing_docs, unreachable_pub, reason = "only these tests use it")]

#[path = "oracle_tool/carrying.rs"]
mod carrying;
#[path = "oracle_tool/faults.rs"]
mod faults;
#[path = "oracle_tool/keys.rs"]
mod keys;
#[path = "oracle_cloud/cloud.rs"]
mod oracle_cloud;
#[path = "oracle_tool/reaching.rs"]
mod reaching;
#[path = "oracle_tool/signing.rs"]
mod signing;
#[path = "oracle_tool/verbs.rs"]
mod verbs;
#[path = "oracle_tool/verifying.rs"]
mod verifying;

use std::path::PathBuf;
use std::sync::OnceLock;

use oracle_cloud::{Cloud, Image, Kind, Operation, Options, World, world};
use pullgate::fakes::registry::{EmbeddedRegistry, FakeRegistryOptions as RegistryOptions};
use serde_json::Value;
use tempfile::TempDir;

const HOST: &str = "phx.ocir.io";
const NAMESPACE: &str = "ansh81vru1zp";
const REPOSITORY: &str = "project01/acme";
const ALGORITHM: &str = "SHA_256_RSA_PKCS_PSS";

/// API key of the user of every site, generated once.
static USER: OnceLock<(String, String)> = OnceLock::new();

/// A cloud with one user, one RSA key and one image, a registry with the same image, and the home of the tool's user.
struct Site {
    cloud: Cloud,
    registry: EmbeddedRegistry,
    home: TempDir,
    key: String,
    version: String,
    image: Image,
    tenancy: String,
    compartment: String,
}

/// Output of the program.
#[derive(Debug)]
struct ToolOutput {
    code: i32,
    out: String,
    err: String,
}

impl ToolOutput {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks the exit code, and that standard error contains these words.
    fn assert_failed(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(self.err.contains(words), "{words}\n{self:#?}");
    }

    fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }
}

impl Site {
    async fn start() -> Self {
        Self::start_with(|_world| ()).await
    }

    async fn start_with(alter: impl FnOnce(&mut World)) -> Self {
        let mut world = World::new();
        let (private, public) = USER.get_or_init(world::pair);
        let key_id = world.user(public);
        let (key, version) = world.key(Kind::Rsa);
        alter(&mut world);
        let (tenancy, compartment) = (world.tenancy.id.clone(), world.compartment().to_owned());
        let cloud = Cloud::start(Options::new(world)).await.unwrap();
        let registry = EmbeddedRegistry::start(RegistryOptions::default()).await.unwrap();
        let path = format!("{NAMESPACE}/{REPOSITORY}");
        let stored = registry.put_image(&path, "v1", &[b"an image"]).unwrap();
        let home = TempDir::new().unwrap();
        let [_, user, fingerprint] = key_id.split('/').collect::<Vec<_>>()[..] else {
            panic!("{key_id}");
        };
        let site = Self {
            image: cloud.push(REPOSITORY, &stored.digest.to_string(), Some("v1")),
            cloud,
            registry,
            key,
            version,
            tenancy,
            compartment,
            home,
        };
        site.write(".oci/key.pem", private);
        let tenancy = &site.tenancy;
        let profile = format!(
            "[DEFAULT]\nuser={user}\ntenancy={tenancy}\nfingerprint={fingerprint}\nkey_file=~/.oci/key.pem\n\
             region=us-phoenix-1\n"
        );
        site.write(".oci/config", &profile);
        site.write("pullgate.toml", &site.configuration(""));
        site
    }

    /// Returns the node's configuration: the image's registry and the settings that a test adds.
    fn configuration(&self, more: &str) -> String {
        let endpoint = self.registry.url();
        let state = self.home.path().join("state");
        format!(
            "include = [\"policy.d/*.toml\"]\n[daemon]\nstate = \"{}\"\n[policy]\ndefault = \"reject\"\n\
             [[registry]]\nhost = \"{HOST}\"\nendpoint = \"{endpoint}\"\n{more}",
            state.display()
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs the tool in the user's home.
    async fn run(&self, arguments: &[&str]) -> ToolOutput {
        self.run_with(arguments, &[]).await
    }

    async fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> ToolOutput {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_pullgate"))
            .args(arguments)
            .arg("--config")
            .arg(self.path("pullgate.toml"))
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("OCI_CLI_ENDPOINT", self.cloud.url())
            .envs(variables.iter().copied())
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        ToolOutput {
            code: output.status.code().unwrap(),
            out,
            err,
        }
    }

    /// Returns the image's reference by tag.
    fn tagged(&self) -> String {
        format!("{HOST}/{NAMESPACE}/{REPOSITORY}:v1")
    }

    /// Signs the image in the vault, without the tool.
    fn sign(&self) -> String {
        self.cloud.sign_and_upload(&self.image, &self.version, ALGORITHM)
    }

    /// Counts the requests of this operation.
    fn count(&self, operation: Operation) -> usize {
        let requests = self.cloud.requests();
        requests
            .iter()
            .filter(|seen| seen.operation == Some(operation))
            .count()
    }

    /// Returns a record as the cloud has it.
    fn record(&self, id: &str) -> Value {
        let records = self.cloud.world().signatures;
        records
            .into_iter()
            .find(|record| record["id"] == id)
            .unwrap_or_else(|| panic!("no record {id}"))
    }

    /// Returns the arguments that name the key and its version.
    fn key_arguments(&self) -> [&str; 4] {
        ["--kms-key-id", &self.key, "--kms-key-version-id", &self.version]
    }
}
