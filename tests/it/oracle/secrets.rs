//! Nothing secret is in what is logged, answered or shown.

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

/// All that is said, whatever goes wrong: in the log at its most talkative, in refusals, in errors and by `Debug`.
#[tokio::test(flavor = "current_thread")]
async fn nothing_secret_is_said() {
    let log = Log::default();
    // With one subscriber alone, tracing-core asks the thread that first comes by a place of the code whether it is heard
    // there, and another test's thread would say no for all.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let site = Site::start().await;
    site.push("unsigned");
    let mut said = String::new();

    let good = super::identity::token(Timestamp::now() + Duration::from_secs(3600));
    let over = super::identity::token(Timestamp::now() - Duration::from_secs(3600));
    let phrase = format!("pass_phrase={PHRASE}\n");
    for (more, token) in [
        (phrase.clone(), None),
        (format!("{phrase}security_token_file=token\n"), Some(&good)),
        (format!("{phrase}security_token_file=token\n"), Some(&over)),
    ] {
        let folder = site.folder();
        site.write_profile(folder.path(), &user().0, &more);
        if let Some(token) = token {
            std::fs::write(folder.path().join("oci/token"), token).unwrap();
        }
        let text = site.config(&site.oracle());
        let config = Config::load(&support::write(folder.path(), &text)).unwrap();
        said += &format!("{config:?} {config:#?}");
        // A service that refuses whatever it is shown, so that everything is told that can be.
        site.cloud.clock().advance(Duration::from_secs(600));
        let node = Node::start_in(folder, &text).await;
        said += &format!("{:?}", node.refused(&super::image("unsigned")).await);
        site.cloud.clock().set(Timestamp::now());
        said += &format!("{:?}", node.refused(&super::image("unsigned")).await);
        said += &format!("{:?}", node.gate.settings().oracle.of(super::HOST));
    }
    // Files that are damaged, or mixed up: an error must not quote them.
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
        said += &format!("{errors} {errors:?}");
    }

    said += &String::from_utf8_lossy(&log.0.lock().unwrap());
    assert!(said.contains("Pull denied"), "the log was not heard: {said}");
    let mut secrets = vec![PHRASE.to_owned(), good, over, "ST$".to_owned()];
    // Every line of the key: none of them may slip out alone.
    secrets.extend(
        user()
            .0
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .map(str::to_owned),
    );
    for secret in secrets {
        assert!(!said.contains(&secret), "{secret}");
    }
}
