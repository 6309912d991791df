//! Bad moments of Oracle's cloud, and what must not be printed.

use std::time::Duration;

use super::oracle_cloud::{Fault, Operation};
use super::{Ran, Site};

/// What is asked in this file, in few seconds.
const ASKED: [(&[&str], Operation); 5] = [
    (&["key", "import", "--name", "k"], Operation::GetKey),
    (&["sign"], Operation::Sign),
    (&["sign"], Operation::CreateContainerImageSignature),
    (
        &["signature", "list", "--from", "oracle"],
        Operation::ListContainerImageSignatures,
    ),
    (
        &["signature", "list", "--from", "oracle"],
        Operation::LookupContainerImageByUri,
    ),
];

impl Site {
    async fn ask(&self, verb: &[&str], more: &[&str]) -> Ran {
        let image = self.tagged();
        let key = self.with_key();
        let named: &[&str] = match verb {
            ["key", ..] => &key[..2],
            ["sign"] => &[image.as_str(), key[0], key[1], key[2], key[3]],
            _ => &[image.as_str()],
        };
        self.run(&[verb, named, more].concat()).await
    }
}

fn status(status: u16) -> Fault {
    Fault::Status {
        status,
        retry_after: None,
    }
}

#[tokio::test]
async fn a_bad_moment_passes_and_nothing_is_done_twice() {
    let site = Site::start().await;
    site.sign();
    for (verb, operation) in ASKED {
        // Each once, one after the other; what a later release of the service adds is no fault at all.
        for fault in [status(429), status(500), Fault::Reset, Fault::UnknownFields] {
            site.cloud.fail(operation, fault, Some(1));
        }
        let before = site.cloud.world().signatures.len();
        site.ask(verb, &[]).await.ok();
        let made = usize::from(verb == ["sign"]);
        assert_eq!(
            site.cloud.world().signatures.len(),
            before + made,
            "{verb:?} {operation:?}"
        );
        site.cloud.mend();
    }
}

#[tokio::test]
async fn a_service_that_is_down_is_no_answer() {
    let site = Site::start().await;
    site.sign();
    let mut kept = 1;
    for (verb, operation) in ASKED {
        for fault in [
            status(500),
            Fault::Truncated { bytes: 10 },
            Fault::NotJson,
            Fault::DuplicateKeys,
            Fault::Slow { milliseconds: 60_000 },
            Fault::Oversized { bytes: 9 << 20 },
        ] {
            site.cloud.fail(operation, fault.clone(), None);
            // A busy machine must come as far as the question that goes wrong.
            let timeout = if verb == ["sign"] { "4" } else { "1" };
            let ran = site.ask(verb, &["--timeout", timeout]).await;
            assert_eq!(
                (ran.code, ran.out.as_str()),
                (3, ""),
                "{verb:?} {fault:?} {ran:#?}"
            );
            assert!(ran.err.starts_with("error: "), "{ran:?}");
            if operation == Operation::CreateContainerImageSignature && fault != status(500) {
                // It was taken, once for all that was asked, and the answer was lost; or it did not come so far.
                kept += usize::from(!matches!(fault, Fault::Slow { .. }));
                ran.said(3, "it is not known whether the record was uploaded");
            }
            assert_eq!(site.cloud.world().signatures.len(), kept, "{verb:?} {fault:?}");
            site.cloud.mend();
        }
    }
    assert!(!site.path("k.toml").exists());
    // A socket that is bound and does not listen refuses connections, and keeps its port from other tests.
    let refusing = tokio::net::TcpSocket::new_v4().unwrap();
    refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = format!("http://{}", refusing.local_addr().unwrap());
    let ran = site
        .run_with(
            &[
                "signature",
                "list",
                &site.tagged(),
                "--from",
                "oracle",
                "--timeout",
                "5",
            ],
            &[("OCI_CLI_ENDPOINT", &closed)],
        )
        .await;
    ran.said(3, "is not reachable");
}

