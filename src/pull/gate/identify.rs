//! Whether an image that a runtime has is one that was admitted, by what it is and not by what it is called.

use std::collections::VecDeque;

use super::{Gate, PullRequest};
use crate::base::error_chain::chain;
use crate::oci::{ChildKind, Descriptor, Digest, Document, Platform, Reference};
use crate::pull::decide::{Derivation, Permit};
use crate::pull::gate::context::Pull;
use crate::pull::resolve::ResolveError;

/// Manifests of one index that are read at most to find an image: those of this machine's platform come first.
const MANIFESTS: usize = 64;

/// What the runtime has is not known to be what was admitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifyError {
    /// The manifest that was admitted has another configuration.
    #[error("its configuration is `{identifier}`, and that of the admitted manifest is `{admitted}`")]
    Configuration {
        /// Of what the runtime has.
        identifier: Digest,
        /// Of what was admitted.
        admitted: Digest,
    },
    /// No manifest that the admitted index lists has this configuration.
    #[error("its configuration is `{identifier}`, which no manifest of the admitted index has")]
    Unlisted {
        /// Of what the runtime has.
        identifier: Digest,
    },
    /// As [`Self::Unlisted`], as far as they could be read.
    #[error(
        "its configuration is `{identifier}`; not every manifest of the admitted index could be read: {}",
        chain(unread)
    )]
    Unread {
        /// Of what the runtime has.
        identifier: Digest,
        /// Why one of them could not.
        #[source]
        unread: ResolveError,
    },
}

impl Gate {
    /// Holds what a runtime pulled against what was admitted: its identifier is the digest of its configuration, which
    /// names what its layers unpack to, or of its manifest. The names that it has say nothing: an archive brings its own,
    /// and one may have been there before. Of an index, manifests are read until one has this configuration; nothing of
    /// that is judged again, or recorded.
    ///
    /// `root` is the manifest that was judged by itself.
    ///
    /// # Errors
    /// As [`IdentifyError`] says.
    pub async fn identify(
        &self,
        request: &PullRequest,
        permit: &Permit,
        root: Digest,
        identifier: &Digest,
    ) -> Result<(), IdentifyError> {
        let settings = self.settings();
        let ruling = request.effective_rule(&settings.policy);
        let mut unread = None;
        let mut read = 0_usize;
        let mut left = VecDeque::new();
        match names(permit.document(), identifier) {
            Names::It => return Ok(()),
            _ if permit.subject().digest() == identifier => return Ok(()),
            Names::Another(admitted) => {
                return Err(IdentifyError::Configuration {
                    identifier: *identifier,
                    admitted,
                });
            }
            Names::Manifests(manifests) => left.extend(manifests),
        }
        while let Some(child) = left.pop_front().filter(|_| read < MANIFESTS) {
            // An index that is listed may list manifests in turn, itself included: the bound ends that.
            read += 1;
            if settings.policy.denies(&child) {
                continue;
            }
            let request = PullRequest {
                reference: Reference {
                    repository: request.reference.repository.clone(),
                    tag: None,
                    digest: Some(child),
                },
                purpose: request.purpose.for_another_manifest(),
                ..request.clone()
            };
            let pull = Pull {
                settings: &settings,
                ruling: &ruling,
                request: &request,
                epoch: self.derivations.epoch(),
            };
            let subject = match self.subject(pull).await {
                Ok(subject) => subject,
                // Copies of an index often lack the manifests of other platforms.
                Err(error) => {
                    unread = Some(error);
                    continue;
                }
            };
            match names(&subject.document, identifier) {
                Names::Manifests(manifests) => left.extend(manifests),
                Names::Another(_) if child != *identifier => {}
                Names::It | Names::Another(_) => {
                    self.keep_identified(pull, &subject.document, root);
                    return Ok(());
                }
            }
        }
        let identifier = *identifier;
        Err(match unread {
            Some(unread) => IdentifyError::Unread { identifier, unread },
            None => IdentifyError::Unlisted { identifier },
        })
    }

    /// What was found stands for as long as its root does, so that it is known when the runtime is asked what it has. A root
    /// that was admitted before the policy was changed or the cache cleared stands no longer: a pull may take minutes.
    fn keep_identified(&self, pull: Pull<'_>, document: &Document, root: Digest) {
        let repository = &pull.request.reference.repository;
        if !pull.is_cacheable() {
            return;
        }
        let Some(kept) = self.derivations.parent_of(repository, &root, ChildKind::Manifest) else {
            return;
        };
        let generation = pull.settings.policy.generation();
        if kept.derivation.generation() != generation || kept.epoch != pull.epoch {
            return;
        }
        let covers = document
            .children()
            .map(|(child, kind)| Derivation::new(repository.clone(), child.digest, kind, root, generation));
        self.remember(pull, covers, kept.expires_at);
    }
}

/// What a document says of an identifier.
enum Names {
    It,
    /// An image with this configuration.
    Another(Digest),
    /// Nothing itself: those of this machine's platform come first.
    Manifests(Vec<Digest>),
}

fn names(document: &Document, identifier: &Digest) -> Names {
    match document {
        Document::Image(image) if image.config.digest == *identifier => Names::It,
        Document::Image(image) => Names::Another(image.config.digest),
        Document::Index(index) => {
            let here = Platform::of_this_machine();
            let is_for_here = |child: &&Descriptor| {
                let platform = child.platform.as_ref();
                platform.is_some_and(|platform| {
                    platform.os == here.os && platform.architecture == here.architecture
                })
            };
            let (mut first, then): (Vec<_>, Vec<_>) = index.manifests.iter().partition(is_for_here);
            first.extend(then);
            Names::Manifests(first.iter().map(|child| child.digest).collect())
        }
    }
}
