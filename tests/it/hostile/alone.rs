//! The lies, told one and all, while the memory of the process is watched.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use pullgate::base::limits::CANDIDATES;
use pullgate::base::reason::Reason;
use pullgate::fakes::pull_client::{ClientPullError, Dialect};
use pullgate::oci::Digest;

use super::lies::{Lie, Truth, lies_about_manifests, lies_about_places, lies_about_signatures};
use crate::support::liar::{Answer, Liar};
use crate::support::{
    LATEST, Node, REPOSITORY, SIGNED, config, configured, hasty, image, put_signed, registry, resident,
    signer,
};

#[tokio::test]
#[ignore = "watches the memory of the whole process: `no_lie_costs_memory` runs it by itself"]
async fn every_lie_is_blocked_with_its_reason_in_time_and_in_little_memory() {
    let watch = Watch::start();
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
    // Each read is bounded by 4 MiB, six lies are told at a time, and liars and registries live in this process too.
    assert!(grown < 64 << 20, "memory grew by {} MiB", grown >> 20);
}

/// Tells one lie; what went wrong, if anything did.
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

    let began = Instant::now();
    let result = tokio::time::timeout(LATEST, node.pull(&image("acme/app:v1"))).await;
    let took = began.elapsed();
    let seen = liar.seen().len();
    let verdict = match result {
        Ok(Err(ClientPullError::Refused(refusal))) if refusal.reason() == Some(lie.blocked.code()) => None,
        Ok(Err(ClientPullError::Refused(refusal))) => Some(format!("{} {}", refusal.status, refusal.message)),
        Ok(other) => Some(format!("{other:?}")),
        Err(_elapsed) => Some("no answer".to_owned()),
    };
    let problem = match verdict {
        Some(other) => other,
        // HEAD and the GET that follows it for the body: two decisions of two seconds each, and a busy machine.
        None if stalls && took > Duration::from_secs(10) => format!("took {took:?}"),
        None if seen > 4 * CANDIDATES => format!("asked {seen} times"),
        None => return None,
    };
    Some(format!("- {}, expected {}: {problem}", lie.name, lie.blocked))
}

/// Watches how much memory this process uses.
struct Watch {
    before: u64,
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Watch {
    fn start() -> Self {
        let (most, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, stop) = (Arc::clone(&most), Arc::clone(&over));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                seen.fetch_max(resident(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self {
            before: resident(),
            most,
            over,
        }
    }

    fn grown(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.most.load(Ordering::Relaxed).saturating_sub(self.before)
    }
}

/// Back-pressure: of a blob without end no more leaves the origin than the client takes and a few buffers hold.
#[tokio::test]
#[ignore = "watches the memory of the whole process: `no_lie_costs_memory` runs it by itself"]
async fn a_blob_without_end_costs_no_memory() {
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
        let watch = Watch::start();
        let path = runtime.path(&app, "blobs", &layer.to_string());
        let mut response = runtime.get(http::Method::GET, path, None).await.unwrap();
        let mut taken = 0;
        while taken < 16 << 20 {
            taken += response.chunk().await.unwrap().unwrap().len();
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let surplus = liar.sent().saturating_sub(taken as u64);
        assert!(surplus < 64 << 20, "{} MiB ahead of the client", surplus >> 20);
        // At its deadline (2 s) the blob is cut, though both sides could go on for ever.
        let cut = async { while let Ok(Some(_)) = response.chunk().await {} };
        tokio::time::timeout(LATEST, cut)
            .await
            .expect("the blob is cut at its deadline");
        let grown = watch.grown();
        assert!(grown < 32 << 20, "memory grew by {} MiB", grown >> 20);
    }
}
