//! Logs, responses, errors and debug output hold no secrets.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use pullgate::process::config::Config;
use tracing_subscriber::fmt::MakeWriter;

use super::super::support::{self, Node};
use super::{Site, user};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

const PHRASE: &str = "correct-horse-battery-staple";

/// Collects the log at its most verbose level, refusals, errors and `Debug` output under many failures.
#[tokio::test(flavor = "current_thread")]
async fn no_output_holds_a_secret() {
    let log = Log::default();
    // With a single subscriber, tracing-core caches per call site whether the first thread to reach it listens, and
    // another test's thread does not. A second subscriber prevents that.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let site = Site::start().await;
    site.push("unsigned");
    let mut output = String::new();

    let good = super::identity::token(Timestamp::now() + Duration::from_secs(3600));
    let expired = super::identity::token(Timestamp::now() - Duration::from_secs(3600));
    let phrase = format!("pass_phrase={PHRASE}\n");
    for (more, token) in [
        (phrase.clone(), None),
        (format!("{phrase}security_token_file=token\n"), Some(&good)),
        (format!("{phrase}security_token_file=token\n"), Some(&expired)),
    ] {
        let folder = site.folder();
        site.write_profile(folder.path(), &user().0, &more);
        if let Some(token) = token {
            std::fs::write(folder.path().join("oci/token"), token).unwrap();
        }
        let text = site.config(&site.oracle());
        let config = Config::load(&support::write(folder.path(), &text)).unwrap();
        output += &format!("{config:?} {config:#?}");
        // The service refuses every request, so that every detail that can be reported is reported.
        site.cloud.clock().advance(Duration::from_secs(600));
        let node = Node::start_in(folder, &text).await;
        output += &format!("{:?}", node.refused(&super::image("unsigned")).await);
        site.cloud.clock().set(Timestamp::now());
        output += &format!("{:?}", node.refused(&super::image("unsigned")).await);
        output += &format!("{:?}", node.gate.settings().oracle.get(super::HOST));
    }
    // Damaged files, and files in each other's place: an error must not quote them.
    for (file, content) in [
        ("oci/key.pem", format!("{PHRASE}\n{}", &user().0[..200])),
        (
            "oci/config",
            format!("[DEFAULT]\nuser = {PHRASE}\ntenancy={good}\nfingerprint=x\nkey_file=key.pem\n"),
        ),
        ("oci/config", format!("{PHRASE}\n{good}\n")),
        ("oci/token", format!("{good} {PHRASE}")),
    ] {
        let folder = site.folder();
        site.write_profile(folder.path(), &user().0, "security_token_file=token\n");
        std::fs::write(folder.path().join("oci/token"), &good).unwrap();
        std::fs::write(folder.path().join(file), content).unwrap();
        let errors = Config::load(&support::write(folder.path(), &site.config(&site.oracle())));
        let errors = errors.expect_err(file);
        output += &format!("{errors} {errors:?}");
    }

    output += &String::from_utf8_lossy(&log.0.lock().unwrap());
    assert!(
        output.contains("Pull denied"),
        "the log was not captured: {output}"
    );
    let mut secrets = vec![PHRASE.to_owned(), good, expired, "ST$".to_owned()];
    // Every line of the key counts as a secret.
    secrets.extend(
        user()
            .0
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .map(str::to_owned),
    );
    for secret in secrets {
        assert!(!output.contains(&secret), "{secret}");
    }
}
