//! Authorities: those whose signatures a rule may accept.

use super::authority_facts::AuthorityFacts;
use super::trusted_key::TrustedKey;

/// An authority that a rule may name. A new kind is a file of its own, a variant here, and its arm in
/// [`Authority::facts`]; each format then has to say whether the kind can sign its records.
#[derive(Clone, Debug)]
pub enum Authority {
    /// A configured public key (`[[key]]`).
    Key(TrustedKey),
}

impl Authority {
    /// The facts that do not depend on the kind.
    #[must_use]
    pub fn facts(&self) -> &dyn AuthorityFacts {
        match self {
            Self::Key(key) => key,
        }
    }
}

impl From<TrustedKey> for Authority {
    fn from(key: TrustedKey) -> Self {
        Self::Key(key)
    }
}
