//! Measures the CPU seconds per GiB of blobs through the registry door, through nginx, through a minimal relay in Rust, and
//! at the origin itself.
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

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::figures::{Figure, goal};
use support::gate::{Gate, HOST, Setup};
use support::http::Connection;
use support::image::{Stored, Tree, put_signed};
use support::nginx::{self, Buffers};
use support::origin::Origin;
use support::process::Process;
use support::relay::Relay;
use support::signer::Signer;
use support::tls::Tls;
use support::{installed, is_selected, prepare, rounds};

const GIB: u64 = 1 << 30;
const REPOSITORY: &str = "acme/app";

fn main() {
    if !prepare("blobs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let (signer, mut tree) = (Signer::new(2048), Tree(&root));
    let one = vec![tree.sparse(REPOSITORY, 0, GIB)];
    let many: Vec<Stored> = (1..=16)
        .map(|number| tree.sparse(REPOSITORY, number, GIB / 16))
        .collect();
    let images = [("one", &one), ("many", &many)]
        .map(|(tag, layers)| put_signed(&mut tree, REPOSITORY, tag, layers, &signer));
    let tls = Tls::new(folder.path());
    for tls in [None, Some(&tls)] {
        let over = if tls.is_some() { "TLS" } else { "plain HTTP" };
        let Some(origin) = Origin::start(folder.path(), &root, tls) else {
            println!("nginx is not installed: nothing is measured over TLS.\n");
            continue;
        };
        let ca = tls.map(|tls| tls.certificate.as_path());
        let targets = targets(folder.path(), &origin, ca, &signer);
        // The gate serves a blob only after it has admitted the image that names it.
        let mut pull = Connection::open(targets[0].address);
        for image in &images {
            pull.fetch(&Gate::path(REPOSITORY, "manifests", &image.tag));
        }
        for (shape, layers) in [("1 blob of 1 GiB", &one), ("16 blobs of 64 MiB at a time", &many)] {
            measure(&format!("{shape}, {over} origin"), &targets, &origin, layers);
        }
    }
}

struct Target {
    name: &'static str,
    address: SocketAddr,
    /// The process whose CPU time is counted; `None` means the origin's.
    process: Option<Process>,
    prefix: &'static str,
}

fn targets(
    folder: &std::path::Path,
    origin: &Origin,
    ca: Option<&std::path::Path>,
    signer: &Signer,
) -> Vec<Target> {
    let place = folder.join(if ca.is_some() { "tls" } else { "plain" });
    let gate = Gate::start(
        &place,
        &Setup {
            ca,
            ..Setup::in_front_of(origin.address, signer)
        },
    );
    let relay = Relay::start(origin.address, ca);
    let target = |name, address, process| Target {
        name,
        address,
        process: Some(process),
        prefix: "",
    };
    let mut targets = vec![
        Target {
            prefix: HOST,
            ..target("gate", gate.address, gate.process)
        },
        target("hyper relay", relay.address, relay.process),
    ];
    match installed("nginx") {
        Some(program) => {
            for (name, buffers) in [("nginx", Buffers::Default), ("nginx 256k", Buffers::Big)] {
                let nginx = nginx::proxy(&program, &place, origin.address, ca.is_some(), buffers);
                targets.push(target(name, nginx.address, nginx.process));
            }
        }
        None => println!("nginx is not installed: the ratios are to the relay only.\n"),
    }
    if ca.is_none() {
        targets.push(Target {
            name: "origin itself",
            address: origin.address,
            process: None,
            prefix: "",
        });
    }
    targets
}

fn measure(title: &str, targets: &[Target], origin: &Origin, layers: &[Stored]) {
    if !is_selected(title) {
        return;
    }
    let names = || targets.iter().map(|target| target.name);
    let mut cpu = Figure::new(format!("{title}: CPU"), "CPU seconds per GiB").rows(names());
    let mut wall = Figure::new(format!("{title}: wall"), "seconds").rows(names());
    let rounds = rounds(9);
    // The first round is not counted, because caches fill and threads start in it.
    for round in 0..=rounds {
        for place in 0..targets.len() {
            let target = &targets[(round + place) % targets.len()];
            let process = target.process.as_ref().unwrap_or(&origin.process);
            let (before, started) = (process.cpu(), Instant::now());
            fetch_all(target, layers);
            let took = started.elapsed();
            // Closing a connection costs CPU time too. There is no event to wait for, so the bench waits a moment.
            std::thread::sleep(Duration::from_millis(20));
            if round > 0 {
                cpu.add(target.name, (process.cpu() - before).as_secs_f64());
                wall.add(target.name, took.as_secs_f64());
            }
        }
    }
    cpu.print(&["nginx", "hyper relay", "nginx 256k"]);
    wall.print(&["nginx", "hyper relay"]);
    if cpu.has("nginx") {
        goal(title, cpu.ratio("gate", "nginx"), 0.45, " x nginx");
    }
}

/// Fetches all layers at the same time, each on its own connection.
fn fetch_all(target: &Target, layers: &[Stored]) {
    std::thread::scope(|scope| {
        for layer in layers {
            scope.spawn(move || {
                let prefix = if target.prefix.is_empty() {
                    String::new()
                } else {
                    format!("{}/", target.prefix)
                };
                let path = format!("/v2/{prefix}{REPOSITORY}/blobs/{}", layer.digest);
                assert_eq!(Connection::open(target.address).fetch(&path), layer.size);
            });
        }
    });
}
