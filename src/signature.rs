//! Signature formats: pure functions from a record's bytes and trusted keys to a claim. A new format is one file here and
//! one line in [`FORMATS`].
//!
//! A format verifies the bytes as they came, then parses those same bytes, and returns what a trusted key claims.
//! [`crate::pull::verify`] decides in one place for all formats whether that claim is about the image being pulled.

mod candidate;
mod claim;
mod error;
mod key_kind;
mod location;
pub mod oracle;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::oci::Repository;
pub use crate::signature::candidate::Candidate;
pub use crate::signature::claim::{Claim, ClaimedIdentity, ExpectedIdentity, RequiredRepository};
pub use crate::signature::error::SignatureError;
pub use crate::signature::key_kind::{UnusedKeyKind, check_key_kind};
pub use crate::signature::location::{Layers, Location, Locator, SourceName};
use crate::trust::Authority;

/// Every format, in the order in which people see them.
pub static FORMATS: &[&dyn Format] = &[&oracle::Oracle];

/// The word by which the configuration and `--json` name a format. Two formats may share one word: then a rule accepts
/// both or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FormatName(pub &'static str);

impl FormatName {
    /// Returns the names of all formats, each once, in the order of [`FORMATS`].
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut names = Vec::with_capacity(FORMATS.len());
        for name in FORMATS.iter().map(|format| format.name()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The word as the configuration and `--json` spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for FormatName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Returns the formats that these names stand for, in the order of [`FORMATS`].
#[must_use]
pub fn formats_named(names: &BTreeSet<FormatName>) -> Vec<&'static dyn Format> {
    let is_named = |format: &&dyn Format| names.contains(&format.name());
    FORMATS.iter().copied().filter(is_named).collect()
}

/// One signature format.
pub trait Format: fmt::Debug + Send + Sync {
    /// The word that a rule's `formats` uses.
    fn name(&self) -> FormatName;

    /// Returns where records of this format are kept. The source that lists a record uses this to tell its format.
    fn locations(&self) -> &'static [Location];

    /// The largest record in bytes. A source compares sizes with this bound before it reads.
    fn max_bytes(&self) -> usize;

    /// Returns the identity that a record must sign for a pull of `pulled` under a rule that requires `required`.
    fn expected_identity(&self, pulled: &Repository, required: &RequiredRepository) -> ExpectedIdentity;

    /// Verifies the record under those of `authorities` that can have made it, then reads what the signer signed.
    ///
    /// # Errors
    /// As [`SignatureError`] says. The caller goes on with the next record after each of them.
    fn verify(
        &self,
        candidate: &Candidate,
        authorities: &[Arc<Authority>],
        now: Timestamp,
    ) -> Result<Claim, SignatureError>;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{FORMATS, FormatName, formats_named};
    use crate::signature::Location;

    #[test]
    fn a_rule_gets_the_formats_that_it_names_and_no_others() {
        let all: BTreeSet<_> = FormatName::all().into_iter().collect();
        assert_eq!(formats_named(&all).len(), FORMATS.len());
        assert!(formats_named(&BTreeSet::new()).is_empty());
        assert!(formats_named(&BTreeSet::from([FormatName("unknown")])).is_empty());
    }

    #[test]
    fn no_two_formats_claim_one_location() {
        let mut seen: Vec<&Location> = Vec::new();
        for location in FORMATS.iter().flat_map(|format| format.locations()) {
            assert!(!seen.contains(&location), "{location:?} belongs to two formats");
            seen.push(location);
        }
        assert!(FORMATS.iter().all(|format| !format.locations().is_empty()));
    }
}
