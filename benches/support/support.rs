//! What the benches stand on: the gate as a real process, its peers beside it, clients that load them, and figures
//! that are compared only within one interleaved run.
#![allow(dead_code, reason = "each bench uses a part")]

pub mod figures;
pub mod gate;
pub mod http;
pub mod image;
pub mod nginx;
pub mod origin;
pub mod process;
pub mod relay;
pub mod signer;
pub mod tls;

use std::path::PathBuf;

/// Plays the part that a parent gave this process, and does not come back from it; else says whether to measure:
/// `cargo test` must never time anything.
pub fn begin(name: &str) -> bool {
    relay::serve_if_asked();
    origin::serve_if_asked();
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("{name}: measured by `cargo bench --bench {name}` alone");
        return false;
    }
    println!("# {name}\n\n{}\n", machine());
    true
}

/// How often everything is measured: `cargo bench --bench blobs -- --rounds 21`.
pub fn rounds(known: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds");
    arguments
        .nth(1)
        .map_or(known, |rounds| rounds.parse().expect("`--rounds` takes a number"))
}

/// A program of this machine, if it is installed.
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

/// Whether this part is asked for: `cargo bench --bench blobs -- --only TLS`.
pub fn asked_for(title: &str) -> bool {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--only");
    arguments.nth(1).is_none_or(|only| title.contains(&only))
}
