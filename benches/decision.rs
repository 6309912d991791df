//! Measures the requests to the origin, the time and the CPU time that the gate adds to a small pull from Debian's
//! docker-registry: cold (the gate has not seen the image before) and warm.
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

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::figures::{Figure, goal};
use support::gate::{Gate, HOST, Setup};
use support::http::Connection;
use support::image::{Image, Pushed, Store as _, put_signed};
use support::process::{Process, await_listener, free_address};
use support::relay::Relay;
use support::signer::Signer;
use support::{installed, prepare, rounds};

const REPOSITORY: &str = "acme/app";
/// The number of images for which requests are counted.
const COUNTED: usize = 10;

fn main() {
    if !prepare("decision") {
        return;
    }
    let Some(program) = installed("docker-registry") else {
        println!(
            "docker-registry is not installed (Debian has a package of that name): nothing is measured."
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(&program, folder.path());
    let signer = Signer::new(2048);
    let rounds = rounds(200);
    let mut store = Pushed::to(registry.address);
    let images: Vec<Image> = (0..rounds + COUNTED)
        .map(|number| {
            let layer = store.blob(
                REPOSITORY,
                format!("layer {number} {}", "x".repeat(60_000)).as_bytes(),
            );
            put_signed(&mut store, REPOSITORY, &format!("v{number}"), &[layer], &signer)
        })
        .collect();
    let (counted, images) = images.split_at(COUNTED);
    let gate = Gate::start(
        &folder.path().join("gate"),
        &Setup::in_front_of(registry.address, &signer),
    );
    let relay = Relay::start(registry.address, None);

    count(&registry, &gate, counted);

    let through = format!("{HOST}/{REPOSITORY}");
    let mut wall = Figure::new(
        "One pull (HEAD and GET of the manifest, config, layer): wall",
        "ms",
    );
    let mut cpu = Figure::new("One pull: CPU of the gate or relay", "ms");
    let mut origin = Figure::new("One pull: CPU of the origin", "ms");
    for (round, image) in images.iter().enumerate() {
        // Cold comes before warm: the second pull of one image is the warm one.
        let pulls: [(&str, SocketAddr, &str, Option<&Process>); 4] = [
            ("no gate", registry.address, REPOSITORY, None),
            ("gate, cold", gate.address, &through, Some(&gate.process)),
            ("hyper relay", relay.address, REPOSITORY, Some(&relay.process)),
            ("gate, warm", gate.address, &through, Some(&gate.process)),
        ];
        let order = if round % 2 == 0 {
            [0, 1, 2, 3]
        } else {
            [1, 2, 3, 0]
        };
        for (name, address, repository, process) in order.map(|place| pulls[place]) {
            let used = || process.map_or(Duration::ZERO, Process::cpu);
            let (before, origin_before) = (used(), registry.process.cpu());
            let took = pull(address, repository, image);
            // The gate writes its derivations after it has answered, and the pull pays for that too. There is no event
            // to wait for, so the bench waits a moment.
            std::thread::sleep(Duration::from_millis(10));
            wall.add(name, took.as_secs_f64() * 1e3);
            cpu.add(name, (used() - before).as_secs_f64() * 1e3);
            origin.add(name, (registry.process.cpu() - origin_before).as_secs_f64() * 1e3);
        }
    }
    wall.print(&["no gate", "hyper relay"]);
    cpu.print(&["hyper relay"]);
    origin.print(&["no gate", "hyper relay"]);
    for (name, peer) in [
        ("gate, cold", "no gate"),
        ("gate, warm", "no gate"),
        ("hyper relay", "no gate"),
        ("gate, warm", "hyper relay"),
    ] {
        println!(
            "{name} beside {peer}: {:+.2} ms wall, {:+.2} ms CPU of its own, {:+.2} ms CPU of the origin (medians of the differences)\n",
            wall.difference(name, peer),
            cpu.difference(name, peer),
            origin.difference(name, peer)
        );
    }
    goal(
        "cold, wall over a pull without a gate",
        wall.difference("gate, cold", "no gate"),
        3.0,
        " ms",
    );
    goal(
        "cold, CPU over a pull without a gate",
        cpu.difference("gate, cold", "no gate"),
        1.0,
        " ms",
    );
}

/// Pulls as a runtime does: the tag's digest, the manifest, then its blobs.
fn pull(address: SocketAddr, repository: &str, image: &Image) -> Duration {
    let started = Instant::now();
    let mut connection = Connection::open(address);
    decide(&mut connection, repository, image);
    for blob in std::iter::once(&image.config).chain(&image.layers) {
        assert_eq!(
            connection.fetch(&format!("/v2/{repository}/blobs/{}", blob.digest)),
            blob.size
        );
    }
    started.elapsed()
}

fn decide(connection: &mut Connection, repository: &str, image: &Image) {
    let accept = [("Accept", "application/vnd.oci.image.manifest.v1+json")];
    let head = connection.request_response(
        "HEAD",
        &format!("/v2/{repository}/manifests/{}", image.tag),
        &accept,
        b"",
    );
    assert_eq!(
        (head.status, head.header("docker-content-digest")),
        (200, Some(image.digest.as_str()))
    );
    let got = connection.request_response(
        "GET",
        &format!("/v2/{repository}/manifests/{}", image.digest),
        &accept,
        b"",
    );
    assert_eq!(
        got.status,
        200,
        "{}{}",
        got.head,
        String::from_utf8_lossy(&got.body)
    );
}

/// Counts the requests of each decision in the origin's own access log.
fn count(registry: &Registry, gate: &Gate, images: &[Image]) {
    let mut most = 0;
    for (number, image) in images.iter().enumerate() {
        let before = registry.requests().len();
        decide(
            &mut Connection::open(gate.address),
            &format!("{HOST}/{REPOSITORY}"),
            image,
        );
        settle();
        let requests = registry.requests().split_off(before);
        if number < 2 {
            let which = if number == 0 {
                "first after the start"
            } else {
                "next one"
            };
            println!(
                "Requests to the origin for a cold decision, the {which}: {}\n\n```\n{}\n```\n",
                requests.len(),
                requests.join("\n")
            );
        }
        if number > 0 {
            most = most.max(requests.len());
        }
        let warm = registry.requests().len();
        decide(
            &mut Connection::open(gate.address),
            &format!("{HOST}/{REPOSITORY}"),
            image,
        );
        settle();
        if number == 1 {
            println!("The same again, warm: {}\n", registry.requests().len() - warm);
        }
    }
    goal("requests to the origin for a cold decision", most as f64, 4.0, "");
}

/// Gives the registry time to write its access log, which it flushes without a signal to wait for.
fn settle() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Debian's docker-registry on loopback.
struct Registry {
    process: Process,
    address: SocketAddr,
    log: PathBuf,
}

impl Registry {
    fn start(program: &Path, folder: &Path) -> Self {
        let (address, log) = (free_address(), folder.join("registry.log"));
        let file = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: false}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
            folder.join("registry").display()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Process::command(program);
        command
            .arg("serve")
            .arg(&file)
            .stdout(File::create(&log).unwrap());
        command.stderr(File::create(folder.join("registry.err")).unwrap());
        let process = Process::spawn(&mut command);
        await_listener(address);
        Self {
            process,
            address,
            log,
        }
    }

    /// Returns the method and path of each request that the gate sent, in order.
    fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap();
        log.lines()
            .filter(|line| line.contains("\"pullgate/"))
            .filter_map(|line| Some(line.split_once('"')?.1.split_once(" HTTP")?.0.to_owned()))
            .collect()
    }
}
