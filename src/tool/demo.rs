//! `pullgate demo`: a registry, a gate and a runtime's client in one process, which show the pulls that the gate allows and
//! blocks. It needs no root, no network and no other program. Its keys exist only as long as the process.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::registry::Registry as Metrics;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::base::reason::Reason;
use crate::door::registry::{RegistryDoor, RegistryDoorSettings};
use crate::door::{DoorLimits, ServeContext};
use crate::fakes::pull_client::{ClientPullError, Dialect, PullClient, Pulled, SetUpError};
use crate::fakes::registry::{EmbeddedRegistry, FakeRegistryOptions, StoreError, tar};
use crate::net::oracle::OracleRegistries;
use crate::net::registry::{Credentials, RegistryClient, RegistryConfig, RegistryError};
use crate::oci::{Blob, Descriptor, Digest, MediaType, Platform, Reference, ReferenceError};
use crate::pull::find;
use crate::pull::gate::{DerivationsError, Gate, GateSettings, Storage};
use crate::pull::policy::{
    DefaultAction, DuplicateScope, Generation, Mode, Pods, Policy, Requirement, Rule, ScopeError, Signed,
};
use crate::signature::oracle::{self, OracleMessage, Record};
use crate::tool::sign::{PrivateKey, PrivateKeyError, SignError, artifact, sign};
use crate::trust::{Authority, Salt, SigningAlgorithm, TrustedKey};

/// The registry's host in image names. No such host exists (RFC 2606, 2).
pub const HOST: &str = "registry.example";
/// Repository that holds all images of the demonstration.
const REPOSITORY: &str = "acme/app";

/// A running registry with images, and a running gate in front of it.
#[derive(Debug)]
pub struct Demo {
    registry: EmbeddedRegistry,
    gate: SocketAddr,
    images: Vec<DemoImage>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

/// An image of the demonstration, and the expected outcome of its pull.
#[derive(Clone, Debug)]
pub struct DemoImage {
    /// Name of the image.
    pub image: Reference,
    /// Description of the image, in a clause.
    pub about: &'static str,
    /// Reason for which the gate must block it; `None` when the gate must allow it.
    pub expected: Option<Reason>,
}

/// Outcome of a pull.
#[derive(Debug)]
pub struct PullOutcome<'a> {
    /// Image that was pulled.
    pub demo_image: &'a DemoImage,
    /// Result of the pull in the runtime.
    pub result: Result<Pulled, ClientPullError>,
    /// Text that containerd prints, when the pull was refused.
    pub printed: Option<String>,
}

impl PullOutcome<'_> {
    /// Returns the gate's reason code, when it blocked the pull.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match &self.result {
            Err(ClientPullError::Refused(refusal)) => refusal.reason(),
            Err(
                ClientPullError::Connection { .. }
                | ClientPullError::Corrupt { .. }
                | ClientPullError::Unusable { .. },
            )
            | Ok(_) => None,
        }
    }

    /// Returns whether the outcome is the expected one.
    #[must_use]
    pub fn as_expected(&self) -> bool {
        match (self.demo_image.expected, &self.result) {
            (None, Ok(_)) => true,
            (Some(expected), Err(ClientPullError::Refused(refusal))) => {
                refusal.reason() == Some(expected.code())
            }
            (Some(_), Ok(_) | Err(_)) | (None, Err(_)) => false,
        }
    }
}

