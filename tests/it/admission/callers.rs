//! The callers of the socket: their credentials, their streams, and the mode of the socket.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use http::HeaderValue;
use pullgate::base::proto::v1;
use pullgate::base::proto::v1::watch_decisions_response::Event;
use pullgate::door::listen::socket_settings::SocketSettings;
use pullgate::door::listen::unix_socket::{BoundSocket, SocketError};
use pullgate::fakes::pull_client::Dialect;
use pullgate::fakes::registry::{AuthPolicy, EmbeddedRegistry, FakeRegistryOptions};

use super::{Admission, named, resolved};
use crate::support::{
    LATEST, Node, REPOSITORY, SIGNED, config, image, put, put_signed, registry, signer, socket_folder,
};

fn basic(user: &str, password: &str) -> v1::Credentials {
    v1::Credentials {
        username: user.to_owned(),
        password: password.to_owned(),
        ..v1::Credentials::default()
    }
}

#[tokio::test]
async fn credentials_count_only_for_the_question_that_carries_them() {
    for auth in [
        AuthPolicy::Basic {
            user: "bob".into(),
            password: "secret".into(),
        },
        AuthPolicy::Bearer {
            user: "bob".into(),
            password: "secret".into(),
            anonymous_pull: false,
        },
    ] {
        let registry = EmbeddedRegistry::start(FakeRegistryOptions {
            auth,
            ..FakeRegistryOptions::default()
        })
        .await
        .unwrap();
        put_signed(&registry, "v1", signer::get("release"));
        let node = Node::start(&config(registry.url(), SIGNED)).await;
        let door = Admission::start(&node).await;
        let with = |credentials| v1::CheckRequest {
            credentials: Some(credentials),
            ..named("acme/app:v1")
        };
        let mallory = with(basic("bob", "guess"));
        door.assert_denied(named("acme/app:v1"), "registry-unauthorized")
            .await;
        door.assert_denied(mallory.clone(), "registry-unauthorized").await;
        door.assert_allowed(with(basic("bob", "secret"))).await;
        // `bob:secret`.
        door.assert_allowed(with(v1::Credentials {
            auth: "Ym9iOnNlY3JldA==".to_owned(),
            server_address: "https://registry.example/v2/".to_owned(),
            ..v1::Credentials::default()
        }))
        .await;
        // A tag is resolved for each question with the credentials of that question.
        door.assert_denied(mallory, "registry-unauthorized").await;
        door.assert_denied(named("acme/app:v1"), "registry-unauthorized")
            .await;
        let elsewhere = v1::Credentials {
            server_address: "other.example".to_owned(),
            ..basic("bob", "secret")
        };
        door.assert_denied(with(elsewhere), "registry-unauthorized").await;
    }
}

