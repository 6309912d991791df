//! Oracle Cloud identifiers: `ocid1.<kind>.<realm>.[<region>][.<more>].<unique>` (Oracle's documentation, "Resource
//! Identifiers").

use std::fmt;
use std::str::FromStr;

use crate::base::printable::excerpt;

/// Longest OCID (Oracle's documentation, "Resource Identifiers": at most 255 characters).
const OCID_BYTES: usize = 255;

/// An identifier of a resource in Oracle's cloud. It is bounded and consists of letters, digits, `-`, `_` and
/// separators, so it needs no encoding in a path, a header or a host name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ocid(String);

/// Why a text is not an OCID, or an OCID not of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OcidError {
    /// The OCID names a resource of another kind.
    #[error("`{ocid}` is the OCID of a `{found}`, not of a `{wanted}`")]
    Kind {
        /// The OCID.
        ocid: String,
        /// Its kind.
        found: String,
        /// The expected kind.
        wanted: &'static str,
    },
    /// The text does not have the form of an OCID.
    #[error("`{0}` is not an OCID: expected `ocid1.<kind>.<realm>.<region>.<unique>`")]
    Syntax(String),
    /// The text is longer than any OCID.
    #[error("an OCID has at most {limit} characters")]
    TooLong {
        /// The bound.
        limit: usize,
    },
    /// The key's OCID does not contain a vault's host name.
    #[error("`{0}` does not name a vault: expected `ocid1.key.<realm>.<region>.<vault>.<unique>`")]
    Vault(String),
}

impl Ocid {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the kind of the resource: `tenancy`, `key`, `containerimage`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.field(1)
    }

    /// Returns the realm, such as `oc1`.
    #[must_use]
    pub fn realm(&self) -> &str {
        self.field(2)
    }

    /// Returns the region as written, a short code (`phx`) or an id; `None` for a resource without a region.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        Some(self.field(3)).filter(|region| !region.is_empty())
    }

    /// Returns the last part.
    #[must_use]
    pub fn unique(&self) -> &str {
        self.fields().last().unwrap_or_default()
    }

    /// Returns `self` if it names a resource of this kind.
    ///
    /// # Errors
    /// [`OcidError::Kind`].
    pub fn expect_kind(self, wanted: &'static str) -> Result<Self, OcidError> {
        if self.kind() == wanted {
            Ok(self)
        } else {
            Err(OcidError::Kind {
                found: self.kind().to_owned(),
                ocid: self.0,
                wanted,
            })
        }
    }

    /// Returns the part of a key's OCID that begins its vault's host names: the fifth field, of exactly six (oci-cli
    /// 3.95.1, `artifacts_cli_extended.py`, line 756). It becomes part of a host label, so `_` is refused here.
    ///
    /// # Errors
    /// [`OcidError::Kind`] and [`OcidError::Vault`].
    pub fn vault_extension(&self) -> Result<&str, OcidError> {
        self.clone().expect_kind("key")?;
        let extension = self.field(4);
        let is_label_part = (1..=VAULT_EXTENSION_BYTES).contains(&extension.len())
            && extension
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !extension.starts_with('-');
        if self.fields().count() == 6 && is_label_part {
            Ok(extension)
        } else {
            Err(OcidError::Vault(self.0.clone()))
        }
    }

    fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.split(SEPARATORS)
    }

    fn field(&self, index: usize) -> &str {
        self.fields().nth(index).unwrap_or_default()
    }
}

impl FromStr for Ocid {
    type Err = OcidError;

    /// Follows the SDK's `config.PATTERNS`: five fields or more, separated by `.` or, in old OCIDs, by `:`; the region
    /// and the fields after it may be empty. Stricter than they: kind, realm and the last field must not be empty, and
    /// the first must begin with `ocid`.
    fn from_str(text: &str) -> Result<Self, OcidError> {
        if text.len() > OCID_BYTES {
            return Err(OcidError::TooLong { limit: OCID_BYTES });
        }
        let fields: Vec<&str> = text.split(SEPARATORS).collect();
        let in_alphabet = |field: &&str| {
            field
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        match fields.as_slice() {
            [version, kind, realm, _, .., unique]
                if version.starts_with("ocid")
                    && !kind.is_empty()
                    && !realm.is_empty()
                    && !unique.is_empty()
                    && fields.iter().all(in_alphabet) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(OcidError::Syntax(excerpt(text))),
        }
    }
}

impl fmt::Display for Ocid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Ocid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// OCIDs from before 2017, which are still valid, have `:`.
const SEPARATORS: [char; 2] = ['.', ':'];

/// Leaves room for `-management` within the 63 bytes of a host label (RFC 1035, 2.3.4).
const VAULT_EXTENSION_BYTES: usize = 63 - "-management".len();

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str =
        "ocid1.key.oc1.phx.bgxjkmty6zcls.aby2uv7hsy74clk4cuxus26pahllhhetwhug45ir2eih2uzpainijj4e74yg";
    const VERSION: &str = "ocid1.keyversion.oc1.phx.bgxjkmty6zcls.cebkinlakwhuu.abyunhpa3pgixj4z7j7drgn6gqipocxp575obny5oq5xdxatyxb5nq53pf26";

