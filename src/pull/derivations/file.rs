//! The file of derivations, which survives a restart, and the thread that writes it.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prost::Message as _;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
};
use sha2::{Digest as _, Sha256};

use super::derivation::{Derivation, StoredDerivation};
use crate::base::proto::state;
use crate::oci::{ChildKind, Digest, Repository};
use crate::pull::policy::Generation;

/// A key of the file: SHA-256 over kind, repository and digest, so that it has a fixed size for any name.
type FileKey = [u8; 32];

pub(super) const EDGES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("derived");

/// The current epoch.
const EPOCH: TableDefinition<'_, (), u64> = TableDefinition::new("epoch");

/// The number of batches that may wait for the disk. Further batches are dropped; the head of `derivations.rs` says why
/// that is safe.
const QUEUE: usize = 256;

/// The time for which derivations are collected before they are written, and their number. A crash loses no more than
/// that, and pulls of that time are pulled again.
const COLLECT_TIME: Duration = Duration::from_millis(250);
const BATCH: usize = 16_384;

pub(super) struct DerivationsFile {
    pub(super) database: Arc<Database>,
    /// `None` only while the file is closed.
    batches: Option<SyncSender<Vec<Arc<StoredDerivation>>>>,
    writer: Option<JoinHandle<()>>,
}

/// The file of derivations cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DerivationsError {
    /// Another process has the file open, or it is not writable.
    #[error("could not open `{path}`")]
    Open {
        /// The path of the file.
        path: String,
        /// The cause.
        #[source]
        source: Box<redb::DatabaseError>,
    },
    /// The epoch could not be read or written.
    #[error("could not read or write the epoch of the permit store")]
    Epoch(#[source] Box<redb::Error>),
    /// The thread that writes the file could not be started.
    #[error("could not start the thread that writes `{path}`")]
    Thread {
        /// The path of the file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl DerivationsFile {
    pub(super) fn open(file: &Path, capacity: usize) -> Result<Self, DerivationsError> {
        let path = file.display().to_string();
        let database = match Database::create(file) {
            Ok(database) => database,
            // A crash or a full disk left the file unreadable. Everything in it can be learnt again.
            Err(error) if is_unreadable(&error) => {
                let aside = file.with_extension("corrupt");
                tracing::error!(%error, path, aside = %aside.display(), "The permit store is corrupt; starting with an empty one");
                let moved = std::fs::rename(file, &aside)
                    .map_err(|error| redb::DatabaseError::Storage(redb::StorageError::Io(error)));
                let fresh = moved.and_then(|()| Database::create(file));
                fresh.map_err(|source| DerivationsError::Open {
                    path: path.clone(),
                    source: Box::new(source),
                })?
            }
            Err(source) => {
                return Err(DerivationsError::Open {
                    path,
                    source: Box::new(source),
                });
            }
        };
        let database = Arc::new(database);
        let (batches, queue) = sync_channel(QUEUE);
        let writing = Arc::clone(&database);
        let writer = std::thread::Builder::new()
            .name("permits".to_owned())
            .spawn(move || write_all(&writing, &queue, capacity))
            .map_err(|source| DerivationsError::Thread { path, source })?;
        Ok(Self {
            database,
            batches: Some(batches),
            writer: Some(writer),
        })
    }

    /// Reads the epoch that holds.
    pub(super) fn epoch(&self) -> Result<u64, redb::Error> {
        match self.database.begin_read()?.open_table(EPOCH) {
            Ok(table) => Ok(table.get(())?.map_or(0, |epoch| epoch.value())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes an epoch. It never goes back: when two clients clear the caches at the same time, the later epoch may be
    /// written first.
    pub(super) fn raise_epoch(&self, epoch: u64) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(EPOCH)?;
            let stored = table.get(())?.map_or(0, |stored| stored.value());
            table.insert((), epoch.max(stored))?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Hands a batch to the thread that writes.
    pub(super) fn write_behind(&self, batch: Vec<Arc<StoredDerivation>>) {
        let Some(batches) = &self.batches else { return };
        match batches.try_send(batch) {
            Ok(()) => {}
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                tracing::warn!(
                    edges = batch.len(),
                    "The permit store does not keep up; these derivations are kept in memory only"
                );
            }
        }
    }

    /// Reads a derivation. A read that fails returns `None`: the child is not served, and a new pull of its manifest
    /// stores the derivation again.
    pub(super) fn read(
        &self,
        repository: &Repository,
        child: &Digest,
        kind: ChildKind,
    ) -> Option<StoredDerivation> {
        let value = match self.read_value(&key(repository, child, kind)) {
            Ok(value) => value?,
            Err(error) => {
                tracing::error!(%error, "Could not read the permit store");
                return None;
            }
        };
        let kept = decode(&value, repository, child, kind);
        if kept.is_none() {
            tracing::error!(image.digest = %child, "An entry of the permit store is not valid");
        }
        kept
    }

    fn read_value(&self, key: &FileKey) -> Result<Option<Vec<u8>>, redb::Error> {
        let table = match self.database.begin_read()?.open_table(EDGES) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }
}

/// Closing waits for the disk, so that pulls under way can go on after an orderly restart of the daemon.
impl Drop for DerivationsFile {
    fn drop(&mut self) {
        drop(self.batches.take());
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("The thread that writes the permit store panicked");
        }
    }
}

/// Returns whether the file is not a store, or no longer one. A file that another process has open, or that may not be
/// read, is an error that the administrator has to mend.
fn is_unreadable(error: &redb::DatabaseError) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a kind that is new to us is an error to mend, not a file to discard"
    )]
    match error {
        redb::DatabaseError::RepairAborted
        | redb::DatabaseError::UpgradeRequired(_)
        | redb::DatabaseError::Storage(redb::StorageError::Corrupted(_)) => true,
        redb::DatabaseError::Storage(redb::StorageError::Io(error)) => {
            matches!(error.kind(), InvalidData | UnexpectedEof)
        }
        _ => false,
    }
}

