//! What README, SECURITY and the pages below `docs/` say is held to the code: their configurations load, their tables
//! are the code's own lists, the files they show are those that are shipped, their links lead somewhere.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a page that cannot be read fails its test"
)]

#[path = "docs/commands.rs"]
mod commands;
#[path = "docs/configuration.rs"]
mod configuration;
#[path = "docs/markdown.rs"]
mod markdown;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use markdown::{page, pages, root};
use prometheus_client::registry::Registry;
use pullgate::base::limits;
use pullgate::base::reason::Reason;
use pullgate::pull::record::{Decision, DecisionOutcome, Recorder};
use pullgate::pull::request::DoorName;
use tracing_subscriber::layer::SubscriberExt as _;

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        for (line, target) in page.links() {
            let place = format!("{}:{line}: {target}", page.path.display());
            if target.starts_with("https://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if path.is_empty() {
                page.path.clone()
            } else {
                page.path.parent().unwrap().join(path)
            };
            assert!(root().join(&path).is_file(), "{place}: no such file");
            if !anchor.is_empty() {
                let anchors = markdown::page(&path).anchors();
                assert!(
                    anchors.iter().any(|known| known == anchor),
                    "{place}: there is {anchors:?}"
                );
            }
        }
    }
}

#[test]
fn files_are_shown_as_they_are_shipped() {
    let mut shown = BTreeSet::new();
    for page in pages() {
        let marked = page
            .prose
            .iter()
            .filter(|(_, line)| line.starts_with("<!-- file: "))
            .count();
        let blocks: Vec<_> = page
            .blocks
            .iter()
            .filter(|block| block.shipped.is_some())
            .collect();
        assert_eq!(
            blocks.len(),
            marked,
            "{}: a mark without its block",
            page.path.display()
        );
        for block in blocks {
            let path = block.shipped.as_deref().unwrap();
            let shipped = std::fs::read_to_string(root().join(path)).unwrap();
            assert_eq!(block.text, shipped, "{}: {} differs", block.place, path.display());
            shown.insert(path.to_owned());
        }
    }
    assert!(shown.len() >= 3, "{shown:?}");
}

#[test]
fn the_files_that_commands_name_are_there() {
    let mut named = 0;
    for page in pages() {
        let code = page
            .inline_code()
            .into_iter()
            .map(|(line, text)| (format!("{}:{line}", page.path.display()), text));
        let blocks = page
            .blocks
            .iter()
            .map(|block| (block.place.clone(), block.text.clone()));
        for (place, text) in code.chain(blocks) {
            for word in text
                .split_whitespace()
                .filter(|word| word.starts_with("packaging/"))
            {
                assert!(root().join(word).exists(), "{place}: there is no {word}");
                named += 1;
            }
        }
    }
    assert!(named >= 6, "{named}");
}

#[test]
fn every_reason_has_its_line_in_order() {
    let rows = page(Path::new("docs/reasons.md")).table("# Why a pull was blocked");
    let documented: Vec<_> = rows
        .iter()
        .map(|row| (row[0].trim_matches('`'), row[2].as_str()))
        .collect();
    let real: Vec<_> = Reason::ALL
        .iter()
        .map(|reason| (reason.code(), reason.next_step()))
        .collect();
    assert_eq!(documented, real);
    for row in &rows {
        assert!(row[1].ends_with('.') && row[1].len() > 20, "{row:?}");
    }
}

#[test]
fn reasons_that_may_pass_are_named() {
    let page = page(Path::new("docs/reasons.md"));
    let prose = page
        .prose
        .iter()
        .map(|(_, line)| line.as_str())
        .collect::<Vec<_>>()
        .join(" ");
    let (list, _) = prose.split_once(" mean \"could not tell\"").unwrap();
    let list = list.rsplit(" | ").next().unwrap();
    let named: BTreeSet<&str> = list.split('`').skip(1).step_by(2).collect();
    let real: BTreeSet<&str> = Reason::ALL
        .iter()
        .filter(|reason| reason.retryable())
        .map(|reason| reason.code())
        .collect();
    assert_eq!(named, real);
}

#[test]
fn codes_that_pages_name_exist() {
    // What looks like a code in the log's and the metrics' spelling.
    let codes: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    for page in pages() {
        for block in &page.blocks {
            for (_, rest) in block
                .text
                .match_indices("pullgate: ")
                .map(|(at, found)| block.text.split_at(at + found.len()))
            {
                let code = rest.split([':', ' ']).next().unwrap();
                assert!(codes.contains(code), "{}: `{code}` is no reason", block.place);
            }
            for (_, rest) in block
                .text
                .match_indices("reason=~\"")
                .map(|(at, found)| block.text.split_at(at + found.len()))
            {
                for code in rest.split('"').next().unwrap().split('|') {
                    assert!(codes.contains(code), "{}: `{code}` is no reason", block.place);
                }
            }
        }
    }
}

