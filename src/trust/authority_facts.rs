//! The facts about an authority that do not depend on its kind.

use super::validity::Validity;
use crate::base::canonical_hash::CanonicalHash;

/// The facts that policy, `config show` and the generation need of every kind of authority.
pub trait AuthorityFacts {
    /// The name by which rules refer to the authority.
    fn name(&self) -> &str;

    /// The kind, in one word: the name of the table that configures it.
    fn kind(&self) -> &'static str;

    /// The detail that identifies the authority, and its label, as `config show` prints them beside the name.
    fn shown(&self) -> (&'static str, String);

    /// When the authority may be used, by its configuration.
    fn validity(&self) -> Validity;

    /// Writes everything that a verdict can depend on, so that any change of it changes the generation.
    fn hash_into(&self, hash: &mut CanonicalHash);
}
