//! The measured gate: the `pullgated` of this build, with its own configuration.

use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::journal;
use super::process::{Process, free_address};
use super::signer::{Signer, stranger_pem};

/// The registry's host in image names. RFC 2606 reserves `.test`, so the host cannot exist.
pub const HOST: &str = "bench.test";

/// A running gate.
pub struct Gate {
    pub process: Process,
    pub address: SocketAddr,
    /// The time from the spawn to `READY=1`.
    pub took: Duration,
}

/// The variable parts of the gate's configuration.
pub struct Setup<'a> {
    /// The address at which the gate reaches [`HOST`].
    pub origin: SocketAddr,
    /// The origin's certificate, if the gate connects to it over TLS.
    pub ca: Option<&'a Path>,
    /// The signer whose key the configuration trusts.
    pub signer: &'a Signer,
    /// The total number of keys.
    pub keys: usize,
    /// The total number of rules.
    pub rules: usize,
}

impl<'a> Setup<'a> {
    pub fn in_front_of(origin: SocketAddr, signer: &'a Signer) -> Self {
        Self {
            origin,
            ca: None,
            signer,
            keys: 1,
            rules: 1,
        }
    }

    /// Writes the configuration and the keys. Returns the path of the configuration.
    pub fn write(&self, folder: &Path, listen: SocketAddr) -> PathBuf {
        std::fs::create_dir_all(folder.join("keys")).unwrap();
        std::fs::write(folder.join("keys/release.pem"), self.signer.public_pem()).unwrap();
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        let mut text = format!(
            "[daemon]\nstate = \"state\"\n[door.registry]\nlisten = \"{listen}\"\n[policy]\ndefault = \"reject\"\n\
             [[registry]]\nhost = \"{HOST}\"\nendpoint = \"{scheme}://{}\"\n",
            self.origin
        );
        if let Some(ca) = self.ca {
            writeln!(text, "ca = \"{}\"", ca.display()).unwrap();
        }
        text.push_str("[[key]]\nname = \"release\"\npublic_key = \"keys/release.pem\"\n");
        for number in 1..self.keys {
            std::fs::write(folder.join(format!("keys/{number}.pem")), stranger_pem()).unwrap();
            writeln!(
                text,
                "[[key]]\nname = \"key-{number}\"\npublic_key = \"keys/{number}.pem\""
            )
            .unwrap();
        }
        writeln!(
            text,
            "[[rule]]\nscope = \"{HOST}/**\"\nrequire = \"signed\"\nformats = [\"oracle\"]\nkeys = [\"release\"]"
        )
        .unwrap();
        for number in 1..self.rules {
            let key = match number % self.keys {
                0 => "release".to_owned(),
                number => format!("key-{number}"),
            };
            let scope = format!(
                "registry-{}.example/team-{}/project-{number}/**",
                number % 7,
                number % 40
            );
            writeln!(
                text,
                "[[rule]]\nscope = \"{scope}\"\nrequire = \"signed\"\nformats = [\"oracle\"]\nkeys = [\"release\", \"{key}\"]"
            )
            .unwrap();
        }
        // A rule may name a key only once.
        let text = text.replace("[\"release\", \"release\"]", "[\"release\"]");
        let file = folder.join("pullgate.toml");
        std::fs::write(&file, text).unwrap();
        file
    }
}

impl Gate {
    /// Starts the gate in its own folder and waits until it reports that it is ready.
    pub fn start(folder: &Path, setup: &Setup<'_>) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let address = free_address();
        let file = setup.write(folder, address);
        Self::start_with(folder, &file, address)
    }

    /// Starts the gate with an existing configuration.
    pub fn start_with(folder: &Path, file: &Path, address: SocketAddr) -> Self {
        let socket = folder.join("notify");
        if socket.exists() {
            std::fs::remove_file(&socket).unwrap();
        }
        let notify = UnixDatagram::bind(&socket).unwrap();
        notify.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut command = Process::command(env!("CARGO_BIN_EXE_pullgated"));
        let log = File::create(folder.join("log")).unwrap();
        if journal::is_selected() {
            command.env("JOURNAL_STREAM", journal::stream_of(&log));
        }
        command
            .arg("--config")
            .arg(file)
            .env("NOTIFY_SOCKET", &socket)
            .stdout(log);
        let started = Instant::now();
        let process = Process::spawn(&mut command);
        let mut message = [0; 4096];
        let length = notify.recv(&mut message).unwrap_or_else(|error| {
            panic!(
                "{error}:\n{}",
                std::fs::read_to_string(folder.join("log")).unwrap()
            )
        });
        let took = started.elapsed();
        assert!(
            message[..length]
                .split(|byte| *byte == b'\n')
                .any(|line| line == b"READY=1")
        );
        Self {
            process,
            address,
            took,
        }
    }

    /// Returns the path of a resource of the origin at the gate.
    pub fn path(repository: &str, kind: &str, name: &str) -> String {
        format!("/v2/{HOST}/{repository}/{kind}/{name}")
    }
}
