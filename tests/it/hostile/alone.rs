//! Pulls through registries that tell each of the lies, while the memory of the process is measured.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use pullgate::base::limits::CANDIDATES;
use pullgate::base::reason::Reason;
use pullgate::fakes::pull_client::{ClientPullError, Dialect};
use pullgate::oci::Digest;

use super::lies::manifests::lies_about_manifests;
use super::lies::places::lies_about_places;
use super::lies::signatures::lies_about_signatures;
use super::lies::{Lie, Truth};
use crate::support::liar::{Answer, Liar};
use crate::support::{
    LATEST, Node, REPOSITORY, SIGNED, config, configured, hasty, image, put_signed, registry, resident,
    signer,
};

#[tokio::test]
#[ignore = "measures the memory of the whole process: `no_lie_costs_memory` runs it alone"]
async fn every_lie_is_blocked_with_its_reason_in_time_and_with_little_memory() {
    let watch = MemoryWatch::start();
    let lies = lies_about_manifests()
        .into_iter()
        .chain(lies_about_places())
        .chain(lies_about_signatures());
    let failures: Vec<String> = futures_util::stream::iter(lies)
        .map(tell)
        .buffer_unordered(6)
        .filter_map(std::future::ready)
        .collect()
        .await;
    let grown = watch.grown();
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    // Each read is bounded by 4 MiB, six lies run at a time, and the registries run in this process too.
    assert!(grown < 64 << 20, "memory grew by {} MiB", grown >> 20);
}

/// Pulls through a registry that tells this lie. Returns a description if the outcome is wrong.
async fn tell(lie: Lie) -> Option<String> {
    let registry = registry().await;
    let stored = put_signed(&registry, "v1", signer::get("release"));
    let manifest = registry.manifest(REPOSITORY, "v1").unwrap().to_vec();
    let truth = Truth {
        image: stored,
        manifest,
        gate: OnceLock::new(),
        liar: OnceLock::new(),
    };
    let truth = Arc::new(truth);
    let (script, known) = (lie.tell, Arc::clone(&truth));
    let liar = Liar::start(Some(registry.addr()), move |request| script(request, &known)).await;
    truth.liar.set(liar.url()).unwrap();
    let stalls = lie.blocked == Reason::DeadlineExceeded;
    let config = configured(&liar.url(), lie.registry, SIGNED);
    let node = Node::start(&if stalls { hasty(&config) } else { config }).await;
    truth.gate.set(node.addr.to_string()).unwrap();

    let started = Instant::now();
    let result = tokio::time::timeout(LATEST, node.pull(&image("acme/app:v1"))).await;
    let took = started.elapsed();
    let seen = liar.seen().len();
    let verdict = match result {
        Ok(Err(ClientPullError::Refused(refusal))) if refusal.reason() == Some(lie.blocked.code()) => None,
        Ok(Err(ClientPullError::Refused(refusal))) => Some(format!("{} {}", refusal.status, refusal.message)),
        Ok(other) => Some(format!("{other:?}")),
        Err(_elapsed) => Some("no answer".to_owned()),
    };
    let problem = match verdict {
        Some(other) => other,
        // A HEAD and a GET request have two seconds each. The bound is below the usual limit of 30 s, and leaves room for a busy
        // machine.
        None if stalls && took > Duration::from_secs(25) => format!("took {took:?}"),
        None if seen > 4 * CANDIDATES => format!("{seen} requests"),
        None => return None,
    };
    Some(format!("- {}, expected {}: {problem}", lie.name, lie.blocked))
}

/// Samples the memory of this process in a thread.
struct MemoryWatch {
    before: u64,
    maximum: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl MemoryWatch {
    fn start() -> Self {
        let (maximum, stopped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, stop) = (Arc::clone(&maximum), Arc::clone(&stopped));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                seen.fetch_max(resident(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self {
            before: resident(),
            maximum,
            stopped,
        }
    }

    fn grown(self) -> u64 {
        self.stopped.store(true, Ordering::Relaxed);
        self.maximum.load(Ordering::Relaxed).saturating_sub(self.before)
    }
}

/// The registry can send no more of an endless blob than the client reads and a few buffers hold.
#[tokio::test]
#[ignore = "measures the memory of the whole process: `no_lie_costs_memory` runs it alone"]
async fn an_endless_blob_costs_no_memory() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let layer = Digest::sha256(b"the layer of acme/app:v1");
    let name = layer.to_string();
    for announced in [None, Some(1 << 40)] {
        let name = name.clone();
        let liar = Liar::start(Some(registry.addr()), move |request| {
            if request.last() == name {
                Answer::Endless {
                    headers: Vec::new(),
                    announced,
                }
            } else {
                Answer::Honest
            }
        })
        .await;
        let node = Node::start(&hasty(&config(&liar.url(), SIGNED))).await;
        let app = image("acme/app:v1");
        let runtime = node.runtime(Dialect::Containerd);
        runtime.head(&app).await.unwrap();
        let watch = MemoryWatch::start();
        let path = runtime.path(&app, "blobs", &layer.to_string());
        let mut response = runtime.get(http::Method::GET, path, None).await.unwrap();
        let mut taken = 0;
        while taken < 16 << 20 {
            taken += response.chunk().await.unwrap().unwrap().len();
        }
        // The client pauses, so that a gate without back-pressure would read on. Nothing happens in a correct gate, so there is
        // no condition to wait for.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let surplus = liar.sent().saturating_sub(taken as u64);
        assert!(surplus < 64 << 20, "{} MiB ahead of the client", surplus >> 20);
        // The gate cuts the blob off at its deadline of 2 s, although both sides could continue.
        let cut = async { while let Ok(Some(_)) = response.chunk().await {} };
        tokio::time::timeout(LATEST, cut)
            .await
            .expect("the blob is cut off at its deadline");
        let grown = watch.grown();
        assert!(grown < 32 << 20, "memory grew by {} MiB", grown >> 20);
    }
}
