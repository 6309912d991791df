//! What admitted manifests cover, in bounded memory and in one file that survives a restart.
//!
//! A child is asked for by its digest alone, without its parent's name, so the edge child -> root is kept here. Edges
//! are facts (the root's bytes hash to the root and name the child); whether the root is still admitted is asked anew
//! when the policy has changed or the time that a verdict is remembered has passed.
//!
//! Writing happens behind the answer, in batches, on a thread of its own: no pull waits for the disk. A batch that is
//! lost (a crash, a full disk, a full queue) costs a second look at the root or a second pull, never an open gate.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prost::Message as _;
use quick_cache::sync::Cache;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
};
use sha2::{Digest as _, Sha256};

use crate::base::proto::state;
use crate::oci::{ChildKind, Digest, Repository};
use crate::pull::decide::Derivation;
use crate::pull::policy::Generation;

/// An edge's end: where it is, what it is called, how it is asked for.
type Child = (Repository, Digest, ChildKind);

/// In the file, SHA-256 over kind, repository and digest: a fixed size, whatever names clients send.
type FileKey = [u8; 32];

const EDGES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("derived");

/// In the file, the epoch that holds.
const EPOCH: TableDefinition<'_, (), u64> = TableDefinition::new("epoch");

/// Batches that wait for the disk. More than that are dropped: see the module's documentation.
const QUEUE: usize = 256;

/// How long edges gather before they are written, and how many at the most. What a crash takes with it is no more than that:
/// whoever pulled in that time pulls again.
const GATHERED: Duration = Duration::from_millis(250);
const BATCH: usize = 16_384;

/// Edges that are kept in memory; the rest is read from the file.
const IN_MEMORY: usize = 65_536;

/// An edge with the time until which its root's verdict is remembered.
#[derive(Clone, Debug)]
pub(crate) struct StoredDerivation {
    pub(crate) derivation: Derivation,
    pub(crate) expires_at: Timestamp,
    /// When the first key of its rule ends.
    pub(crate) keys_end_at: Timestamp,
    /// What was kept in an earlier epoch is a fact still, and no verdict any more.
    pub(crate) epoch: u64,
}

/// How long an edge is good for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry {
    /// Until then its root's verdict is remembered.
    pub(crate) expires_at: Timestamp,
    /// Then the first key of its rule ends.
    pub(crate) ends_at: Timestamp,
}

pub(crate) struct Derivations {
    memory: Cache<Child, Arc<StoredDerivation>>,
    store: Option<DerivationsFile>,
    epoch: AtomicU64,
}

struct DerivationsFile {
    database: Arc<Database>,
    /// Gone only while the store is dropped.
    batches: Option<SyncSender<Vec<Arc<StoredDerivation>>>>,
    writer: Option<JoinHandle<()>>,
}

