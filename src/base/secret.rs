//! Text that is never printed, and overwritten when it is dropped.
//!
//! Our own rather than `secrecy`'s `SecretString`: that type compares and clones nothing, on purpose, while ours is a field
//! of settings and logins that a reload compares. Both overwrite their bytes with `zeroize`.

use std::fmt;

use zeroize::Zeroizing;

/// A pass phrase, a password or a token. Its bytes are overwritten when it is dropped. Copies that other code made of them
/// are not.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Returns the text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {secret:#?}"), "(not shown) (not shown)");
        assert_eq!(secret.expose(), "hunter2");
    }
}
