//! The names in admitted manifests, in bounded memory and in one file that survives a restart.
//!
//! A client asks for a child by its digest alone, without the name of its parent, so the derivation child -> root is
//! stored here. A derivation is a fact (the root's bytes hash to the root and name the child). Whether the root is still
//! admitted is evaluated again when the policy has changed or the verdict is no longer remembered.
//!
//! Derivations are written behind the answer, in batches and on a thread of their own: no pull waits for the disk. A lost
//! batch (after a crash, or with a full disk or queue) costs a second evaluation of the root or a second pull, and never
//! admits an image.

mod derivation;
mod file;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use derivation::{Derivation, Expiry, StoredDerivation, after};
pub use file::DerivationsError;
use file::DerivationsFile;
use jiff::Timestamp;
use quick_cache::sync::Cache;

use crate::oci::{ChildKind, Digest, Repository};

/// A child: its repository, its digest, and how it is requested.
type Child = (Repository, Digest, ChildKind);

/// The number of derivations that are kept in memory; the others are read from the file.
const IN_MEMORY: usize = 65_536;

/// All derivations of a process.
pub(crate) struct Derivations {
    memory: Cache<Child, Arc<StoredDerivation>>,
    file: Option<DerivationsFile>,
    epoch: AtomicU64,
}

impl Derivations {
    /// Opens the file, which holds at most `capacity` derivations. Without a `path` they are kept in memory alone.
    pub(crate) fn open(path: Option<&Path>, capacity: usize) -> Result<Self, DerivationsError> {
        let file = path
            .map(|path| DerivationsFile::open(path, capacity))
            .transpose()?;
        let epoch = match &file {
            Some(file) => file
                .epoch()
                .map_err(|source| DerivationsError::Epoch(Box::new(source)))?,
            None => 0,
        };
        Ok(Self {
            memory: Cache::new(IN_MEMORY.min(capacity.max(1))),
            file,
            epoch: AtomicU64::new(epoch),
        })
    }

    /// Returns the current epoch: pulls that start now belong to it.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Begins another epoch, which invalidates the verdicts of all earlier ones. It waits for the disk, so that a restart
    /// does not bring them back.
    pub(crate) fn advance(&self) -> Result<(), DerivationsError> {
        let next = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        match &self.file {
            Some(file) => file
                .raise_epoch(next)
                .map_err(|source| DerivationsError::Epoch(Box::new(source))),
            None => Ok(()),
        }
    }

    /// Stores derivations. One that is stored already and has most of its time left is kept, whichever root it leads to:
    /// images share layers, and each pull would otherwise overwrite the derivations of the other images. Keeping it costs
    /// one look-up.
    pub(crate) fn remember(
        &self,
        derivations: impl Iterator<Item = Derivation>,
        now: Timestamp,
        expiry: Expiry,
        epoch: u64,
    ) {
        let Expiry {
            expires_at,
            keys_end_at,
        } = expiry;
        let mut new = Vec::new();
        for derivation in derivations {
            let child = (
                derivation.repository().clone(),
                *derivation.child(),
                derivation.kind(),
            );
            let is_kept = self.memory.get(&child).is_some_and(|stored| {
                let remaining = stored.expires_at.as_second() - now.as_second();
                let whole = expires_at.as_second() - now.as_second();
                stored.belongs_to(derivation.generation(), epoch) && remaining * 2 > whole
            });
            if !is_kept {
                let stored = Arc::new(StoredDerivation {
                    derivation,
                    expires_at,
                    keys_end_at,
                    epoch,
                });
                self.memory.insert(child, Arc::clone(&stored));
                new.push(stored);
            }
        }
        if let Some(file) = self.file.as_ref().filter(|_| !new.is_empty()) {
            file.write_behind(new);
        }
    }

    /// Returns the derivation of this child, if an admitted manifest of the same repository names it.
    pub(crate) fn parent_of(
        &self,
        repository: &Repository,
        child: &Digest,
        kind: ChildKind,
    ) -> Option<Arc<StoredDerivation>> {
        let key = (repository.clone(), *child, kind);
        if let Some(stored) = self.memory.get(&key) {
            return Some(stored);
        }
        let stored = Arc::new(self.file.as_ref()?.read(repository, child, kind)?);
        self.memory.insert(key, Arc::clone(&stored));
        Some(stored)
    }
}

#[cfg(test)]
mod tests;
