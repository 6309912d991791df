//! From the spawn to READY with many keys and rules, and the look-up of the rule that speaks as rules become many.
#![allow(
    clippy::as_conversions,
    clippy::exit,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench that cannot go on must stop on the spot, and prints what it found"
)]
#![allow(missing_docs, unreachable_pub, reason = "nobody but this bench uses it")]

#[path = "support/support.rs"]
mod support;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use pullgate::oci::Repository;
use pullgate::policy::{Default, Generation, Mode, Policy, Requirement, Rule, Ruling};
use support::figures::{Figure, goal};
use support::gate::{Gate, Setup};
use support::nginx::{self, Buffers};
use support::process::free_address;
use support::relay::Relay;
use support::signer::Signer;
use support::{begin, installed, rounds};

fn main() {
    if !begin("start") {
        return;
    }
    let rounds = rounds(31);
    start(rounds);
    look_up(rounds);
}

fn start(rounds: usize) {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::new(2048);
    // Nobody is asked at the start.
    let origin = SocketAddr::from(([127, 0, 0, 1], 9));
    let configurations = [
        ("gate, 1 key, 1 rule", 1, 1),
        ("gate, 100 keys, 1000 rules", 100, 1000),
    ]
    .map(|(name, keys, rules)| {
        let (place, address) = (folder.path().join(rules.to_string()), free_address());
        std::fs::create_dir(&place).unwrap();
        let file = Setup {
            keys,
            rules,
            ..Setup::before(origin, &signer)
        }
        .write(&place, address);
        (name, place, file, address)
    });
    let mut figure = Figure::new("From the spawn to READY (nginx, relay: until it listens)", "ms");
    for round in 0..=rounds {
        let mut add = |name: &str, milliseconds: f64| {
            if round > 0 {
                figure.add(name, milliseconds);
            }
        };
        for (name, place, file, address) in &configurations {
            add(
                name,
                Gate::start_with(place, file, *address).took.as_secs_f64() * 1e3,
            );
        }
        let began = Instant::now();
        drop(Relay::start(origin, None));
        add("hyper relay", began.elapsed().as_secs_f64() * 1e3);
        if let Some(program) = installed("nginx") {
            let began = Instant::now();
            let nginx = nginx::proxy(
                &program,
                &folder.path().join("1"),
                origin,
                false,
                Buffers::Default,
            );
            add("nginx", began.elapsed().as_secs_f64() * 1e3);
            let place = folder
                .path()
                .join(format!("1/nginx-default-{}", nginx.address.port()));
            drop(nginx);
            std::fs::remove_dir_all(place).unwrap();
        }
    }
    figure.print(&["nginx", "hyper relay"]);
    goal(
        "start with 100 keys and 1000 rules",
        figure.median("gate, 100 keys, 1000 rules"),
        50.0,
        " ms",
    );
}

/// Names are asked in turn, so that no cache of the CPU holds the answer to one.
fn look_up(rounds: usize) {
    const CALLS: usize = 4096;
    let many = [10, 100, 1000, 10_000, 100_000];
    let policies = many.map(policy);
    let mut figure = Figure::new("Which rule speaks: one look-up", "ns");
    for round in 0..=rounds {
        for (rules, policy) in many.into_iter().zip(&policies) {
            for (kind, matches) in [("a rule", true), ("none", false)] {
                let names: Vec<Repository> = (0..CALLS)
                    .map(|call| {
                        name(
                            call.wrapping_mul(7919) % rules,
                            if matches { "app/web" } else { "no" },
                            matches,
                        )
                    })
                    .collect();
                let began = Instant::now();
                for name in &names {
                    assert_eq!(
                        matches!(black_box(policy.ruling(black_box(name))), Ruling::Rule(_)),
                        matches
                    );
                }
                let took = began.elapsed().as_secs_f64() * 1e9 / CALLS as f64;
                if round > 0 {
                    figure.add(&format!("{rules} rules, {kind} speaks"), took);
                }
            }
        }
    }
    figure.print(&["10 rules, a rule speaks"]);
    goal(
        "look-up among 100 000 rules",
        figure.ratio("100000 rules, a rule speaks", "10 rules, a rule speaks"),
        10.0,
        " x that among 10",
    );
}

fn name(number: usize, rest: &str, matches: bool) -> Repository {
    let team = if matches { "team" } else { "guild" };
    Repository::new(
        &format!("registry-{}.example", number % 7),
        &format!("{team}-{}/project-{number}/{rest}", number % 40),
    )
    .unwrap()
}

/// Half of the rules end with `**`, a quarter have `*` inside, a quarter is written out.
fn policy(rules: usize) -> Policy {
    let rules = (0..rules).map(|number| {
        let scope = match number % 4 {
            0 => format!(
                "registry-{}.example/team-{}/project-{number}/app/web",
                number % 7,
                number % 40
            ),
            1 => format!(
                "registry-{}.example/team-{}/project-{number}/*/web",
                number % 7,
                number % 40
            ),
            _ => format!(
                "registry-{}.example/team-{}/project-{number}/**",
                number % 7,
                number % 40
            ),
        };
        Rule {
            scope: scope.parse().unwrap(),
            requirement: Requirement::Reject,
            mode: Mode::Enforce,
        }
    });
    Policy::new(
        Default::Reject,
        rules.collect(),
        BTreeSet::new(),
        Vec::new(),
        Generation([0; 32]),
    )
    .unwrap()
}