/// The file that keeps what was admitted could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DerivationsError {
    /// It belongs to another process, or is not writable.
    #[error("`{path}` could not be opened")]
    Open {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: Box<redb::DatabaseError>,
    },
    /// Since when verdicts stand could not be read or written.
    #[error("the epoch of the permit store could not be read or written")]
    Epoch(#[source] Box<redb::Error>),
    /// The thread that writes could not be started.
    #[error("the thread that writes `{path}` could not be started")]
    Thread {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Derivations {
    /// In memory alone when there is no `file`; at most `most` edges in the file.
    pub(crate) fn open(file: Option<&Path>, most: usize) -> Result<Self, DerivationsError> {
        let store = file.map(|file| DerivationsFile::open(file, most)).transpose()?;
        let epoch = match &store {
            Some(store) => store
                .epoch()
                .map_err(|source| DerivationsError::Epoch(Box::new(source)))?,
            None => 0,
        };
        Ok(Self {
            memory: Cache::new(IN_MEMORY.min(most.max(1))),
            store,
            epoch: AtomicU64::new(epoch),
        })
    }

    /// The epoch that pulls which begin now belong to.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Begins another epoch: no verdict of those before stands any more. It waits for the disk, so that a restart does
    /// not bring them back.
    pub(crate) fn advance(&self) -> Result<(), DerivationsError> {
        let next = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        match &self.store {
            Some(store) => store
                .raise_epoch(next)
                .map_err(|source| DerivationsError::Epoch(Box::new(source))),
            None => Ok(()),
        }
    }

    /// Remembers edges. Those that stand already, with most of their time left, cost a look-up each, whichever root they
    /// lead to: images share layers, and would take them from each other at each pull.
    pub(crate) fn remember(
        &self,
        covers: impl Iterator<Item = Derivation>,
        now: Timestamp,
        life: Expiry,
        epoch: u64,
    ) {
        let Expiry { expires_at, ends_at } = life;
        let mut new = Vec::new();
        for cover in covers {
            let child = (cover.repository().clone(), *cover.child(), cover.kind());
            let stands = self.memory.get(&child).is_some_and(|kept| {
                let left = kept.expires_at.as_second() - now.as_second();
                let whole = expires_at.as_second() - now.as_second();
                let same = kept.derivation.generation() == cover.generation() && kept.epoch == epoch;
                same && left * 2 > whole
            });
            if !stands {
                let kept = Arc::new(StoredDerivation {
                    derivation: cover,
                    expires_at,
                    keys_end_at: ends_at,
                    epoch,
                });
                self.memory.insert(child, Arc::clone(&kept));
                new.push(kept);
            }
        }
        if let Some(store) = self.store.as_ref().filter(|_| !new.is_empty()) {
            store.write_behind(new);
        }
    }

    /// The edge that leads to this child, if an admitted manifest of the same repository names it.
    pub(crate) fn parent_of(
        &self,
        repository: &Repository,
        child: &Digest,
        kind: ChildKind,
    ) -> Option<Arc<StoredDerivation>> {
        let end = (repository.clone(), *child, kind);
        if let Some(kept) = self.memory.get(&end) {
            return Some(kept);
        }
        let kept = Arc::new(self.store.as_ref()?.read(repository, child, kind)?);
        self.memory.insert(end, Arc::clone(&kept));
        Some(kept)
    }
}

impl DerivationsFile {
    fn open(file: &Path, most: usize) -> Result<Self, DerivationsError> {
        let path = file.display().to_string();
        let database = match Database::create(file) {
            Ok(database) => database,
            // A file that a crash or a full disk left unreadable holds nothing that can't be learnt again.
            Err(error) if is_unreadable(&error) => {
                let aside = file.with_extension("corrupt");
                tracing::error!(%error, path, aside = %aside.display(), "The permit store is corrupt; beginning anew");
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
            .spawn(move || write_all(&writing, &queue, most))
            .map_err(|source| DerivationsError::Thread { path, source })?;
        Ok(Self {
            database,
            batches: Some(batches),
            writer: Some(writer),
        })
    }

    fn epoch(&self) -> Result<u64, redb::Error> {
        match self.database.begin_read()?.open_table(EPOCH) {
            Ok(table) => Ok(table.get(())?.map_or(0, |epoch| epoch.value())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Of two who clear at one time the second may come to the disk first: the file never goes back.
    fn raise_epoch(&self, epoch: u64) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(EPOCH)?;
            let there = table.get(())?.map_or(0, |there| there.value());
            table.insert((), epoch.max(there))?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn write_behind(&self, batch: Vec<Arc<StoredDerivation>>) {
        let Some(batches) = &self.batches else { return };
        match batches.try_send(batch) {
            Ok(()) => {}
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                tracing::warn!(
                    edges = batch.len(),
                    "The permit store does not keep up; these are kept in memory only"
                );
            }
        }
    }

    /// A read that fails is "not kept": the child is not served, and pulling its manifest again mends it.
    fn read(&self, repository: &Repository, child: &Digest, kind: ChildKind) -> Option<StoredDerivation> {
        let value = match self.read_value(&key(repository, child, kind)) {
            Ok(value) => value?,
            Err(error) => {
                tracing::error!(%error, "The permit store could not be read");
                return None;
            }
        };
        let kept = decode(&value, repository, child, kind);
        if kept.is_none() {
            tracing::error!(image.digest = %child, "The permit store holds an entry that is not one");
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

/// Waits for the disk: who stops the gate in order and starts it again goes on with the pulls that were under way.
impl Drop for DerivationsFile {
    fn drop(&mut self) {
        drop(self.batches.take());
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("The thread that writes the permit store crashed");
        }
    }
}

/// Not a store, or no longer one. A file that another process holds, or that may not be read, is an error to mend.
fn is_unreadable(error: &redb::DatabaseError) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a kind that is new to us is an error to mend, not to discard"
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

/// Until the gate is gone and its queue is empty.
fn write_all(database: &Database, queue: &Receiver<Vec<Arc<StoredDerivation>>>, most: usize) {
    while let Ok(mut batch) = queue.recv() {
        // Whatever else comes soon goes into the same transaction: one fsync for many pulls.
        let until = Instant::now() + GATHERED;
        while let Ok(more) = queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
            batch.extend(more);
            if batch.len() >= BATCH {
                break;
            }
        }
        if let Err(error) = write(database, &batch, most) {
            tracing::error!(%error, edges = batch.len(), "The permit store could not be written");
        }
    }
}

fn write(database: &Database, batch: &[Arc<StoredDerivation>], most: usize) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(EDGES)?;
        for kept in batch {
            let cover = &kept.derivation;
            let key = key(cover.repository(), cover.child(), cover.kind());
            table.insert(&key, encode(kept).as_slice())?;
        }
        let mut times = Vec::new();
        if table.len()? > u64::try_from(most).unwrap_or(u64::MAX) {
            for entry in table.iter()? {
                times.push(expiry(entry?.1.value()));
            }
        }
        // Down to half, so that this scan is rare; the ones that expire first go.
        let mut surplus = times.len().saturating_sub(most / 2);
        if surplus > 0 {
            times.sort_unstable();
            let last = times.get(surplus - 1).copied().unwrap_or(i64::MAX);
            table.retain(|_, value| {
                let goes = surplus > 0 && expiry(value) <= last;
                surplus -= usize::from(goes);
                !goes
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
    let same_kind = derived.manifest == (kind == ChildKind::Manifest);
    same_kind.then(|| StoredDerivation {
        derivation: Derivation::new(repository.clone(), *child, kind, root, generation),
        expires_at,
        keys_end_at: Timestamp::from_second(derived.ends_at).unwrap_or(Timestamp::MAX),
        epoch: derived.epoch,
    })
}

fn key(repository: &Repository, child: &Digest, kind: ChildKind) -> FileKey {
    let mut hash = Sha256::new();
    hash.update(match kind {
        ChildKind::Blob => b"b",
        ChildKind::Manifest => b"m",
    });
    // Neither a host nor a path has a NUL, so no two names run together to one.
    hash.update(repository.registry());
    hash.update(b"\0");
    hash.update(repository.path());
    hash.update(b"\0");
    hash.update(child.algorithm());
    hash.update(child.as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
