//! The gate under measure: the `pullgated` of this build, with a configuration of its own.

use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::process::{Process, free_address};
use super::signer::{Signer, stranger_pem};

/// The registry's host as it stands in image names; no such host exists (RFC 2606).
pub const HOST: &str = "bench.test";

/// A running gate.
pub struct Gate {
    pub process: Process,
    pub address: SocketAddr,
    /// From the spawn to its `READY=1`.
    pub took: Duration,
}

/// What its configuration says beside its door.
pub struct Setup<'a> {
    /// Where [`HOST`] is reached.
    pub origin: SocketAddr,
    /// Its certificate, where it is reached over TLS.
    pub ca: Option<&'a Path>,
    /// Who signs.
    pub signer: &'a Signer,
    /// How many keys there are in all.
    pub keys: usize,
    /// How many rules there are in all.
    pub rules: usize,
}

impl<'a> Setup<'a> {
    pub fn before(origin: SocketAddr, signer: &'a Signer) -> Self {
        Self {
            origin,
            ca: None,
            signer,
            keys: 1,
            rules: 1,
        }
    }

    /// Writes the configuration and the keys; the configuration's file.
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
        // A key is named once.
        let text = text.replace("[\"release\", \"release\"]", "[\"release\"]");
        let file = folder.join("pullgate.toml");
        std::fs::write(&file, text).unwrap();
        file
    }
}

impl Gate {
    /// Starts the gate in a folder of its own and waits until it says that it is ready.
    pub fn start(folder: &Path, setup: &Setup<'_>) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let address = free_address();
        let file = setup.write(folder, address);
        Self::start_with(folder, &file, address)
    }

    /// Starts it with a configuration that was written before.
    pub fn start_with(folder: &Path, file: &Path, address: SocketAddr) -> Self {
        let socket = folder.join("notify");
        if socket.exists() {
            std::fs::remove_file(&socket).unwrap();
        }
        let notify = UnixDatagram::bind(&socket).unwrap();
        notify.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut command = Process::command(env!("CARGO_BIN_EXE_pullgated"));
        // Its log goes to a file, as that of a service goes to the journal.
        command
            .arg("--config")
            .arg(file)
            .env("NOTIFY_SOCKET", &socket)
            .stdout(File::create(folder.join("log")).unwrap());
        let began = Instant::now();
        let process = Process::spawn(&mut command);
        let mut said = [0; 4096];
        let length = notify.recv(&mut said).unwrap_or_else(|error| {
            panic!(
                "{error}:\n{}",
                std::fs::read_to_string(folder.join("log")).unwrap()
            )
        });
        let took = began.elapsed();
        assert!(
            said[..length]
                .split(|byte| *byte == b'\n')
                .any(|line| line == b"READY=1")
        );
        Self {
            process,
            address,
            took,
        }
    }

    /// A path of the origin as it is asked of the gate.
    pub fn path(repository: &str, kind: &str, name: &str) -> String {
        format!("/v2/{HOST}/{repository}/{kind}/{name}")
    }
}