/// containerd sends its credentials to the registry door and not to its verifier.
#[tokio::test]
async fn a_verdict_that_the_registry_door_has_cached_needs_no_credentials() {
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        auth: AuthPolicy::Basic {
            user: "bob".into(),
            password: "secret".into(),
        },
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let unsigned = put(&registry, REPOSITORY, "v2");
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    let bob = node
        .runtime(Dialect::Containerd)
        .with_authorization(HeaderValue::from_static("Basic Ym9iOnNlY3JldA=="));
    door.assert_denied(resolved("acme/app:v1", &signed), "registry-unauthorized")
        .await;
    bob.head(&image("acme/app:v1")).await.unwrap();
    bob.head(&image("acme/app:v2")).await.unwrap_err();
    registry.clear_log();
    let verdict = door.assert_allowed(resolved("acme/app:v1", &signed)).await;
    assert!(verdict.cached);
    door.assert_denied(resolved("acme/app:v2", &unsigned), "unsigned")
        .await;
    assert_eq!(registry.log(), []);
    // The content is still served only to clients that may read it.
    node.runtime(Dialect::Containerd)
        .pull(&image(&format!("acme/app@{}", signed.digest)))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_watcher_receives_past_and_new_decisions_and_the_number_of_missed_ones() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    door.assert_denied(named("acme/app:none"), "image-not-found")
        .await;
    door.assert_allowed(named("acme/app:v1")).await;
    let watch = async |backlog, denials_only| {
        let request = v1::WatchDecisionsRequest {
            denials_only,
            backlog,
        };
        let watched = door.client().await.watch_decisions(request).await;
        watched.unwrap().into_inner()
    };
    let next = async |events: &mut tonic::Streaming<v1::WatchDecisionsResponse>| {
        let event = tokio::time::timeout(LATEST, events.message())
            .await
            .unwrap()
            .unwrap();
        event.map(|event| event.event.unwrap())
    };
    let (mut all, mut denials, mut new) =
        (watch(9, false).await, watch(9, true).await, watch(0, false).await);
    door.assert_allowed(named("acme/app:v1")).await;
    let mut sequences = Vec::new();
    for _ in 0..3 {
        let Some(Event::Decision(decision)) = next(&mut all).await else {
            panic!("not a decision")
        };
        sequences.push((decision.sequence, decision.outcome(), decision.reason));
    }
    assert_eq!(
        sequences,
        [
            (1, v1::Outcome::Deny, "image-not-found".to_owned()),
            (2, v1::Outcome::Allow, String::new()),
            (3, v1::Outcome::Allow, String::new())
        ]
    );
    let Some(Event::Decision(first)) = next(&mut new).await else {
        panic!("not a decision")
    };
    assert_eq!(first.sequence, 3);
    assert_eq!(first.reference, "registry.example/acme/app:v1");
    assert!(first.took.is_some() && first.time.is_some() && first.cached);

    // There are far more decisions than the feed and the connection hold, and the watcher does not read.
    for _ in 0..6000 {
        node.gate
            .admit(&pullgate::pull::request::PullRequest {
                door: pullgate::pull::request::DoorName::TOOL,
                peer: "test".to_owned(),
                reference: "elsewhere.example/app".parse().unwrap(),
                presented: None,
                deadline: Instant::now() + LATEST,
                pod: None,
                purpose: pullgate::pull::request::Purpose::VerdictOnly(None),
            })
            .await;
    }
    let (mut last, mut missed) = (3, 0);
    while last < 6003 {
        match next(&mut all).await.unwrap() {
            Event::Decision(decision) => {
                assert!(decision.sequence > last);
                last = decision.sequence;
            }
            Event::Missed(number) => missed += number,
        }
    }
    assert!(missed > 0, "nothing was missed");
    let Some(Event::Decision(first)) = next(&mut denials).await else {
        panic!("not a decision")
    };
    assert_eq!((first.sequence, first.outcome()), (1, v1::Outcome::Deny));

    // A door that closes ends the streams, which would never end by themselves.
    drop(door.stop);
    tokio::time::timeout(LATEST, door.task).await.unwrap().unwrap();
    while next(&mut all).await.is_some() {}
    assert!(!door.socket.exists(), "the socket's file was not removed");
}

#[tokio::test]
async fn the_socket_has_its_mode_and_replaces_a_dead_one() {
    let folder = socket_folder();
    let path = folder.path().join("a.sock");
    let config = SocketSettings {
        path: path.clone(),
        mode: 0o620,
        group: None,
    };
    let bind = async |config: &SocketSettings| BoundSocket::bind(config).await;
    let first = bind(&config).await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o620);
    let error = bind(&config).await.unwrap_err();
    assert!(matches!(error, SocketError::InUse { .. }), "{error:?}");
    drop(first);
    assert!(!path.exists());
    // A killed daemon leaves its socket.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let second = bind(&config).await.unwrap();
    // A daemon that ends does not remove the socket of a later one.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    drop(second);
    assert!(path.exists());
    let error = bind(&config).await.unwrap_err();
    assert!(matches!(error, SocketError::NotASocket { .. }), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"");
    let unknown_group = SocketSettings {
        path: folder.path().join("b.sock"),
        group: Some("no-such-group".to_owned()),
        ..config
    };
    let error = bind(&unknown_group).await.unwrap_err();
    assert!(matches!(error, SocketError::NoGroup { .. }), "{error:?}");
    assert!(
        !has_temporary_socket(folder.path()),
        "a socket with its temporary name was not removed"
    );
}

fn has_temporary_socket(folder: &Path) -> bool {
    let mut names = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names.any(|name| name.to_string_lossy().ends_with(".new"))
}
