//! The parts that the benches share: the gate as a real process, its peers, clients that load them, and figures that are
//! compared only within one interleaved run.
#![allow(dead_code, reason = "each bench uses only a part of this module")]

pub mod figures;
pub mod gate;
pub mod http;
pub mod image;
pub mod journal;
pub mod nginx;
pub mod origin;
pub mod process;
pub mod relay;
pub mod signer;
pub mod tls;

use std::path::PathBuf;

/// Runs the role that the parent process selected for this process and does not return from it. Otherwise returns whether to
/// measure: `cargo test` must never time anything.
pub fn prepare(name: &str) -> bool {
    relay::serve_if_selected();
    origin::serve_if_selected();
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("{name}: run `cargo bench --bench {name}` to measure");
        return false;
    }
    journal::open_if_selected();
    println!(
        "# {name}\n\n{}; log writer: {}\n",
        machine(),
        journal::log_writer()
    );
    true
}

/// Returns the number of rounds: the default, or the argument of `cargo bench --bench blobs -- --rounds 21`.
pub fn rounds(default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds");
    arguments.nth(1).map_or(default, |rounds| {
        rounds.parse().expect("`--rounds` takes a number")
    })
}

/// Returns the path of a program if it is installed.
pub fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = model.map_or("", |(_, model)| model);
    format!(
        "{model}, {cores} cores, Linux {}",
        read("/proc/sys/kernel/osrelease").trim()
    )
}

/// Returns whether to measure this part: all, or those that `cargo bench --bench blobs -- --only TLS` selects.
pub fn is_selected(title: &str) -> bool {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--only");
    arguments.nth(1).is_none_or(|only| title.contains(&only))
}