    fn parse(text: &str) -> Ocid {
        text.parse().unwrap()
    }

    #[test]
    fn reads_the_fields() {
        let key = parse(KEY);
        assert_eq!(
            (key.kind(), key.realm(), key.region()),
            ("key", "oc1", Some("phx"))
        );
        assert_eq!(key.vault_extension(), Ok("bgxjkmty6zcls"));
        assert_eq!(key.to_string(), KEY);
        let tenancy =
            parse("ocid1.tenancy.oc1..aaaaaaaacatagdyblhcqriqxvorwvajdmlxuvv3d5dz3ba2v7kcvicmivfnq");
        assert_eq!((tenancy.kind(), tenancy.region()), ("tenancy", None));
        assert!(tenancy.unique().starts_with("aaaaaaaacatagd"));
        let old = parse("ocidv1:tenancy:oc1:phx:1460406592660:aaaaaaaab4faofrfkxecohhjuivjq262pu");
        assert_eq!(
            (old.kind(), old.realm(), old.region()),
            ("tenancy", "oc1", Some("phx"))
        );
    }

    #[test]
    fn refuses_texts_that_are_not_ocids() {
        for text in [
            "",
            "ocid1",
            "ocid1.key.oc1.phx",
            "ocid1.key.oc1..",
            "ocid1..oc1.phx.x",
            "ocid1.key..phx.x",
            "urn.key.oc1.phx.x",
            "ocid1.key.oc1.phx.a/../b",
            "ocid1.key.oc1.phx.a b",
            "ocid1.key.oc1.phx.a\n",
            "ocid1.key.oc1.phx.a\"",
            "ocid1.key.oc1.phx.é",
            " ocid1.key.oc1.phx.a",
            "ocid1.key.oc1.phx.a%2e",
        ] {
            assert_eq!(
                text.parse::<Ocid>(),
                Err(OcidError::Syntax(excerpt(text))),
                "{text:?}"
            );
        }
        let long = format!("ocid1.key.oc1.phx.{}", "a".repeat(OCID_BYTES));
        assert_eq!(
            long.parse::<Ocid>(),
            Err(OcidError::TooLong { limit: OCID_BYTES })
        );
    }

    #[test]
    fn an_ocid_of_another_kind_is_refused() {
        assert_eq!(parse(KEY).expect_kind("key"), Ok(parse(KEY)));
        assert_eq!(
            parse(VERSION).expect_kind("key"),
            Err(OcidError::Kind {
                ocid: VERSION.to_owned(),
                found: "keyversion".to_owned(),
                wanted: "key"
            })
        );
    }

    #[test]
    fn a_vault_extension_must_fit_a_host_label() {
        assert!(matches!(
            parse(VERSION).vault_extension(),
            Err(OcidError::Kind { .. })
        ));
        for text in [
            "ocid1.key.oc1.phx.unique".to_owned(),
            "ocid1.key.oc1.phx..unique".to_owned(),
            "ocid1.key.oc1.phx.a_b.unique".to_owned(),
            "ocid1.key.oc1.phx.-a.unique".to_owned(),
            "ocid1.key.oc1.phx.evil.example.unique".to_owned(),
            format!(
                "ocid1.key.oc1.phx.{}.unique",
                "a".repeat(VAULT_EXTENSION_BYTES + 1)
            ),
        ] {
            assert_eq!(
                parse(&text).vault_extension(),
                Err(OcidError::Vault(text.clone())),
                "{text}"
            );
        }
        let longest = format!("ocid1.key.oc1.phx.{}.unique", "a".repeat(VAULT_EXTENSION_BYTES));
        assert_eq!(
            parse(&longest).vault_extension().unwrap().len(),
            VAULT_EXTENSION_BYTES
        );
    }

    proptest! {
        #[test]
        fn an_ocid_is_displayed_as_it_was_read(text in "ocid1(\\.[a-z0-9_-]{0,6}){4,8}|.{0,40}") {
            if let Ok(ocid) = text.parse::<Ocid>() {
                prop_assert_eq!(ocid.as_str(), &text);
                prop_assert!(!ocid.kind().is_empty() && !ocid.realm().is_empty() && !ocid.unique().is_empty());
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'/'));
            }
        }
    }
}
