//! When a signer may be used.

use jiff::Timestamp;

/// The window of a signer, and whether the administrator revoked it. The default is always valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// The first instant at which the signer may be used.
    pub not_before: Option<Timestamp>,
    /// The first instant at which the signer may no longer be used.
    pub not_after: Option<Timestamp>,
    /// Whether the signer is revoked. A revoked signer may not be used at any time.
    pub revoked: bool,
}

/// A signer that may not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignerUnusable {
    /// Its window has ended.
    #[error("the key expired at {0}")]
    Expired(Timestamp),
    /// Its window has not begun.
    #[error("the key is not valid before {0}")]
    NotYetValid(Timestamp),
    /// The administrator revoked it.
    #[error("the key is revoked")]
    Revoked,
}

/// The instant at which the validity of a signer is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JudgedAt {
    /// The time of the decision.
    Now,
    /// The time of the signature, which a log or a timestamp authority proves.
    SigningTime(Timestamp),
}

impl Validity {
    /// Checks that the signer may be used at `at`. Revocation is reported first, because it does not pass with time.
    ///
    /// # Errors
    /// [`SignerUnusable`] names the window or the revocation.
    pub fn check(&self, at: Timestamp) -> Result<(), SignerUnusable> {
        if self.revoked {
            return Err(SignerUnusable::Revoked);
        }
        match (self.not_before, self.not_after) {
            (Some(start), _) if at < start => Err(SignerUnusable::NotYetValid(start)),
            (_, Some(end)) if at >= end => Err(SignerUnusable::Expired(end)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_includes_its_first_instant_and_excludes_its_last() {
        let (start, end) = (
            "2026-01-01T00:00:00Z".parse().unwrap(),
            "2027-01-01T00:00:00Z".parse().unwrap(),
        );
        let validity = Validity {
            not_before: Some(start),
            not_after: Some(end),
            revoked: false,
        };
        for (now, expected) in [
            (
                "2025-12-31T23:59:59.999999999Z",
                Err(SignerUnusable::NotYetValid(start)),
            ),
            ("2026-01-01T00:00:00Z", Ok(())),
            ("2026-12-31T23:59:59.999999999Z", Ok(())),
            ("2027-01-01T00:00:00Z", Err(SignerUnusable::Expired(end))),
        ] {
            assert_eq!(validity.check(now.parse().unwrap()), expected, "{now}");
        }
    }

    #[test]
    fn a_signer_without_a_window_is_always_usable_and_a_revoked_one_never() {
        let revoked = Validity {
            revoked: true,
            ..Validity::default()
        };
        for now in [
            "1970-01-01T00:00:00Z",
            "2026-06-01T00:00:00Z",
            "9999-01-01T00:00:00Z",
        ] {
            let now = now.parse().unwrap();
            assert_eq!(Validity::default().check(now), Ok(()), "{now}");
            assert_eq!(revoked.check(now), Err(SignerUnusable::Revoked), "{now}");
        }
    }
}
