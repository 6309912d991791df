//! Compares README, SECURITY and the pages below `docs/` with the code: their configurations load, their tables equal the
//! code's own lists, the files that they show are the shipped files, and the targets of their links exist.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic fails the test of a page that cannot be read"
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
fn the_target_of_every_link_exists() {
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
            assert!(root().join(&path).is_file(), "{place}: the file does not exist");
            if !anchor.is_empty() {
                let anchors = markdown::page(&path).anchors();
                assert!(
                    anchors.iter().any(|known| known == anchor),
                    "{place}: the page has only the anchors {anchors:?}"
                );
            }
        }
    }
}

#[test]
fn shown_files_equal_the_shipped_files() {
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
            "{}: a `<!-- file: … -->` comment without a block below it",
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
fn files_named_in_commands_exist() {
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
                assert!(root().join(word).exists(), "{place}: {word} does not exist");
                named += 1;
            }
        }
    }
    assert!(named >= 6, "{named}");
}

#[test]
fn the_table_of_reasons_equals_the_list_in_the_code() {
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
fn the_retryable_reasons_are_listed() {
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
fn the_codes_that_pages_name_exist() {
    // The texts that look like a reason code in a log line or in a metric.
    let codes: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    for page in pages() {
        for block in &page.blocks {
            for (_, rest) in block
                .text
                .match_indices("pullgate: ")
                .map(|(at, found)| block.text.split_at(at + found.len()))
            {
                let code = rest.split([':', ' ']).next().unwrap();
                assert!(codes.contains(code), "{}: `{code}` is not a reason", block.place);
            }
            for (_, rest) in block
                .text
                .match_indices("reason=~\"")
                .map(|(at, found)| block.text.split_at(at + found.len()))
            {
                for code in rest.split('"').next().unwrap().split('|') {
                    assert!(codes.contains(code), "{}: `{code}` is not a reason", block.place);
                }
            }
        }
    }
}

#[test]
fn the_fixed_bounds_equal_those_of_the_code() {
    let page = page(Path::new("docs/configuration.md"));
    let prose = page
        .prose
        .iter()
        .map(|(_, line)| line.as_str())
        .collect::<Vec<_>>()
        .join(" ");
    for sentence in [
        format!(
            "a manifest has at most {} MiB and {} parts, and a signature record at most {} KiB. The gate examines at most \
             {} records of an image in each place, on at most {} pages",
            limits::MANIFEST_BYTES >> 20,
            limits::CHILDREN,
            limits::RECORD_BYTES >> 10,
            limits::CANDIDATES,
            limits::REFERRER_PAGES
        ),
        format!(
            "It cuts a layer on which no byte moves for {} seconds",
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
fn every_metric_is_documented() {
    let rows = page(Path::new("docs/operating.md")).table("## Metrics");
    let documented: BTreeSet<String> = rows
        .iter()
        .map(|row| {
            let name = row[0].trim_matches('`').strip_prefix("pullgate_").unwrap();
            // The encoder adds these suffixes to counters and to `info` metrics.
            let plain = name.strip_suffix("_total").or_else(|| name.strip_suffix("_info"));
            plain.unwrap_or(name).to_owned()
        })
        .collect();
    assert_eq!(documented, registered(&root().join("src")));
}

/// Returns the names of the metrics in the sources: the first text after `register(`.
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
fn every_field_of_a_log_line_is_documented() {
    let rows = page(Path::new("docs/operating.md")).table("## The log");
    let documented: BTreeSet<String> = rows
        .iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    let captured = CapturedFields::default();
    let log = tracing_subscriber::registry().with(captured.clone());
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
    let fields = captured.0.lock().unwrap();
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

/// The fields of events, under the names that they have in the journal (tracing-journald, `Layer`).
#[derive(Clone, Default)]
struct CapturedFields(Arc<Mutex<BTreeMap<String, String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for CapturedFields {
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
fn the_pages_describe_the_unit_as_it_is() {
    let unit = std::fs::read_to_string(root().join("packaging/systemd/pullgated.service")).unwrap();
    let page = page(Path::new("docs/operating.md"));
    let paths: BTreeSet<String> = page
        .table("## Files on the node")
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
            "It cannot reach home directories and the machine's `/tmp`",
        ),
        (
            "PrivateTmp=yes",
            "It cannot reach home directories and the machine's `/tmp`",
        ),
        (
            "RestartPreventExitStatus=78",
            "Exit status 78 means that the configuration does not load",
        ),
        ("RestartSec=1", "systemd restarts the daemon each second"),
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
fn the_readme_names_the_required_rust_version() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let wanted = format!("Rust {} or newer", env!("CARGO_PKG_RUST_VERSION"));
    assert!(readme.contains(&wanted), "{wanted}");
}