/// Only the API's own 404 says that it has no such image.
#[tokio::test]
async fn an_api_that_does_not_answer_is_not_an_api_without_the_image() {
    let site = Site::start().await;
    site.cloud.fail(
        Operation::LookupContainerImageByUri,
        Fault::Slow { milliseconds: 60_000 },
        None,
    );
    let ran = site.ask(&["sign"], &["--timeout", "2"]).await;
    ran.said(3, "could not ask Oracle's API about");
    assert!(!ran.err.contains("has no image"), "{ran:?}");
}

#[tokio::test]
async fn a_list_that_breaks_off_is_not_passed_off_as_whole() {
    let site = Site::start().await;
    site.sign();
    for fault in [Fault::WrongPage, Fault::LoopingPage] {
        site.cloud
            .fail(Operation::ListContainerImageSignatures, fault, None);
        let ran = site.ask(&["signature", "list", "--from", "oracle"], &[]).await;
        ran.said(3, "oracle-api could not be looked at to the end");
        assert!(ran.out.contains("ocid1.containerimagesignature."), "{ran:?}");
        site.cloud.mend();
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named() {
    let site = Site::start().await;
    site.cloud.clock().advance(Duration::from_secs(3600));
    for (verb, _) in ASKED {
        let ran = site.ask(verb, &["--timeout", "5"]).await;
        ran.said(3, "set this machine's clock");
    }
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let site = Site::start().await;
    let config = site.read(".oci/config");
    let user = config
        .lines()
        .find_map(|line| line.strip_prefix("user="))
        .unwrap();
    let other = config.replace(user, &format!("{}zzzz", &user[..user.len() - 4]));
    site.write(".oci/config", &other);
    for (verb, _) in ASKED {
        site.ask(verb, &[])
            .await
            .said(3, "refused the signature or the signer");
    }
}

#[tokio::test]
async fn nothing_secret_is_printed() {
    let site = Site::start().await;
    site.sign();
    let key = site.read(".oci/key.pem");
    let tenancy = &site.tenancy;
    // One second of 2001, in three parts as a token has them.
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjEwMDAwMDAwMDB9.c2VjcmV0LXNpZ25hdHVyZQ";
    site.write(".oci/token", token);
    let config = site.read(".oci/config");
    let session =
        format!("[OVER]\ntenancy={tenancy}\nkey_file=~/.oci/key.pem\nsecurity_token_file=~/.oci/token\n");
    let phrase = "[PHRASE]\npass_phrase=correct-horse-battery\nkey_file=~/.oci/locked.pem\n";
    site.write(".oci/config", &format!("{config}{session}{phrase}"));
    let locked = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/keys/rsa-2048.private-encrypted.pem"
    );
    std::fs::copy(locked, site.path(".oci/locked.pem")).unwrap();

    let mut printed = String::new();
    for (verb, operation) in ASKED {
        for more in [
            &[][..],
            &["--json"],
            &["--profile", "OVER"],
            &["--profile", "PHRASE"],
            &["--auth", "security_token"],
            &["--auth", "api_key", "--profile", "OVER"],
        ] {
            let ran = site.ask(verb, more).await;
            printed += &format!("{}{}", ran.out, ran.err);
            if more.contains(&"OVER") || more.contains(&"PHRASE") {
                assert_eq!(ran.code, 2, "{verb:?} {more:?} {ran:#?}");
            }
        }
        site.cloud.fail(operation, status(401), None);
        let ran = site.ask(verb, &["--timeout", "1"]).await;
        printed += &format!("{}{}", ran.out, ran.err);
        site.cloud.mend();
    }
    assert!(printed.contains("expired at 2001-09-09T01:46:40Z"), "{printed}");
    let lines = key.lines().filter(|line| !line.starts_with("-----"));
    for secret in lines
        .chain(token.split('.'))
        .chain(["correct-horse", "Signature algorithm"])
    {
        assert!(!printed.contains(secret), "{secret}\n{printed}");
    }
}
