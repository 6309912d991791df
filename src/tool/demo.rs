//! `pullgate demo`: a registry, a gate and a runtime in one process, and what the gate lets through. No root, no
//! network, no other program; every key is made for the occasion and forgotten with it.

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
    DefaultAction as Otherwise, DuplicateScope, Generation, Mode, Pods, Policy, Requirement, Rule,
    ScopeError, Signed,
};
use crate::signature::oracle::{self, OracleMessage, Record};
use crate::tool::sign::{PrivateKey, PrivateKeyError, SignError, artifact, sign};
use crate::trust::{Authority, Salt, SigningAlgorithm, TrustedKey};

/// The registry's host as it stands in image names; no such host exists (RFC 2606, 2).
pub const HOST: &str = "registry.example";
/// The one repository of the demonstration.
const REPOSITORY: &str = "acme/app";

/// A registry with images, and a gate before it, both listening.
#[derive(Debug)]
pub struct Demo {
    registry: EmbeddedRegistry,
    gate: SocketAddr,
    images: Vec<DemoImage>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

/// An image of the demonstration, and what must come of its pull.
#[derive(Clone, Debug)]
pub struct DemoImage {
    /// Its name.
    pub image: Reference,
    /// What is special about it, in a clause.
    pub about: &'static str,
    /// Why it must be blocked; nothing where it must be let through.
    pub expected: Option<Reason>,
}

/// What came of a pull.
#[derive(Debug)]
pub struct PullOutcome<'a> {
    /// Of which image.
    pub shown: &'a DemoImage,
    /// What the runtime got.
    pub result: Result<Pulled, ClientPullError>,
    /// What containerd prints of it, where the pull was refused.
    pub printed: Option<String>,
}

impl PullOutcome<'_> {
    /// The gate's reason, where it blocked the pull.
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

    /// Whether it is what the demonstration promises.
    #[must_use]
    pub fn as_expected(&self) -> bool {
        match (self.shown.expected, &self.result) {
            (None, Ok(_)) => true,
            (Some(expected), Err(ClientPullError::Refused(refusal))) => {
                refusal.reason() == Some(expected.code())
            }
            (Some(_), Ok(_) | Err(_)) | (None, Err(_)) => false,
        }
    }
}

