//! A stand-in for the parts of Oracle's cloud that signed images need: the Artifacts API (20160918), the cryptographic
//! and management endpoints of OCI Vault (20180608), the authentication service's `/v1/x509` and the instance metadata
//! service. Its responses follow Oracle's API references, SDK (2.189.0) and "Request Signatures"; where these are
//! silent, [`Options`] has a setting. It was never compared with the real service.
//!
//! A test runs it in its own process:
//!
//! ```ignore
//! #[path = "oracle_cloud/cloud.rs"]
//! mod oracle_cloud;
//!
//! let (private, public) = oracle_cloud::world::pair();
//! let mut world = oracle_cloud::World::new();
//! let key_id = world.user(&public);                       // tenancy/user/fingerprint, as `private` signs under it
//! let (key, version) = world.key(Kind::Rsa);
//! let cloud = Cloud::start(Options::new(world)).await?;    // cloud.url(), cloud.metadata_url()
//! cloud.fail(Operation::Sign, Fault::Status { status: 500, retry_after: None }, Some(2));
//! ```
//!
//! Other programs run it as a program (`program.rs`), and control it over HTTP (`control.rs`):
//!
//! ```text
//! cargo run --example oracle-cloud -- --state world.json --listen 127.0.0.1:443 --tls --ca ca.pem
//! ```
//!
//! It prints one line of JSON: `listen`, `metadata`, `control` (addresses) and `hosts` (the names of its certificate).
//! `world.json` is a `World` with at least `tenancy` and one user, whose `publicKeys` are PEM. Missing OCIDs and key
//! versions are generated, and `--world FILE` writes the completed world. The real `oci` client reaches these services
//! under their own names only, and over https:
//!
//! ```text
//! unshare --mount --net sh -c '
//!     ip link set lo up
//!     mount --bind hosts /etc/hosts           # 127.0.0.1 and all `hosts` of the line above
//!     oracle-cloud … & REQUESTS_CA_BUNDLE=ca.pem oci --config-file config artifacts container image-signature list …'
//! ```

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "it is a part of tests: what cannot go on must fail on the spot"
)]
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_imports,
    reason = "each test binary, and the program, uses a part of it"
)]

mod artifacts;
pub mod authorization;
mod behaviour;
mod clock;
mod control;
mod faults;
mod federation;
pub mod http;
mod kms;
mod listing;
mod lock;
mod refusal;
mod route;
mod serve;
mod shared;
mod store;
mod tls;
pub mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use behaviour::Behaviour;
pub use behaviour::{Deletion, Salt};
pub use clock::Clock;
pub use faults::Fault;
pub use route::Operation;
use serde_json::{Value, json};
use serve::Socket;
pub use shared::Seen;
use shared::Shared;
use store::Store;
pub use tls::Tls;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
pub use world::{Image, Kind, Lifecycle, World};

/// The content of the cloud, and its behaviour where the real service is not documented.
pub struct Options {
    pub world: World,
    pub listen: SocketAddr,
    pub metadata: SocketAddr,
    pub control: SocketAddr,
    /// `None` for plain http.
    pub tls: Option<Tls>,
    /// Items on a page if the request has no `limit`.
    pub page: usize,
    pub salt: Salt,
    pub deletion: Deletion,
}

impl Options {
    /// Listens on free ports of 127.0.0.1, over http, and serves pages of 100 items.
    pub fn new(world: World) -> Self {
        let free = (Ipv4Addr::LOCALHOST, 0).into();
        Self {
            world,
            listen: free,
            metadata: free,
            control: free,
            tls: None,
            page: 100,
            salt: Salt::default(),
            deletion: Deletion::default(),
        }
    }
}

