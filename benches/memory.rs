//! Measures memory: the idle daemon's, and the cost of a client that reads slowly.
#![allow(
    clippy::as_conversions,
    clippy::exit,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench that cannot continue must stop at once, and it prints its results"
)]
#![allow(missing_docs, unreachable_pub, reason = "only this bench uses these items")]

#[path = "support/support.rs"]
mod support;

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use support::figures::{Figure, goal};
use support::gate::{Gate, HOST, Setup};
use support::http::Connection;
use support::image::{Tree, put_signed};
use support::nginx::{self, Buffers};
use support::origin::Origin;
use support::process::Process;
use support::relay::Relay;
use support::signer::Signer;
use support::{installed, prepare, rounds};

const REPOSITORY: &str = "acme/app";
const MIB: f64 = 1024.0 * 1024.0;
const STREAMS: usize = 64;
/// The number of seconds for which slow clients read, 1 KiB each second.
const SECONDS: u64 = 5;

fn main() {
    if !prepare("memory") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let (signer, mut tree) = (Signer::new(2048), Tree(&root));
    let layer = tree.sparse(REPOSITORY, 0, 64 << 20);
    let image = put_signed(
        &mut tree,
        REPOSITORY,
        "one",
        std::slice::from_ref(&layer),
        &signer,
    );
    let origin = Origin::start(folder.path(), &root, None).expect("an origin over plain HTTP");
    let path = format!("{REPOSITORY}/blobs/{}", layer.digest);

    let mut idle = Figure::new("Resident memory, idle", "MiB");
    let mut slow = Figure::new(
        format!("Memory per slow stream ({STREAMS} clients at 1 KiB/s)"),
        "KiB per stream",
    );
    for round in 0..rounds(3) {
        let place = folder.path().join(round.to_string());
        for (rules, keys) in [(1, 1), (1000, 100)] {
            let gate = start(&place.join(rules.to_string()), &origin, &signer, rules, keys);
            idle.add(
                &format!("gate, {rules} rules, {keys} keys"),
                gate.process.resident() as f64 / MIB,
            );
            if rules == 1 {
                continue;
            }
            Connection::open(gate.address).fetch(&Gate::path(REPOSITORY, "manifests", &image.tag));
            slow.add(
                "gate",
                streams(&gate.process, gate.address, &format!("/v2/{HOST}/{path}")),
            );
        }
        let relay = Relay::start(origin.address, None);
        idle.add("hyper relay", relay.process.resident() as f64 / MIB);
        slow.add(
            "hyper relay",
            streams(&relay.process, relay.address, &format!("/v2/{path}")),
        );
        let Some(program) = installed("nginx") else {
            continue;
        };
        for (name, buffers) in [("nginx", Buffers::Default), ("nginx 256k", Buffers::Big)] {
            let nginx = nginx::proxy(&program, create(&place), origin.address, false, buffers);
            idle.add(name, nginx.process.resident() as f64 / MIB);
            slow.add(
                name,
                streams(&nginx.process, nginx.address, &format!("/v2/{path}")),
            );
        }
    }
    idle.print(&["nginx", "hyper relay"]);
    slow.print(&["nginx 256k", "hyper relay"]);
    goal(
        "idle with 1000 rules",
        idle.median("gate, 1000 rules, 100 keys"),
        24.0,
        " MiB",
    );
}

fn start(folder: &Path, origin: &Origin, signer: &Signer, rules: usize, keys: usize) -> Gate {
    let gate = Gate::start(
        folder,
        &Setup {
            rules,
            keys,
            ..Setup::in_front_of(origin.address, signer)
        },
    );
    // The daemon still works for a moment after READY. There is no event to wait for, so the bench waits a moment.
    std::thread::sleep(Duration::from_millis(500));
    gate
}

fn create(folder: &Path) -> &Path {
    std::fs::create_dir_all(folder).unwrap();
    folder
}

/// Returns by how many KiB per stream the process grows while the clients read slowly. The clients wait between two reads,
/// because a slow client is what is measured.
fn streams(process: &Process, address: SocketAddr, path: &str) -> f64 {
    let before = process.resident();
    let mut streams: Vec<_> = (0..STREAMS)
        .map(|_| Connection::open(address).start_get(path))
        .collect();
    let mut most = 0;
    for _ in 0..SECONDS {
        std::thread::sleep(Duration::from_secs(1));
        for stream in &mut streams {
            stream.read_exact(&mut [0; 1024]).unwrap();
        }
        most = most.max(process.resident());
    }
    most.saturating_sub(before) as f64 / 1024.0 / STREAMS as f64
}