/// Writes batches until the file is closed and the queue is empty.
fn write_all(database: &Database, queue: &Receiver<Vec<Arc<StoredDerivation>>>, capacity: usize) {
    while let Ok(mut batch) = queue.recv() {
        // Batches that follow soon go into the same transaction: one fsync for many pulls.
        let until = Instant::now() + COLLECT_TIME;
        while let Ok(more) = queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
            batch.extend(more);
            if batch.len() >= BATCH {
                break;
            }
        }
        if let Err(error) = write(database, &batch, capacity) {
            tracing::error!(%error, edges = batch.len(), "Could not write the permit store");
        }
    }
}

fn write(database: &Database, batch: &[Arc<StoredDerivation>], capacity: usize) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(EDGES)?;
        for kept in batch {
            let cover = &kept.derivation;
            let key = key(cover.repository(), cover.child(), cover.kind());
            table.insert(&key, encode(kept).as_slice())?;
        }
        let mut times = Vec::new();
        if table.len()? > u64::try_from(capacity).unwrap_or(u64::MAX) {
            for entry in table.iter()? {
                times.push(expiry(entry?.1.value()));
            }
        }
        // Shrinks the table to half its capacity, so that this scan is rare. The derivations that expire first are removed.
        let mut surplus = times.len().saturating_sub(capacity / 2);
        if surplus > 0 {
            times.sort_unstable();
            let last = times.get(surplus - 1).copied().unwrap_or(i64::MAX);
            table.retain(|_, value| {
                let is_removed = surplus > 0 && expiry(value) <= last;
                surplus -= usize::from(is_removed);
                !is_removed
            })?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn expiry(value: &[u8]) -> i64 {
    state::Derived::decode(value).map_or(i64::MIN, |derived| derived.expires_at)
}

fn encode(kept: &StoredDerivation) -> Vec<u8> {
    state::Derived {
        root: kept.derivation.root().to_string(),
        generation: kept.derivation.generation().0.to_vec(),
        expires_at: kept.expires_at.as_second(),
        manifest: kept.derivation.kind() == ChildKind::Manifest,
        epoch: kept.epoch,
        ends_at: kept.keys_end_at.as_second(),
    }
    .encode_to_vec()
}

fn decode(
    value: &[u8],
    repository: &Repository,
    child: &Digest,
    kind: ChildKind,
) -> Option<StoredDerivation> {
    let derived = state::Derived::decode(value).ok()?;
    let root = derived.root.parse().ok()?;
    let generation = Generation(derived.generation.try_into().ok()?);
    let expires_at = Timestamp::from_second(derived.expires_at).ok()?;
    let keys_end_at = Timestamp::from_second(derived.ends_at.min(Timestamp::MAX.as_second())).ok()?;
    let is_same_kind = derived.manifest == (kind == ChildKind::Manifest);
    is_same_kind.then(|| StoredDerivation {
        derivation: Derivation::new(repository.clone(), *child, kind, root, generation),
        expires_at,
        keys_end_at,
        epoch: derived.epoch,
    })
}

pub(super) fn key(repository: &Repository, child: &Digest, kind: ChildKind) -> FileKey {
    let mut hash = Sha256::new();
    hash.update(match kind {
        ChildKind::Blob => b"b",
        ChildKind::Manifest => b"m",
    });
    // Neither a host nor a path contains a NUL, so two different names never give the same bytes.
    hash.update(repository.registry());
    hash.update(b"\0");
    hash.update(repository.path());
    hash.update(b"\0");
    hash.update(child.algorithm());
    hash.update(child.as_bytes());
    hash.finalize().into()
}