#[test]
fn fixed_bounds_are_those_of_the_code() {
    let page = page(Path::new("docs/configuration.md"));
    let prose = page
        .prose
        .iter()
        .map(|(_, line)| line.as_str())
        .collect::<Vec<_>>()
        .join(" ");
    for sentence in [
        format!(
            "a manifest has at most {} MiB and {} parts, a signature record {} KiB, an image {} records that are looked \
             at, on {} pages",
            limits::MANIFEST_BYTES >> 20,
            limits::CHILDREN,
            limits::RECORD_BYTES >> 10,
            limits::CANDIDATES,
            limits::REFERRER_PAGES
        ),
        format!(
            "on which no byte moves for {} seconds is cut",
            limits::BLOB_IDLE.as_secs()
        ),
    ] {
        assert!(
            prose.contains(&sentence),
            "docs/configuration.md does not say: {sentence}"
        );
    }
}

#[test]
fn every_metric_is_named() {
    let rows = page(Path::new("docs/operating.md")).table("## Metrics");
    let documented: BTreeSet<String> = rows
        .iter()
        .map(|row| {
            let name = row[0].trim_matches('`').strip_prefix("pullgate_").unwrap();
            // The encoder adds these to counters and to what says something about the process.
            let plain = name.strip_suffix("_total").or_else(|| name.strip_suffix("_info"));
            plain.unwrap_or(name).to_owned()
        })
        .collect();
    assert_eq!(documented, registered(&root().join("src")));
}

/// The names that the sources give to metrics: the first text after `register(`.
fn registered(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.append(&mut registered(&path));
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            for (at, call) in text.match_indices(".register(") {
                let name = text[at + call.len()..].trim_start().strip_prefix('"');
                names.extend(name.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }
    names
}

#[test]
fn every_field_of_a_log_line_is_named() {
    let rows = page(Path::new("docs/operating.md")).table("## The log");
    let documented: BTreeSet<String> = rows
        .iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    let seen = Seen::default();
    let log = tracing_subscriber::registry().with(seen.clone());
    tracing::subscriber::with_default(log, || {
        let reference = "registry.example/shop/web:1.4".parse().unwrap();
        Recorder::new(&mut Registry::default()).record_pull(&Decision {
            door: DoorName::new("registry"),
            peer: "127.0.0.1:1",
            reference: &reference,
            digest: None,
            rule: "registry.example/shop/**",
            outcome: DecisionOutcome::Deny(Reason::Unsigned),
            detail: "no signature found (looked in: referrers, directory)",
            cached: false,
            elapsed: Duration::ZERO,
        });
    });
    let fields = seen.0.lock().unwrap();
    let names: BTreeSet<String> = fields.keys().filter(|name| *name != "MESSAGE").cloned().collect();
    assert_eq!(documented, names);
    let shown = &page(Path::new("docs/operating.md")).blocks;
    let message = &fields["MESSAGE"];
    assert!(
        shown
            .iter()
            .any(|block| block.text.lines().any(|line| line == message)),
        "{message}"
    );
}

/// The fields of events, by their names as the journal spells them (tracing-journald, `Layer`).
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Seen {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        event.record(
            &mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                let name = field.name().replace('.', "_").to_uppercase();
                self.0.lock().unwrap().insert(name, format!("{value:?}"));
            },
        );
    }
}

#[test]
fn the_unit_is_what_the_pages_say_of_it() {
    let unit = std::fs::read_to_string(root().join("packaging/systemd/pullgated.service")).unwrap();
    let page = page(Path::new("docs/operating.md"));
    let paths: BTreeSet<String> = page
        .table("## What is on the node")
        .iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    let started = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    for word in started.split(' ').filter(|word| word.starts_with('/')) {
        assert!(paths.contains(word), "docs/operating.md does not name {word}");
    }
    let prose = page
        .prose
        .iter()
        .map(|(_, line)| line.as_str())
        .collect::<Vec<_>>()
        .join(" ");
    for (setting, sentence) in [
        ("User=pullgate", "runs as its own user, `pullgate`"),
        (
            "StateDirectory=pullgate",
            "It writes to `/var/lib/pullgate` and nowhere else",
        ),
        (
            "ProtectHome=yes",
            "Home directories and the machine's `/tmp` are out of its reach",
        ),
        (
            "PrivateTmp=yes",
            "Home directories and the machine's `/tmp` are out of its reach",
        ),
        (
            "RestartPreventExitStatus=78",
            "Exit status 78 means that the configuration does not load",
        ),
        ("RestartSec=1", "systemd tries again each second"),
        (
            "config check",
            "`systemctl reload` runs `pullgate config check` first",
        ),
        (
            "Before=containerd.service crio.service docker.service kubelet.service",
            "starts before containerd, CRI-O, Docker and the kubelet",
        ),
    ] {
        assert!(unit.contains(setting), "the unit has no {setting}: {sentence}");
        assert!(
            prose.contains(sentence),
            "docs/operating.md does not say: {sentence}"
        );
    }
}

#[test]
fn the_readme_names_the_rust_that_is_needed() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let wanted = format!("Rust {} or newer", env!("CARGO_PKG_RUST_VERSION"));
    assert!(readme.contains(&wanted), "{wanted}");
}