/// Why the demonstration could not begin. None of it says anything of the gate's verdicts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The gate's client for the registry, or its memory.
    #[error("the client for the registry could not be set up")]
    Client(#[from] RegistryError),
    /// A socket on loopback.
    #[error("a port on 127.0.0.1 could not be opened")]
    Listen(#[from] std::io::Error),
    /// A key.
    #[error("a key could not be made")]
    Key(#[from] PrivateKeyError),
    /// The thread that made a key.
    #[error("a key was not made to its end")]
    Interrupted(#[from] tokio::task::JoinError),
    /// The gate.
    #[error("the gate could not be set up")]
    Gate(#[from] DerivationsError),
    /// A name of the demonstration's own.
    #[error("an image name of the demonstration is none")]
    Name(#[from] ReferenceError),
    /// The rule of the demonstration.
    #[error("the rule of the demonstration is none")]
    Rule(#[from] ScopeError),
    /// The rules of the demonstration.
    #[error("the rules of the demonstration exclude each other")]
    Rules(#[from] DuplicateScope),
    /// The runtime's client.
    #[error("the runtime's client could not be set up")]
    Runtime(#[from] SetUpError),
    /// A signature.
    #[error("an image could not be signed")]
    Sign(#[from] SignError),
    /// The embedded registry.
    #[error("the registry did not take an image")]
    Store(#[from] StoreError),
}

impl Demo {
    /// Makes two keys, pushes the images, signs them, and opens the gate before them. The gate trusts one of the keys.
    ///
    /// # Errors
    /// As [`DemoError`] says.
    pub async fn start() -> Result<Self, DemoError> {
        let (release, stranger) = tokio::join!(key(), key());
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
            client: RegistryClient::new(vec![reached(&registry)?], vec![address])?,
            oracle: OracleRegistries::default(),
            // No source of the registry reads it.
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

    /// Where the gate listens.
    #[must_use]
    pub const fn gate(&self) -> SocketAddr {
        self.gate
    }

    /// Where the registry listens: scheme, address and port.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.registry.url()
    }

    /// Pulls every image through the gate, one after the other, as containerd does.
    ///
    /// # Errors
    /// [`DemoError::Runtime`] alone: a pull that fails is an outcome.
    pub async fn pull_all(&self) -> Result<Vec<PullOutcome<'_>>, DemoError> {
        let runtime = PullClient::new(Dialect::Containerd, self.gate)?;
        let mut outcomes = Vec::new();
        for shown in &self.images {
            let result = runtime.pull(&shown.image).await;
            let printed = match &result {
                Err(ClientPullError::Refused(refusal)) => Some(runtime.prints(&shown.image, refusal)),
                Err(
                    ClientPullError::Connection { .. }
                    | ClientPullError::Corrupt { .. }
                    | ClientPullError::Unusable { .. },
                )
                | Ok(_) => None,
            };
            outcomes.push(PullOutcome {
                shown,
                result,
                printed,
            });
        }
        Ok(outcomes)
    }

    /// Commands to pull an image by hand through this gate, for each runtime: one that is let through, one that is not.
    #[must_use]
    pub fn by_hand(&self) -> Vec<ByHand> {
        let (gate, port) = (self.gate, self.gate.port());
        let mut pulled: Vec<&Reference> = Vec::new();
        for blocked in [false, true] {
            let image = self
                .images
                .iter()
                .find(|shown| shown.expected.is_some() == blocked);
            pulled.extend(image.map(|shown| &shown.image));
        }
        let of = |command: &str| {
            pulled
                .iter()
                .map(|image| format!("{command}{image}"))
                .collect::<Vec<_>>()
        };
        // containerd up to 1.7.31 takes no file that holds `server` alone, and asks the origin instead.
        let hosts = format!(
            "hosts=$(mktemp -d) && mkdir \"$hosts/{HOST}\" && printf '%s\\n' 'server = \"http://{gate}\"' \
             '[host.\"http://{gate}\"]' '  capabilities = [\"pull\", \"resolve\"]' >\"$hosts/{HOST}/hosts.toml\""
        );
        let ctr = std::iter::once(hosts)
            .chain(of("sudo ctr images pull --hosts-dir \"$hosts\" "))
            .collect();
        vec![
            ByHand {
                runtime: "docker",
                commands: of(&format!("docker pull localhost:{port}/")),
            },
            ByHand {
                runtime: "ctr",
                commands: ctr,
            },
            ByHand {
                runtime: "podman",
                commands: of(&format!("podman pull --tls-verify=false {gate}/")),
            },
        ]
    }

    /// Closes both sockets.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "The door of the demonstration did not end by itself");
        }
    }
}

/// Commands for one runtime, in their order.
#[derive(Clone, Debug)]
pub struct ByHand {
    /// The runtime's command.
    pub runtime: &'static str,
    /// Lines for a shell.
    pub commands: Vec<String>,
}

/// How the gate reaches the registry.
fn reached(registry: &EmbeddedRegistry) -> Result<RegistryConfig, DemoError> {
    let mut config = RegistryConfig::default_for(HOST)?;
    config.endpoints = registry.url().parse().into_iter().collect();
    config.credentials = Credentials::Anonymous;
    config.signatures = vec![find::referrers::NAME];
    Ok(config)
}

/// Makes a key on a thread where it keeps nobody waiting: it takes a moment.
async fn key() -> Result<PrivateKey, DemoError> {
    Ok(tokio::task::spawn_blocking(|| PrivateKey::generate(KEY_BITS)).await??)
}

/// One rule: whatever the registry holds must be signed by this key.
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
        Otherwise::Reject,
        vec![rule],
        denied,
        vec![trusted],
        generation,
    )?)
}

/// Pushes and signs what is shown.
fn push(
    registry: &EmbeddedRegistry,
    release: &PrivateKey,
    stranger: &PrivateKey,
) -> Result<Vec<DemoImage>, DemoError> {
    let put = |tag: &str| put_image(registry, tag, Platform::of_this_machine());

    let signed = put("signed")?;
    attach(registry, &signed, &record(release, &signed.digest)?)?;

    let children = [
        put_image(registry, "", Platform::of_this_machine())?,
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
    let elsewhere = record(release, &signed.digest)?.signature;
    let forgery = Record {
        signature: elsewhere,
        ..record(release, &forged.digest)?
    };
    attach(registry, &forged, &forgery)?;

    let shown = |tag: &str, about: &'static str, expected: Option<Reason>| {
        let image = format!("{HOST}/{REPOSITORY}:{tag}").parse()?;
        Ok(DemoImage {
            image,
            about,
            expected,
        })
    };
    [
        shown("signed", "signed by the trusted key", None),
        shown("multi-platform", "an index, signed; its manifests are not", None),
        shown("unsigned", "nobody signed it", Some(Reason::Unsigned)),
        shown(
            "wrong-key",
            "signed by a key nobody trusts",
            Some(Reason::UntrustedKey),
        ),
        shown(
            "tampered",
            "altered after it was signed",
            Some(Reason::DigestMismatch),
        ),
        shown("forged", "its signature was altered", Some(Reason::BadSignature)),
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

/// One that this machine does not pull.
fn another_platform() -> Platform {
    let host = Platform::of_this_machine();
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

/// What `pullgate sign` makes of an image.
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

/// Stores a record where the gate looks for it: as a referrer of its image.
fn attach(registry: &EmbeddedRegistry, subject: &Descriptor, record: &Record) -> Result<(), StoreError> {
    let bytes = registry
        .manifest(REPOSITORY, &subject.digest.to_string())
        .ok_or(StoreError::Unknown)?;
    let media_type = MediaType::from_content_type(&subject.media_type).ok_or(StoreError::Unknown)?;
    let referrer = artifact(record, &Blob::of(bytes), media_type, Timestamp::now());
    for blob in &referrer.blobs {
        registry.put_blob(REPOSITORY, blob.bytes().clone())?;
    }
    let bytes = referrer.manifest.bytes().clone();
    registry.put_manifest(REPOSITORY, None, MediaType::OciManifest.as_str(), bytes)?;
    Ok(())
}

/// The smallest that the gate takes, and the quickest to make.
const KEY_BITS: usize = 2048;
const ALGORITHM: SigningAlgorithm = SigningAlgorithm::Sha256RsaPkcsPss;

#[cfg(test)]
mod tests;
