//! The log writer of the measured gate. With `cargo bench --bench manifests -- --journal` the gate logs to the journal, as it
//! does under its systemd unit. Otherwise it writes JSON lines to a file.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// The socket that `tracing-journald` sends to. The library fixes its path.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Returns whether the gate is to log to the journal.
pub fn is_selected() -> bool {
    std::env::args().any(|argument| argument == "--journal")
}

/// Returns the name of the log writer, for the head of the results.
pub fn log_writer() -> &'static str {
    if is_selected() { "journal" } else { "JSON lines" }
}

/// Returns the value of `JOURNAL_STREAM` for a process with this standard output (systemd.exec(5)).
pub fn stream_of(output: &File) -> String {
    let metadata = output.metadata().unwrap();
    format!("{}:{}", metadata.dev(), metadata.ino())
}

/// Makes sure that something receives the journal's messages. On a machine without journald, such as a container, the bench
/// receives and drops them itself, for which it needs the right to create the socket. The receiver runs in the bench's
/// process, so its CPU time is not counted as the gate's.
pub fn open_if_selected() {
    let socket = Path::new(SOCKET);
    if !is_selected() || UnixDatagram::unbound().unwrap().send_to(b"", socket).is_ok() {
        return;
    }
    // The folder exists only if systemd runs (sd_booted(3)). Its sockets are not the bench's to replace.
    assert!(
        !Path::new("/run/systemd/system").exists(),
        "journald does not accept messages at {SOCKET}"
    );
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    // Without systemd, a socket that refuses messages is the leftover of an earlier bench.
    let _no_leftover = std::fs::remove_file(socket);
    let receiver =
        UnixDatagram::bind(socket).unwrap_or_else(|error| panic!("could not bind {SOCKET}: {error}"));
    std::thread::spawn(move || while receiver.recv(&mut [0; 64 * 1024]).is_ok() {});
}
