//! What the gate remembers between pulls: bounded, and never one client's for another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::Weighter;

use super::PullRequest;
use crate::net::registry::{Presented, Target};
use crate::oci::{Digest, Repository};
use crate::pull::policy::Generation;
use crate::pull::resolve::Subject;
use crate::pull::verify::Evidence;

/// Manifests that are kept between a runtime's HEAD and its GET: about how many, how many bytes, how long.
pub(super) const SUBJECTS: usize = 1024;
pub(super) const SUBJECT_BYTES: u64 = 8 * 1024 * 1024;
pub(super) const SUBJECT_LIFE: Duration = Duration::from_secs(60);

/// For how many manifests it is known who read them last.
pub(super) const READERS: usize = 4096;

/// Whose manifest: content that one client may read is not handed to one that did not show the same credentials.
pub(super) type SubjectKey = (Repository, Digest, CredentialsHash);

/// What is asked of a registry, by whom, and under which settings.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) repository: Repository,
    pub(super) target: Target,
    pub(super) shown: CredentialsHash,
    pub(super) generation: Generation,
    pub(super) epoch: u64,
}

pub(super) struct ReadSubject {
    pub(super) subject: Arc<Subject>,
    /// `Content-Type` that it was sent and read with: under another one the same bytes may have to be refused.
    pub(super) content_type: Option<String>,
    pub(super) at: Instant,
}

/// Bounds what is kept by size. A parsed descriptor takes more room than its text; twice the text is a fair measure.
#[derive(Clone)]
pub(super) struct ByBytes;

impl Weighter<SubjectKey, Arc<ReadSubject>> for ByBytes {
    fn weight(&self, _: &SubjectKey, read: &Arc<ReadSubject>) -> u64 {
        u64::try_from(512 + 3 * read.subject.manifest.bytes().len()).unwrap_or(u64::MAX)
    }
}

/// What a remembered verdict is about. Another policy, another key: a reload forgets everything. Another epoch too:
/// what a pull that was under way brings back after `pullgate cache clear` is found by no one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EvidenceKey {
    pub(super) repository: Repository,
    pub(super) digest: Digest,
    pub(super) generation: Generation,
    pub(super) epoch: u64,
    /// The rule, where it is one of some pods alone: another one may want other keys.
    pub(super) rule: Option<Arc<str>>,
}

pub(super) struct Remembered {
    pub(super) evidence: Arc<Evidence>,
    pub(super) until: Instant,
}

/// Bounds what is remembered by records, not by images: one image may have 128.
#[derive(Clone)]
pub(super) struct ByRecords;

impl Weighter<EvidenceKey, Arc<Remembered>> for ByRecords {
    fn weight(&self, _: &EvidenceKey, remembered: &Arc<Remembered>) -> u64 {
        let evidence = &remembered.evidence;
        u64::try_from(1 + evidence.judged.len() + evidence.troubles.len()).unwrap_or(u64::MAX)
    }
}

/// A hash of the credentials that were shown, if any were. Only those who showed the same ones wait for the same work: a
/// client without access must not decide what one with access is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CredentialsHash(Option<[u8; 32]>);

impl CredentialsHash {
    pub(super) fn of(request: &PullRequest) -> Self {
        Self(request.presented.as_ref().map(Presented::hash))
    }
}
