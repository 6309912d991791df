//! `pullgate.v1.Control`: shows and steers the running daemon. For root and the daemon's own user alone.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::reload::Running;
use crate::base::error_chain::chain;
use crate::base::limits;
use crate::base::proto::v1;
use crate::base::proto::v1::control_server::ControlServer;
use crate::door::admission::{is_wanted, tell};
use crate::door::listen::grpc;
use crate::door::listen::unix_socket::BoundSocket;
use crate::pull::gate::CachedVerdict;
use crate::pull::record::MAX_RECORDED_DECISIONS;
use crate::trust::TrustedKey;

/// The control service.
#[derive(Clone)]
pub(super) struct Control {
    running: Arc<Running>,
    doors: Vec<v1::Door>,
    started_at: Timestamp,
    own_uid: u32,
}

impl Control {
    pub(super) fn new(running: Arc<Running>, doors: Vec<(&'static str, String)>) -> Self {
        let doors = doors.into_iter().map(|(name, listen)| v1::Door {
            name: name.to_owned(),
            listen,
        });
        Self {
            running,
            doors: doors.collect(),
            started_at: Timestamp::now(),
            own_uid: nix::unistd::geteuid().as_raw(),
        }
    }

    pub(super) async fn serve(
        self,
        socket: BoundSocket,
        connections: usize,
        stop: CancellationToken,
        grace: Duration,
    ) {
        let server = ControlServer::new(self).max_decoding_message_size(limits::GRPC_REQUEST_BYTES);
        let named = grpc::name_of(&server);
        grpc::serve(socket, Routes::new(server), named, connections, stop, grace).await;
    }

    /// Checks that the caller is root or the daemon's own user. The mode of the socket's file says the same; this check holds
    /// if the mode was changed.
    fn authorize<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let peer = grpc::peer_of(request)?;
        if peer.uid == 0 || peer.uid == self.own_uid {
            return Ok(());
        }
        tracing::warn!(%peer, "A caller that is not root called the control socket");
        Err(Status::permission_denied(
            "only root and the daemon's own user may call the control socket",
        ))
    }

    fn generation(&self) -> String {
        let settings = self.running.gate().settings();
        settings.policy.generation().to_string()
    }
}

/// Runs work that waits for files on a thread that serves no calls.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| {
        tracing::error!(%error, "A call of the control socket crashed");
        Status::internal("pullgate itself failed on this call; the log says where")
    })
}

#[tonic::async_trait]
impl v1::control_server::Control for Control {
    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        self.authorize(&request)?;
        let last_load = self.running.last_load();
        let gate = self.running.gate();
        let policy = Arc::clone(&gate.settings().policy);
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Response::new(v1::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Some(tell::timestamp(self.started_at)),
            config_path: self.running.started().path.display().to_string(),
            generation: policy.generation().to_string(),
            loaded_at: Some(tell::timestamp(last_load.loaded_at)),
            rules: count(policy.rules().len()),
            keys: count(policy.keys().len()),
            doors: self.doors.clone(),
            verdicts: u64::try_from(gate.count_cached_verdicts()).unwrap_or(u64::MAX),
            needs_restart: last_load.needs_restart.clone(),
            warnings: last_load.warnings.clone(),
            reload_error: last_load.error.clone().unwrap_or_default(),
        }))
    }

    async fn reload(
        &self,
        request: Request<v1::ReloadRequest>,
    ) -> Result<Response<v1::ReloadResponse>, Status> {
        self.authorize(&request)?;
        let running = Arc::clone(&self.running);
        let last_load = run_blocking(move || running.reload()).await?;
        Ok(Response::new(v1::ReloadResponse {
            loaded: last_load.error.is_none(),
            errors: last_load.error.clone().unwrap_or_default(),
            generation: self.generation(),
            needs_restart: last_load.needs_restart.clone(),
        }))
    }

    type ListCacheStream = Pin<Box<dyn Stream<Item = Result<v1::ListCacheResponse, Status>> + Send>>;

    async fn list_cache(
        &self,
        request: Request<v1::ListCacheRequest>,
    ) -> Result<Response<Self::ListCacheStream>, Status> {
        self.authorize(&request)?;
        let running = Arc::clone(&self.running);
        let all = run_blocking(move || running.gate().cached_verdicts()).await?;
        let all = stream::iter(all.into_iter().map(|verdict| Ok(cached_verdict(verdict))));
        Ok(Response::new(Box::pin(all)))
    }

    async fn clear_cache(
        &self,
        request: Request<v1::ClearCacheRequest>,
    ) -> Result<Response<v1::ClearCacheResponse>, Status> {
        self.authorize(&request)?;
        let peer = grpc::peer_of(&request)?;
        let running = Arc::clone(&self.running);
        let forgotten = run_blocking(move || running.gate().clear()).await?;
        let verdicts = forgotten.map_err(|error| {
            let error = chain(&error);
            tracing::error!(error, "The file of permits could not be cleared");
            let cleared =
                "the verdicts are forgotten until the daemon restarts, but not in the state directory";
            Status::data_loss(format!("{cleared}: {error}"))
        })?;
        tracing::info!(verdicts, %peer, "All verdicts were forgotten");
        Ok(Response::new(v1::ClearCacheResponse {
            verdicts: u64::try_from(verdicts).unwrap_or(u64::MAX),
        }))
    }

    async fn list_keys(
        &self,
        request: Request<v1::ListKeysRequest>,
    ) -> Result<Response<v1::ListKeysResponse>, Status> {
        self.authorize(&request)?;
        let policy = Arc::clone(&self.running.gate().settings().policy);
        let mut keys: Vec<v1::Key> = policy.keys().map(key_view).collect();
        keys.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Response::new(v1::ListKeysResponse { keys }))
    }

    async fn list_decisions(
        &self,
        request: Request<v1::ListDecisionsRequest>,
    ) -> Result<Response<v1::ListDecisionsResponse>, Status> {
        self.authorize(&request)?;
        let asked = request.into_inner();
        let most = match usize::try_from(asked.limit) {
            Ok(0) | Err(_) => MAX_RECORDED_DECISIONS,
            Ok(limit) => limit.min(MAX_RECORDED_DECISIONS),
        };
        let wanted = |recorded: &_| is_wanted(recorded, asked.denials_only);
        let (decisions, _later) = self.running.gate().watch(most, wanted);
        Ok(Response::new(v1::ListDecisionsResponse {
            decisions: decisions
                .iter()
                .map(|recorded| tell::decision(recorded))
                .collect(),
        }))
    }
}

fn cached_verdict(verdict: CachedVerdict) -> v1::ListCacheResponse {
    v1::ListCacheResponse {
        repository: verdict.repository.to_string(),
        digest: verdict.digest.to_string(),
        signers: verdict.signers.into_iter().collect(),
        signatures: u32::try_from(verdict.records).unwrap_or(u32::MAX),
        expires_in: prost_types::Duration::try_from(verdict.left).ok(),
    }
}

fn key_view(key: &TrustedKey) -> v1::Key {
    v1::Key {
        name: key.name.to_string(),
        fingerprint: key.public_key.fingerprint().to_string(),
        bits: u32::try_from(key.public_key.bits()).unwrap_or(u32::MAX),
        not_before: key.validity.not_before.map(tell::timestamp),
        not_after: key.validity.not_after.map(tell::timestamp),
        revoked: key.validity.revoked,
    }
}
