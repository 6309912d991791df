//! The permit to serve a manifest.

use std::sync::Arc;

use super::Denial;
use crate::oci::{Blob, ChildKind, Digest, Document};
use crate::pull::derivations::Derivation;
use crate::pull::policy::Generation;
use crate::pull::resolve::Subject;

/// Permission to serve one manifest: the one that was evaluated, by its digest. Only [`crate::pull::decide`] makes one.
///
/// A caller can pass a permit on, but cannot make one: its fields are private.
///
/// ```
/// use pullgate::pull::decide::{Permit, Verdict};
/// fn serve(permit: Permit) -> Verdict {
///     Verdict::Allow(permit)
/// }
/// ```
///
/// ```compile_fail
/// use pullgate::pull::decide::{Permit, Verdict};
/// fn forge(permit: Permit) -> Verdict {
///     Verdict::Allow(Permit { ..permit })
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Permit {
    subject: Arc<Subject>,
    warning: Option<Box<Denial>>,
}

impl Permit {
    /// Makes a permit. Visible to `decide.rs` alone, which calls it after a decision.
    pub(super) const fn new(subject: Arc<Subject>, warning: Option<Box<Denial>>) -> Self {
        Self { subject, warning }
    }

    /// Returns the manifest that was evaluated.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Returns the bytes to serve.
    #[must_use]
    pub fn manifest(&self) -> &Blob {
        &self.subject.manifest
    }

    /// Returns the manifest, parsed.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.subject.document
    }

    /// Returns the denial that would have blocked the pull, had its rule not said `mode = "warn"`.
    #[must_use]
    pub fn warning(&self) -> Option<&Denial> {
        self.warning.as_deref()
    }

    /// Returns the derivations that follow from this permit: the manifest itself and, through its checked hashes, the
    /// manifests of an index, or the configuration and layers of an image. `root` is the manifest that was evaluated by
    /// itself.
    pub(crate) fn derivations(
        &self,
        root: Digest,
        generation: Generation,
    ) -> impl Iterator<Item = Derivation> {
        let subject = &self.subject;
        let children = subject.document.children();
        let children = children.map(|(child, kind)| (child.digest, kind));
        let all = std::iter::once((*subject.digest(), ChildKind::Manifest)).chain(children);
        all.map(move |(child, kind)| {
            Derivation::new(subject.repository.clone(), child, kind, root, generation)
        })
    }
}