/// A running cloud. Dropping it closes its sockets and every connection.
pub struct Cloud {
    /// The address of all services. They are distinguished by `Host`, or by the path if `Host` is an address.
    pub address: SocketAddr,
    /// The address of the instance metadata service.
    pub metadata: SocketAddr,
    /// The address of `control.rs`.
    pub control: SocketAddr,
    speaks_tls: bool,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Cloud {
    /// Starts the cloud.
    ///
    /// # Errors
    /// When an address cannot be bound, or the chain and key of `tls` do not match.
    pub async fn start(options: Options) -> io::Result<Self> {
        let Options { world, .. } = options;
        let clock = Clock::default();
        let acceptor = options.tls.as_ref().map(Tls::acceptor).transpose()?;
        let listeners = [
            TcpListener::bind(options.listen).await?,
            TcpListener::bind(options.metadata).await?,
            TcpListener::bind(options.control).await?,
        ];
        let [address, metadata, control] = [
            listeners[0].local_addr()?,
            listeners[1].local_addr()?,
            listeners[2].local_addr()?,
        ];
        let shared = Arc::new(Shared {
            region: world.region.clone(),
            options: Behaviour {
                page: options.page,
                salt: options.salt,
                deletion: options.deletion,
            },
            store: Mutex::new(Store::new(world, clock.now())),
            clock,
            faults: faults::Faults::default(),
            federation: OnceLock::new(),
            seen: Mutex::default(),
        });
        let speaks_tls = acceptor.is_some();
        let sockets = [Socket::Api, Socket::Metadata, Socket::Control];
        let tasks = listeners.into_iter().zip(sockets).map(|(listener, socket)| {
            let acceptor = acceptor.clone().filter(|_| socket == Socket::Api);
            tokio::spawn(accept(listener, acceptor, socket, Arc::clone(&shared)))
        });
        Ok(Self {
            address,
            metadata,
            control,
            speaks_tls,
            tasks: tasks.collect(),
            shared,
        })
    }

    /// Returns the base URL of the services, without `/20160918`.
    pub fn url(&self) -> String {
        let scheme = if self.speaks_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Returns the value for `OCI_METADATA_BASE_URL`.
    pub fn metadata_url(&self) -> String {
        format!("http://{}/opc/v2", self.metadata)
    }

    /// Returns the current content.
    pub fn world(&self) -> World {
        let store = self.shared.store();
        World {
            images: store.images.iter().map(|(image, _)| image.clone()).collect(),
            signatures: store
                .signatures
                .iter()
                .map(|signature| signature.record.clone())
                .collect(),
            ..store.world.clone()
        }
    }

    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Makes the next `times` requests for an operation fail, or all of them if `times` is `None`. Several faults of
    /// one operation apply one after the other.
    pub fn fail(&self, operation: Operation, fault: Fault, times: Option<u64>) {
        self.shared.faults.add(Some(operation), fault, times);
    }

    /// As [`Self::fail`], for every operation.
    pub fn fail_all(&self, fault: Fault, times: Option<u64>) {
        self.shared.faults.add(None, fault, times);
    }

    /// Removes all faults.
    pub fn mend(&self) {
        self.shared.faults.clear();
    }

    /// Returns the newest 65 536 requests, without those to `control`.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.requests()
    }

    pub fn forget_requests(&self) {
        self.shared.forget_requests();
    }

    /// Pushes an image. Each push creates an image with its own OCID, even for a known digest.
    pub fn push(&self, repository: &str, digest: &str, version: Option<&str>) -> Image {
        let image = Image {
            id: String::new(),
            repository: repository.to_owned(),
            digest: digest.to_owned(),
            version: version.map(str::to_owned),
            compartment: None,
        };
        self.shared.store().put_image(image, self.shared.clock.now())
    }

    pub fn remove_image(&self, id: &str) {
        self.shared.store().images.retain(|(image, _)| image.id != id);
    }

    /// Stores a record unchecked, and returns its OCID.
    pub fn put_signature(&self, record: Value) -> String {
        self.shared.store().put_signature(record, self.shared.clock.now())
    }

    pub fn remove_signature(&self, id: &str) {
        self.shared.store().remove_signature(id);
    }

    /// Signs a message about an image and stores the record, as `sign-upload` does by requests. Returns the record's
    /// OCID.
    pub fn sign_and_upload(&self, image: &Image, version: &str, algorithm: &str) -> String {
        let record = {
            let store = self.shared.store();
            let mut keys = store.world.keys.iter();
            let found =
                keys.find_map(|key| Some((key, key.versions.iter().find(|each| each.id == version)?)));
            let (key, version) = found.expect("a version of a key");
            let message = json!({
                "description": "",
                "imageDigest": image.digest,
                "kmsKeyId": key.id,
                "kmsKeyVersionId": version.id,
                "metadata": "",
                "region": store.world.region,
                "repositoryName": image.repository,
                "signingAlgorithm": algorithm,
            })
            .to_string();
            let salt = self.shared.options.salt;
            let signature = kms::raw_sign(version, key.kind, algorithm, false, message.as_bytes(), salt);
            json!({
                "imageId": image.id,
                "kmsKeyId": key.id,
                "kmsKeyVersionId": version.id,
                "message": BASE64_STANDARD.encode(message),
                "signature": BASE64_STANDARD.encode(signature.expect("a signature")),
                "signingAlgorithm": algorithm,
            })
        };
        self.put_signature(record)
    }

    /// Sets the state of a key or of one version. Returns whether one has this OCID.
    pub fn set_key_state(&self, id: &str, state: Lifecycle) -> bool {
        self.shared.set_key_state(id, state)
    }

    pub fn set_token_life(&self, life: Duration) {
        self.shared.federation().set_token_life(life);
    }

    /// Invalidates all tokens.
    pub fn forget_tokens(&self) {
        self.shared.federation().forget_tokens();
    }

    /// Gives the instance a new certificate.
    pub fn renew_instance(&self) {
        self.shared.federation().renew();
    }

    /// Returns the instance's OCID, the caller of requests with its tokens.
    pub fn instance(&self) -> &str {
        &self.shared.federation().instance
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Accepts connections until the task is aborted; the set then aborts every connection.
async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, socket: Socket, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            match acceptor {
                None => serve::converse(stream, socket, shared).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve::converse(stream, socket, shared).await;
                    }
                }
            }
        });
    }
}
