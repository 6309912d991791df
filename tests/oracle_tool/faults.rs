//! Faults of Oracle's cloud, and secrets that must not be printed.

use std::time::Duration;

use super::oracle_cloud::{Fault, Operation};
use super::{Site, ToolOutput};

/// Verbs and the operations that fail in these tests.
const CALLS: [(&[&str], Operation); 5] = [
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
    async fn run_verb(&self, verb: &[&str], more: &[&str]) -> ToolOutput {
        let image = self.tagged();
        let key = self.key_arguments();
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
async fn a_temporary_fault_is_retried_and_nothing_is_done_twice() {
    let site = Site::start().await;
    site.sign();
    for (verb, operation) in CALLS {
        // Each fault once, one after the other. Unknown fields, which a later release may add, are no fault.
        for fault in [status(429), status(500), Fault::Reset, Fault::UnknownFields] {
            site.cloud.fail(operation, fault, Some(1));
        }
        let before = site.cloud.world().signatures.len();
        site.run_verb(verb, &[]).await.ok();
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
async fn a_service_that_is_down_gives_no_answer() {
    let site = Site::start().await;
    site.sign();
    let mut stored = 1;
    for (verb, operation) in CALLS {
        for fault in [
            status(500),
            Fault::Truncated { bytes: 10 },
            Fault::NotJson,
            Fault::DuplicateKeys,
            Fault::Slow { milliseconds: 60_000 },
            Fault::Oversized { bytes: 9 << 20 },
        ] {
            site.cloud.fail(operation, fault.clone(), None);
            // On a busy machine, too, the verb must reach the operation that fails.
            let timeout = if verb == ["sign"] { "4" } else { "1" };
            let ran = site.run_verb(verb, &["--timeout", timeout]).await;
            assert_eq!(
                (ran.code, ran.out.as_str()),
                (3, ""),
                "{verb:?} {fault:?} {ran:#?}"
            );
            assert!(ran.err.starts_with("error: "), "{ran:?}");
            if operation == Operation::CreateContainerImageSignature && fault != status(500) {
                // The record was stored once and the response was lost, or the request was not processed in time.
                stored += usize::from(!matches!(fault, Fault::Slow { .. }));
                ran.assert_failed(3, "could not tell whether the record was uploaded");
            }
            assert_eq!(site.cloud.world().signatures.len(), stored, "{verb:?} {fault:?}");
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
    ran.assert_failed(3, "is not reachable");
}

/// Only the API's own 404 means that the image does not exist.
#[tokio::test]
async fn a_timeout_is_not_reported_as_a_missing_image() {
    let site = Site::start().await;
    site.cloud.fail(
        Operation::LookupContainerImageByUri,
        Fault::Slow { milliseconds: 60_000 },
        None,
    );
    let ran = site.run_verb(&["sign"], &["--timeout", "2"]).await;
    ran.assert_failed(3, "could not ask Oracle's API about");
    assert!(!ran.err.contains("has no image"), "{ran:?}");
}

#[tokio::test]
async fn an_incomplete_list_is_reported() {
    let site = Site::start().await;
    site.sign();
    for fault in [Fault::WrongPage, Fault::LoopingPage] {
        site.cloud
            .fail(Operation::ListContainerImageSignatures, fault, None);
        let ran = site
            .run_verb(&["signature", "list", "--from", "oracle"], &[])
            .await;
        ran.assert_failed(3, "could not read all of oracle-api");
        assert!(ran.out.contains("ocid1.containerimagesignature."), "{ran:?}");
        site.cloud.mend();
    }
}

#[tokio::test]
async fn a_wrong_clock_is_reported() {
    let site = Site::start().await;
    site.cloud.clock().advance(Duration::from_secs(3600));
    for (verb, _) in CALLS {
        let ran = site.run_verb(verb, &["--timeout", "5"]).await;
        ran.assert_failed(3, "set this machine's clock");
    }
}

#[tokio::test]
async fn a_missing_permission_is_reported() {
    let site = Site::start().await;
    let config = site.read(".oci/config");
    let user = config
        .lines()
        .find_map(|line| line.strip_prefix("user="))
        .unwrap();
    let other = config.replace(user, &format!("{}zzzz", &user[..user.len() - 4]));
    site.write(".oci/config", &other);
    for (verb, _) in CALLS {
        site.run_verb(verb, &[])
            .await
            .assert_failed(3, "refused the signature or the signer");
    }
}

#[tokio::test]
async fn no_secret_is_printed() {
    let site = Site::start().await;
    site.sign();
    let key = site.read(".oci/key.pem");
    let tenancy = &site.tenancy;
    // A token that expired in 2001, in three parts.
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
    for (verb, operation) in CALLS {
        for more in [
            &[][..],
            &["--json"],
            &["--profile", "OVER"],
            &["--profile", "PHRASE"],
            &["--auth", "security_token"],
            &["--auth", "api_key", "--profile", "OVER"],
        ] {
            let ran = site.run_verb(verb, more).await;
            printed += &format!("{}{}", ran.out, ran.err);
            if more.contains(&"OVER") || more.contains(&"PHRASE") {
                assert_eq!(ran.code, 2, "{verb:?} {more:?} {ran:#?}");
            }
        }
        site.cloud.fail(operation, status(401), None);
        let ran = site.run_verb(verb, &["--timeout", "1"]).await;
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
