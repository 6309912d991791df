//! Whether the image that a runtime has is the admitted one, by its content and not by its name.

use std::collections::VecDeque;

use super::{Gate, GateSettings};
use crate::base::error_chain::chain;
use crate::oci::{ChildKind, Descriptor, Digest, Document, Platform, Reference};
use crate::pull::decide::Permit;
use crate::pull::derivations::Derivation;
use crate::pull::request::{PullContext, PullRequest};
use crate::pull::resolve::ResolveError;

/// The number of manifests of one index that are read to find an image. Those for this machine's platform come first.
const MANIFESTS: usize = 64;

/// The image that the runtime has is not known to be the admitted one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifyError {
    /// The admitted manifest has another configuration.
    #[error("its configuration is `{identifier}`, but the admitted manifest has `{admitted}`")]
    Configuration {
        /// The configuration of the runtime's image.
        identifier: Digest,
        /// The configuration of the admitted manifest.
        admitted: Digest,
    },
    /// No manifest of the admitted index has this configuration.
    #[error("its configuration is `{identifier}`, which no manifest of the admitted index has")]
    Unlisted {
        /// The configuration of the runtime's image.
        identifier: Digest,
    },
    /// No manifest that could be read has this configuration.
    #[error(
        "its configuration is `{identifier}`, and could not read every manifest of the admitted index: {}",
        chain(unread)
    )]
    Unread {
        /// The configuration of the runtime's image.
        identifier: Digest,
        /// The reason why a manifest could not be read.
        #[source]
        unread: ResolveError,
    },
}

impl Gate {
    /// Compares the image that a runtime pulled with the admitted one. The runtime's identifier is the digest of the
    /// image's configuration, which names the unpacked layers, or of its manifest. The names of an image prove nothing: an
    /// archive brings its own names, and a name may be older than the pull. The manifests of an index are read until one
    /// has this configuration; they are neither evaluated again nor recorded.
    ///
    /// `root` is the manifest that was evaluated by itself.
    ///
    /// # Errors
    /// Returns an [`IdentifyError`] unless the image is the admitted one.
    pub async fn identify(
        &self,
        request: &PullRequest,
        permit: &Permit,
        root: Digest,
        identifier: &Digest,
    ) -> Result<(), IdentifyError> {
        let settings = self.settings();
        let rule = request.effective_rule(&settings.policy);
        let mut unread = None;
        let mut read = 0_usize;
        let mut queue = VecDeque::new();
        match compare(permit.document(), identifier) {
            Comparison::Same => return Ok(()),
            Comparison::Different(_) | Comparison::Index(_) if permit.subject().digest() == identifier => {
                return Ok(());
            }
            Comparison::Different(admitted) => {
                return Err(IdentifyError::Configuration {
                    identifier: *identifier,
                    admitted,
                });
            }
            Comparison::Index(manifests) => queue.extend(manifests),
        }
        while let Some(child) = queue.pop_front().filter(|_| read < MANIFESTS) {
            // An index may list other indexes, and even itself: the bound ends that.
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
            let pull = self.context(&request, &settings, &rule);
            let subject = match self.resolver.resolve(pull, &settings.client).await {
                Ok(subject) => subject,
                // Copies of an index often lack the manifests of other platforms.
                Err(error) => {
                    unread = Some(error);
                    continue;
                }
            };
            match compare(&subject.document, identifier) {
                Comparison::Index(manifests) => queue.extend(manifests),
                Comparison::Different(_) if child != *identifier => {}
                Comparison::Same | Comparison::Different(_) => {
                    self.remember_identified(pull, &settings, &subject.document, root);
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

    /// Remembers the children of the manifest that was found, for as long as its root is admitted: `image_status` finds
    /// them when the runtime is asked for its images. If the policy has changed or the cache was cleared since the root was
    /// admitted, which can happen in a pull of minutes, the root is no longer admitted.
    fn remember_identified(
        &self,
        pull: PullContext<'_>,
        settings: &GateSettings,
        document: &Document,
        root: Digest,
    ) {
        let repository = pull.repository();
        if !pull.is_cacheable() {
            return;
        }
        let Some(stored) = self.derivations.parent_of(repository, &root, ChildKind::Manifest) else {
            return;
        };
        let generation = pull.policy.generation();
        if !stored.belongs_to(generation, pull.epoch) {
            return;
        }
        let derivations = document
            .children()
            .map(|(child, kind)| Derivation::new(repository.clone(), child.digest, kind, root, generation));
        self.remember_derivations(pull, settings, derivations, stored.expires_at);
    }
}

/// The result of comparing a document with an identifier.
enum Comparison {
    /// The image has this configuration.
    Same,
    /// The image has another configuration.
    Different(Digest),
    /// The document is an index of these manifests, those for this machine's platform first.
    Index(Vec<Digest>),
}

fn compare(document: &Document, identifier: &Digest) -> Comparison {
    match document {
        Document::Image(image) if image.config.digest == *identifier => Comparison::Same,
        Document::Image(image) => Comparison::Different(image.config.digest),
        Document::Index(index) => {
            let here = Platform::from_this_machine();
            let is_for_here = |child: &&Descriptor| {
                let platform = child.platform.as_ref();
                platform.is_some_and(|platform| {
                    platform.os == here.os && platform.architecture == here.architecture
                })
            };
            let (mut ordered, others): (Vec<_>, Vec<_>) = index.manifests.iter().partition(is_for_here);
            ordered.extend(others);
            Comparison::Index(ordered.iter().map(|child| child.digest).collect())
        }
    }
}
