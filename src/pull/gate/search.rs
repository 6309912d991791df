//! The search for the signatures of one image, with what the gate has.

use std::sync::Arc;

use jiff::Timestamp;

use super::GateSettings;
use crate::net::registry::Access;
use crate::pull::evidence::Evidence;
use crate::pull::evidence::search::search;
use crate::pull::find::{SourceContext, sources};
use crate::pull::policy::{Requirement, Rule};
use crate::pull::request::Extent;
use crate::pull::resolve::Subject;
use crate::pull::verify::Wanted;

/// Searches the sources of the image's registry.
pub(super) async fn gather(
    settings: &GateSettings,
    rule: &Arc<Rule>,
    subject: &Subject,
    access: &Access,
    extent: Extent,
) -> Evidence {
    let Requirement::Signed(signed) = &rule.requirement else {
        return Evidence::default();
    };
    let context = SourceContext {
        client: settings.client.clone(),
        oracle: settings.oracle.clone(),
        directory: settings.signatures.clone(),
    };
    let names = settings.client.sources(subject.repository.registry());
    let wanted = Wanted {
        digest: *subject.digest(),
        pulled: subject.repository.clone(),
        required_repository: rule.required_repository(&subject.repository),
        signed: signed.clone(),
    };
    let sources = sources(names, &context);
    search(&sources, wanted, access, extent, Timestamp::now()).await
}
