//! Measures the CPU time per request and the latency of manifests under a warm verdict, beside a minimal reverse proxy in
//! Rust.
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

use support::figures::{Figure, goal, quantile};
use support::gate::{Gate, Setup};
use support::http::Connection;
use support::image::{Tree, put_signed};
use support::nginx::{self, Buffers};
use support::origin::Origin;
use support::process::Process;
use support::relay::Relay;
use support::signer::Signer;
use support::{installed, is_selected, prepare, rounds};

const REPOSITORY: &str = "acme/app";
const CLIENTS: usize = 16;
/// The number of requests that one client sends in a round.
const REQUESTS: usize = 400;

fn main() {
    if !prepare("manifests") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let (signer, mut tree) = (Signer::new(2048), Tree(&root));
    // Many images have ten layers: a manifest of 2 KiB.
    let layers: Vec<_> = (0..10)
        .map(|number| tree.sparse(REPOSITORY, number, 1024))
        .collect();
    let image = put_signed(&mut tree, REPOSITORY, "latest", &layers, &signer);
    // One image for each client, for the case that every pull is of a different image.
    let others: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let own = tree.sparse(REPOSITORY, 1000 + number as u64, 1024);
            let layers: Vec<_> = layers.iter().skip(1).cloned().chain([own]).collect();
            put_signed(&mut tree, REPOSITORY, &format!("v{number}"), &layers, &signer)
        })
        .collect();
    let origin = Origin::start(folder.path(), &root, None).expect("an origin over plain HTTP");
    let gate = Gate::start(
        &folder.path().join("gate"),
        &Setup::in_front_of(origin.address, &signer),
    );
    let relay = Relay::start(origin.address, None);
    let nginx = installed("nginx")
        .map(|program| nginx::proxy(&program, folder.path(), origin.address, false, Buffers::Default));

    let direct = |name: &str| format!("/v2/{REPOSITORY}/manifests/{name}");
    let through = |name: &str| Gate::path(REPOSITORY, "manifests", name);
    let tags = || others.iter().map(|image| image.tag.as_str());
    let mut targets = vec![
        Target::new("gate, by tag", gate.address, &gate.process, through(&image.tag)),
        Target {
            paths: tags().map(through).collect(),
            ..Target::new("gate, by 16 tags", gate.address, &gate.process, String::new())
        },
        Target::new(
            "gate, by digest",
            gate.address,
            &gate.process,
            through(&image.digest),
        ),
        Target::new("hyper relay", relay.address, &relay.process, direct(&image.tag)),
        Target {
            paths: tags().map(direct).collect(),
            ..Target::new(
                "hyper relay, 16 tags",
                relay.address,
                &relay.process,
                String::new(),
            )
        },
    ];
    match &nginx {
        Some(nginx) => targets.push(Target::new(
            "nginx",
            nginx.address,
            &nginx.process,
            direct(&image.tag),
        )),
        None => println!("nginx is not installed: the ratios are to the relay only.\n"),
    }
    targets.push(Target::new(
        "origin itself",
        origin.address,
        &origin.process,
        direct(&image.tag),
    ));

    targets.retain(|target| is_selected(target.name));

    let title = |what: &str| format!("A manifest under a warm verdict, {CLIENTS} clients: {what}");
    let names = || targets.iter().map(|target| target.name);
    let mut cpu = Figure::new(title("CPU"), "us per request").rows(names());
    let mut p50 = Figure::new(title("p50"), "us").rows(names());
    let mut p99 = Figure::new(title("p99"), "us").rows(names());
    let mut alone = Figure::new("One client: p50", "us").rows(names());
    for round in 0..=rounds(15) {
        for place in 0..targets.len() {
            let target = &targets[(round + place) % targets.len()];
            let before = target.process.cpu();
            let mut took = load(target, CLIENTS, REQUESTS);
            let used = (target.process.cpu() - before).as_secs_f64();
            let mut one = load(target, 1, REQUESTS);
            // The first round is not counted, because connections are opened and the verdict is found in it.
            if round > 0 {
                cpu.add(target.name, used * 1e6 / took.len() as f64);
                p50.add(target.name, quantile(&mut took, 0.5));
                p99.add(target.name, quantile(&mut took, 0.99));
                alone.add(target.name, quantile(&mut one, 0.5));
            }
        }
    }
    for figure in [&cpu, &p50, &p99, &alone] {
        figure.print(&["hyper relay", "nginx"]);
    }
    for (target, peer) in [
        ("gate, by tag", "hyper relay"),
        ("gate, by 16 tags", "hyper relay, 16 tags"),
        ("gate, by digest", "hyper relay"),
    ] {
        if !(cpu.has(target) && cpu.has(peer)) {
            continue;
        }
        goal(
            &format!("CPU per request, {target}"),
            cpu.ratio(target, peer),
            1.3,
            " x relay",
        );
        goal(
            &format!("p99, {target}"),
            p99.ratio(target, peer),
            2.0,
            " x relay",
        );
    }
}

struct Target<'a> {
    name: &'static str,
    address: SocketAddr,
    process: &'a Process,
    /// The paths that the clients request, assigned in turn.
    paths: Vec<String>,
}

impl<'a> Target<'a> {
    fn new(name: &'static str, address: SocketAddr, process: &'a Process, path: String) -> Self {
        Self {
            name,
            address,
            process,
            paths: vec![path],
        }
    }
}

/// Returns the microseconds of each request. Every client sends its requests one after the other on one connection.
fn load(target: &Target<'_>, clients: usize, requests: usize) -> Vec<f64> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                let path = &target.paths[client % target.paths.len()];
                scope.spawn(move || {
                    let mut connection = Connection::open(target.address);
                    let ask = |_| {
                        let started = Instant::now();
                        connection.fetch(path);
                        started.elapsed()
                    };
                    (0..requests)
                        .map(ask)
                        .map(|took: Duration| took.as_secs_f64() * 1e6)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    })
}
