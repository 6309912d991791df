//! The admission socket: the verdicts that other programs on the node receive, and the limits of the socket.

mod callers;
mod limits;
mod verdicts;

use std::path::PathBuf;
use std::time::Duration;

use pullgate::base::proto::v1;
use pullgate::base::proto::v1::admission_client::AdmissionClient;
use pullgate::door::listen::socket_settings::SocketSettings;
use pullgate::door::{DoorLimits, ServeContext, admission};
use pullgate::net::uds_client::{Channel, origin};
use pullgate::oci::Descriptor;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use crate::support::{Node, socket_folder};

/// An admission door in front of a node's gate.
struct Admission {
    socket: PathBuf,
    stop: DropGuard,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl Admission {
    async fn start(node: &Node) -> Self {
        let folder = socket_folder();
        let socket = folder.path().join("admission.sock");
        let settings = admission::AdmissionDoorSettings {
            socket: SocketSettings {
                path: socket.clone(),
                mode: 0o660,
                group: None,
            },
        };
        let limits = DoorLimits {
            pull: Duration::from_secs(30),
            ..DoorLimits::default()
        };
        let door = admission::AdmissionDoor::bind(&settings, limits).await.unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(door.serve(ServeContext {
            gate: std::sync::Arc::clone(&node.gate),
            stop: stop.clone(),
            grace: Duration::from_secs(1),
        }));
        Self {
            socket,
            stop: stop.drop_guard(),
            task,
            _folder: folder,
        }
    }

    async fn client(&self) -> AdmissionClient<Channel> {
        AdmissionClient::with_origin(Channel::connect(&self.socket).await.unwrap(), origin())
    }

    async fn check(&self, question: v1::CheckRequest) -> Result<v1::CheckResponse, Status> {
        let answer = self.client().await.check(question).await?;
        Ok(answer.into_inner())
    }

    async fn verdict(&self, question: v1::CheckRequest) -> v1::Verdict {
        self.check(question).await.unwrap().verdict.unwrap()
    }

    async fn assert_allowed(&self, question: v1::CheckRequest) -> v1::Verdict {
        let verdict = self.verdict(question).await;
        assert_eq!(verdict.outcome(), v1::Outcome::Allow, "{verdict:?}");
        verdict
    }

    async fn assert_denied(&self, question: v1::CheckRequest, reason: &str) -> v1::Verdict {
        let verdict = self.verdict(question).await;
        assert_eq!(
            (verdict.outcome(), verdict.reason.as_str()),
            (v1::Outcome::Deny, reason),
            "{verdict:?}"
        );
        verdict
    }
}

fn named(name: &str) -> v1::CheckRequest {
    v1::CheckRequest {
        reference: format!("registry.example/{name}"),
        ..v1::CheckRequest::default()
    }
}

/// The question of containerd's verifier: the tag, and the descriptor that containerd resolved it to.
fn resolved(name: &str, to: &Descriptor) -> v1::CheckRequest {
    v1::CheckRequest {
        digest: to.digest.to_string(),
        descriptor: Some(v1::Descriptor {
            media_type: to.media_type.clone(),
            digest: to.digest.to_string(),
            size: i64::try_from(to.size).unwrap(),
        }),
        ..named(name)
    }
}
