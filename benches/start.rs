//! Measures the time from spawn to READY with many keys and rules, and how the look-up of the effective rule grows with the
//! number of rules.
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

use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use pullgate::oci::Repository;
use pullgate::pull::policy::{
    DefaultAction, EffectiveRule, Generation, Mode, Pods, Policy, Requirement, Rule,
};
use support::figures::{Figure, goal};
use support::gate::{Gate, Setup};
use support::nginx::{self, Buffers};
use support::process::free_address;
use support::relay::Relay;
use support::signer::Signer;
use support::{installed, prepare, rounds};

fn main() {
    if !prepare("start") {
        return;
    }
    let rounds = rounds(31);
    start(rounds);
    look_up(rounds);
}

fn start(rounds: usize) {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::new(2048);
    // The daemon sends no request while it starts.
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
            ..Setup::in_front_of(origin, &signer)
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
        let started = Instant::now();
        drop(Relay::start(origin, None));
        add("hyper relay", started.elapsed().as_secs_f64() * 1e3);
        if let Some(program) = installed("nginx") {
            let started = Instant::now();
            let nginx = nginx::proxy(
                &program,
                &folder.path().join("1"),
                origin,
                false,
                Buffers::Default,
            );
            add("nginx", started.elapsed().as_secs_f64() * 1e3);
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

/// Looks up a different name each time, so that no result is in a cache of the CPU. A hash table of as many names shows how
/// much of the growth comes from slower memory.
fn look_up(rounds: usize) {
    let many = [10, 100, 1000, 10_000, 100_000];
    let tables = many.map(|rules| (policy(rules), names(rules)));
    let kinds = ["a rule applies", "no rule applies", "hash table"];
    let mut figures = many.map(|_| Figure::new("", "ns").rows(kinds));
    for round in 0..=rounds {
        for ((rules, (policy, names)), figure) in many.into_iter().zip(&tables).zip(&mut figures) {
            let known: Vec<Repository> = spread_names(rules, "app/web");
            // The host and the team are in the rules, the project is not.
            let unknown: Vec<Repository> = spread_names(rules, "web")
                .iter()
                .map(with_other_project)
                .collect();
            let applies = |name: &Repository| {
                matches!(
                    black_box(policy.effective_rule(black_box(name), None)),
                    EffectiveRule::Rule(_)
                )
            };
            let took = [
                each(&known, |name| assert!(applies(name))),
                each(&unknown, |name| assert!(!applies(name))),
                each(&known, |name| {
                    assert!(black_box(names.get(black_box(name))).is_some())
                }),
            ];
            if round > 0 {
                kinds
                    .iter()
                    .zip(took)
                    .for_each(|(kind, took)| figure.add(kind, took));
            }
        }
    }
    println!(
        "## The effective rule: one look-up, ns (medians)\n\n| rules | a rule applies | no rule applies | hash table of as many names | ratio |\n|---|---|---|---|---|"
    );
    for (rules, figure) in many.iter().zip(&figures) {
        let [applies, none, table] = kinds.map(|kind| figure.median(kind));
        let ratio = figure.ratio("a rule applies", "hash table");
        println!("| {rules} | {applies:.0} | {none:.0} | {table:.0} | {ratio:.1} |");
    }
    println!();
}

/// Returns the nanoseconds per name.
fn each(names: &[Repository], mut work: impl FnMut(&Repository)) -> f64 {
    let started = Instant::now();
    names.iter().for_each(&mut work);
    started.elapsed().as_secs_f64() * 1e9 / names.len() as f64
}

/// Returns names spread over all rules.
fn spread_names(rules: usize, rest: &str) -> Vec<Repository> {
    (0..4096_usize)
        .map(|call| name(call.wrapping_mul(7919) % rules, rest))
        .collect()
}

/// Returns the name with another project.
fn with_other_project(name: &Repository) -> Repository {
    Repository::new(name.registry(), &name.path().replace("/project-", "/other-")).unwrap()
}

fn names(rules: usize) -> HashMap<Repository, Arc<()>> {
    (0..rules)
        .map(|number| (name(number, "app/web"), Arc::new(())))
        .collect()
}

fn name(number: usize, rest: &str) -> Repository {
    let host = format!("registry-{}.example", number % 7);
    Repository::new(&host, &format!("team-{}/project-{number}/{rest}", number % 40)).unwrap()
}

/// Returns a policy in which half of the scopes end with `**`, a quarter contain `*`, and a quarter are exact names.
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
        Rule::new(
            scope.parse().unwrap(),
            Requirement::Reject,
            Mode::Enforce,
            Pods::default(),
        )
    });
    Policy::new(
        DefaultAction::Reject,
        rules.collect(),
        BTreeSet::new(),
        Vec::new(),
        Generation([0; 32]),
    )
    .unwrap()
}
