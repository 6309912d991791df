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

/// Names are asked in turn, so that no cache of the CPU holds the answer to one. A hash table of as many names shows
/// what of the growth is memory that is further away.
fn look_up(rounds: usize) {
    let many = [10, 100, 1000, 10_000, 100_000];
    let tables = many.map(|rules| (policy(rules), names(rules)));
    let kinds = ["a rule speaks", "none speaks", "hash table"];
    let mut figures = many.map(|_| Figure::new("", "ns").rows(kinds));
    for round in 0..=rounds {
        for ((rules, (policy, names)), figure) in many.into_iter().zip(&tables).zip(&mut figures) {
            let known: Vec<Repository> = asked(rules, "app/web");
            // Host and team are known, the project is not.
            let unknown: Vec<Repository> = asked(rules, "web").iter().map(beside).collect();
            let speaks = |name: &Repository| {
                matches!(
                    black_box(policy.effective_rule(black_box(name), None)),
                    EffectiveRule::Rule(_)
                )
            };
            let took = [
                each(&known, |name| assert!(speaks(name))),
                each(&unknown, |name| assert!(!speaks(name))),
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
        "## Which rule speaks: one look-up, ns (medians)\n\n| rules | a rule speaks | none speaks | hash table of as many names | ratio |\n|---|---|---|---|---|"
    );
    for (rules, figure) in many.iter().zip(&figures) {
        let [speaks, none, table] = kinds.map(|kind| figure.median(kind));
        let ratio = figure.ratio("a rule speaks", "hash table");
        println!("| {rules} | {speaks:.0} | {none:.0} | {table:.0} | {ratio:.1} |");
    }
    println!();
}

/// Nanoseconds for one.
fn each(names: &[Repository], mut work: impl FnMut(&Repository)) -> f64 {
    let began = Instant::now();
    names.iter().for_each(&mut work);
    began.elapsed().as_secs_f64() * 1e9 / names.len() as f64
}

/// Names spread over all rules.
fn asked(rules: usize, rest: &str) -> Vec<Repository> {
    (0..4096_usize)
        .map(|call| name(call.wrapping_mul(7919) % rules, rest))
        .collect()
}

/// The same name with another project.
fn beside(name: &Repository) -> Repository {
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