/// Error that prevents the demonstration from starting. It says nothing about the gate's verdicts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The gate's client for the registry.
    #[error("could not set up the client for the registry")]
    Client(#[from] RegistryError),
    /// A socket on the loopback address.
    #[error("could not listen on 127.0.0.1")]
    Listen(#[from] std::io::Error),
    /// A key could not be generated.
    #[error("could not generate a key")]
    Key(#[from] PrivateKeyError),
    /// The thread that generates a key ended early.
    #[error("the generation of a key was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
    /// The gate could not be set up.
    #[error("could not set up the gate")]
    Gate(#[from] DerivationsError),
    /// An image name of the demonstration is invalid.
    #[error("an image name of the demonstration is not valid")]
    Name(#[from] ReferenceError),
    /// The scope of the demonstration's rule is invalid.
    #[error("the rule of the demonstration is not valid")]
    Rule(#[from] ScopeError),
    /// The rules of the demonstration contradict each other.
    #[error("the rules of the demonstration contradict each other")]
    Rules(#[from] DuplicateScope),
    /// The runtime's client could not be set up.
    #[error("could not set up the runtime's client")]
    Runtime(#[from] SetUpError),
    /// An image could not be signed.
    #[error("could not sign an image")]
    Sign(#[from] SignError),
    /// The embedded registry refused an image.
    #[error("could not store an image in the registry")]
    Store(#[from] StoreError),
}

impl Demo {
    /// Generates two keys, pushes and signs the images, and starts a gate that trusts one of the keys.
    ///
    /// # Errors
    /// [`DemoError`].
    pub async fn start() -> Result<Self, DemoError> {
        let (release, stranger) = tokio::join!(generate_key(), generate_key());
        let (release, stranger) = (release?, stranger?);
        let registry = EmbeddedRegistry::start(FakeRegistryOptions::default()).await?;
        let images = push(&registry, &release, &stranger)?;

        let settings = RegistryDoorSettings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            default_registry: None,
        };
        let limits = DoorLimits {
            pull: Duration::from_secs(10),
            blob: Duration::from_secs(60),
            connections: 64,
        };
        let door = RegistryDoor::bind(settings, limits).await?;
        let address = door.local_addr();
        let settings = GateSettings {
            policy: Arc::new(policy(&release)?),
            client: RegistryClient::new(vec![registry_config(&registry)?], vec![address])?,
            oracle: OracleRegistries::default(),
            // Unused: the registry has no `directory` source.
            signatures: PathBuf::new(),
            positive_ttl: Duration::from_secs(60),
            negative_ttl: Duration::from_secs(1),
        };
        let storage = Storage {
            derivations_file: None,
            max_derivations: 1024,
            max_records: 1024,
        };
        let gate = Arc::new(Gate::new(settings, &storage, &mut Metrics::default())?);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(door.serve(ServeContext {
            gate,
            stop: stop.clone(),
            grace: Duration::from_secs(1),
        }));
        Ok(Self {
            registry,
            gate: address,
            images,
            stop,
            serving,
        })
    }

    /// Returns the address of the gate.
    #[must_use]
    pub const fn gate(&self) -> SocketAddr {
        self.gate
    }

    /// Returns the URL of the registry: scheme, address and port.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.registry.url()
    }

    /// Pulls every image through the gate, one after the other, as containerd does.
    ///
    /// # Errors
    /// Only [`DemoError::Runtime`]: a failed pull is an outcome.
    pub async fn pull_all(&self) -> Result<Vec<PullOutcome<'_>>, DemoError> {
        let runtime = PullClient::new(Dialect::Containerd, self.gate)?;
        let mut outcomes = Vec::new();
        for demo_image in &self.images {
            let result = runtime.pull(&demo_image.image).await;
            let printed = match &result {
                Err(ClientPullError::Refused(refusal)) => Some(runtime.prints(&demo_image.image, refusal)),
                Err(
                    ClientPullError::Connection { .. }
                    | ClientPullError::Corrupt { .. }
                    | ClientPullError::Unusable { .. },
                )
                | Ok(_) => None,
            };
            outcomes.push(PullOutcome {
                demo_image,
                result,
                printed,
            });
        }
        Ok(outcomes)
    }

    /// Returns commands for each runtime that pull an allowed and a blocked image through this gate.
    #[must_use]
    pub fn commands_by_hand(&self) -> Vec<RuntimeCommands> {
        let (gate, port) = (self.gate, self.gate.port());
        let mut pulled: Vec<&Reference> = Vec::new();
        for blocked in [false, true] {
            let image = self
                .images
                .iter()
                .find(|demo_image| demo_image.expected.is_some() == blocked);
            pulled.extend(image.map(|demo_image| &demo_image.image));
        }
        let lines = |command: &str| {
            pulled
                .iter()
                .map(|image| format!("{command}{image}"))
                .collect::<Vec<_>>()
        };
        // containerd up to 1.7.31 ignores a file that has only `server`, and asks the origin instead.
        let hosts = format!(
            "hosts=$(mktemp -d) && mkdir \"$hosts/{HOST}\" && printf '%s\\n' 'server = \"http://{gate}\"' \
             '[host.\"http://{gate}\"]' '  capabilities = [\"pull\", \"resolve\"]' >\"$hosts/{HOST}/hosts.toml\""
        );
        let ctr = std::iter::once(hosts)
            .chain(lines("sudo ctr images pull --hosts-dir \"$hosts\" "))
            .collect();
        vec![
            RuntimeCommands {
                runtime: "docker",
                commands: lines(&format!("docker pull localhost:{port}/")),
            },
            RuntimeCommands {
                runtime: "ctr",
                commands: ctr,
            },
            RuntimeCommands {
                runtime: "podman",
                commands: lines(&format!("podman pull --tls-verify=false {gate}/")),
            },
        ]
    }

    /// Closes both sockets.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "The door of the demonstration did not stop in order");
        }
    }
}

/// Commands for one runtime, in order.
#[derive(Clone, Debug)]
pub struct RuntimeCommands {
    /// Name of the runtime's command.
    pub runtime: &'static str,
    /// Command lines for a shell.
    pub commands: Vec<String>,
}

/// Returns the gate's configuration of the registry.
fn registry_config(registry: &EmbeddedRegistry) -> Result<RegistryConfig, DemoError> {
    let mut config = RegistryConfig::default_for(HOST)?;
    config.endpoints = registry.url().parse().into_iter().collect();
    config.credentials = Credentials::Anonymous;
    config.signatures = vec![find::referrers::NAME];
    Ok(config)
}

/// Generates a key on a blocking thread, because it takes a moment.
async fn generate_key() -> Result<PrivateKey, DemoError> {
    Ok(tokio::task::spawn_blocking(|| PrivateKey::generate(KEY_BITS)).await??)
}

/// Builds a policy with one rule: every image of the registry must be signed with this key.
fn policy(release: &PrivateKey) -> Result<Policy, DemoError> {
    let schemes = BTreeSet::from([ALGORITHM.scheme(Salt::Any)]);
    let trusted = TrustedKey::new("release", release.public().clone(), schemes);
    let trusted = Arc::new(Authority::from(trusted));
    let signed = Signed {
        authorities: vec![Arc::clone(&trusted)],
        threshold: NonZeroUsize::MIN,
        formats: BTreeSet::from([oracle::NAME]),
        signed_repository: None,
    };
    let scope = format!("{HOST}/**").parse()?;
    let rule = Rule::new(scope, Requirement::Signed(signed), Mode::Enforce, Pods::default());
    let (denied, generation) = (BTreeSet::new(), Generation([0; 32]));
    Ok(Policy::new(
        DefaultAction::Reject,
        vec![rule],
        denied,
        vec![trusted],
        generation,
    )?)
}

/// Pushes and signs the images of the demonstration.
fn push(
    registry: &EmbeddedRegistry,
    release: &PrivateKey,
    stranger: &PrivateKey,
) -> Result<Vec<DemoImage>, DemoError> {
    let put = |tag: &str| put_image(registry, tag, Platform::from_this_machine());

    let signed = put("signed")?;
    attach(registry, &signed, &record(release, &signed.digest)?)?;

    let children = [
        put_image(registry, "", Platform::from_this_machine())?,
        put_image(registry, "", another_platform())?,
    ];
    let index = registry.put_index(REPOSITORY, "multi-platform", &children)?;
    attach(registry, &index, &record(release, &index.digest)?)?;

    put("unsigned")?;

    let wrong_key = put("wrong-key")?;
    attach(registry, &wrong_key, &record(stranger, &wrong_key.digest)?)?;

    let tampered = put("tampered")?;
    attach(registry, &tampered, &record(release, &tampered.digest)?)?;
    let other = registry
        .manifest(REPOSITORY, "unsigned")
        .ok_or(StoreError::Unknown)?;
    registry.tamper(REPOSITORY, &tampered.digest, other)?;

    let forged = put("forged")?;
    let signature_of_another = record(release, &signed.digest)?.signature;
    let forgery = Record {
        signature: signature_of_another,
        ..record(release, &forged.digest)?
    };
    attach(registry, &forged, &forgery)?;

    let image = |tag: &str, about: &'static str, expected: Option<Reason>| {
        let name = format!("{HOST}/{REPOSITORY}:{tag}").parse()?;
        Ok(DemoImage {
            image: name,
            about,
            expected,
        })
    };
    [
        image("signed", "signed by the trusted key", None),
        image("multi-platform", "a signed index of unsigned manifests", None),
        image("unsigned", "not signed", Some(Reason::Unsigned)),
        image(
            "wrong-key",
            "signed by an untrusted key",
            Some(Reason::UntrustedKey),
        ),
        image("tampered", "altered after signing", Some(Reason::DigestMismatch)),
        image(
            "forged",
            "with the signature of another image",
            Some(Reason::BadSignature),
        ),
    ]
    .into_iter()
    .collect()
}

fn put_image(registry: &EmbeddedRegistry, tag: &str, platform: Platform) -> Result<Descriptor, StoreError> {
    let text = format!(
        "This image of {HOST} was made by `pullgate demo` ({tag} {}).\n",
        platform.architecture
    );
    let layer = tar(&[("hello.txt", text.as_bytes())]);
    registry.put_image_for(REPOSITORY, tag, platform, &[&layer])
}

/// Returns a platform that a runtime on this machine does not pull.
fn another_platform() -> Platform {
    let host = Platform::from_this_machine();
    let other = if host.architecture == "s390x" {
        "amd64"
    } else {
        "s390x"
    };
    Platform {
        architecture: other.to_owned(),
        ..host
    }
}

/// Signs an image as `pullgate sign` does.
fn record(key: &PrivateKey, digest: &Digest) -> Result<Record, SignError> {
    let name = key.public().fingerprint().to_string();
    let message = OracleMessage {
        description: "made by `pullgate demo`".to_owned(),
        image_digest: *digest,
        kms_key_id: name.clone(),
        kms_key_version_id: name,
        metadata: String::new(),
        region: String::new(),
        repository_name: REPOSITORY.to_owned(),
        signing_algorithm: ALGORITHM,
    };
    sign(&message, key, Timestamp::now())
}

/// Stores a record where the gate finds it: as a referrer of its image.
fn attach(registry: &EmbeddedRegistry, subject: &Descriptor, record: &Record) -> Result<(), StoreError> {
    let bytes = registry
        .manifest(REPOSITORY, &subject.digest.to_string())
        .ok_or(StoreError::Unknown)?;
    let media_type = MediaType::from_content_type(&subject.media_type).ok_or(StoreError::Unknown)?;
    let referrer = artifact(record, &Blob::from_bytes(bytes), media_type, Timestamp::now());
    for blob in &referrer.blobs {
        registry.put_blob(REPOSITORY, blob.bytes().clone())?;
    }
    let bytes = referrer.manifest.bytes().clone();
    registry.put_manifest(REPOSITORY, None, MediaType::OciManifest.as_str(), bytes)?;
    Ok(())
}

/// The smallest size that the gate accepts, and the fastest to generate.
const KEY_BITS: usize = 2048;
const ALGORITHM: SigningAlgorithm = SigningAlgorithm::Sha256RsaPkcsPss;

#[cfg(test)]
mod tests;
