//! Security tokens: Oracle's token service issues them to instances, and `oci session authenticate` writes them to a
//! file.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::base::limits::SECURITY_TOKEN_BYTES;
use crate::net::oracle::Secret;
use crate::oci::json::{self, JsonError, Object};

/// A JSON Web Token (RFC 7519) in its compact form. Oracle's services verify its signature; here its claims decide only
/// when to request the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityToken(Secret);

/// Why a text is not a token, or does not state its expiry. No variant quotes the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The claims are not base64url.
    #[error("the token's claims are not base64url")]
    Base64(#[source] base64::DecodeError),
    /// The claims are not JSON with a number `exp`. The cause is dropped, because its text would quote the claims.
    #[error("the token's claims do not state its expiry")]
    Claims,
    /// The expiry is beyond the range of timestamps.
    #[error("the token's expiry is out of range")]
    Range,
    /// The text is not three parts of base64url, separated by dots.
    #[error("not a security token: expected three parts of base64url, separated by dots")]
    Syntax,
    /// The text is longer than any token.
    #[error("a security token has at most {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
}

impl SecurityToken {
    /// Parses a token of a file or a service; white space around it is dropped. The token becomes part of a header,
    /// inside quotation marks, so only base64url and dots are accepted: other characters could leave the quotation
    /// marks.
    ///
    /// # Errors
    /// [`TokenError::TooLarge`] and [`TokenError::Syntax`].
    pub fn parse(unverified: &[u8]) -> Result<Self, TokenError> {
        let text = unverified.trim_ascii();
        if text.len() > SECURITY_TOKEN_BYTES {
            return Err(TokenError::TooLarge {
                limit: SECURITY_TOKEN_BYTES,
            });
        }
        let in_alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let parts: Vec<&[u8]> = text.split(|byte| *byte == b'.').collect();
        let is_token = parts.len() == 3
            && parts.iter().all(|part| part.iter().all(in_alphabet))
            && parts.iter().take(2).all(|part| !part.is_empty());
        match std::str::from_utf8(text) {
            Ok(text) if is_token => Ok(Self(Secret::new(text.to_owned()))),
            Ok(_) | Err(_) => Err(TokenError::Syntax),
        }
    }

    /// Returns the token itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Returns the expiry that the token states (RFC 7519, 4.1.4: `exp`, seconds since 1970, perhaps with a fraction).
    ///
    /// # Errors
    /// [`TokenError::Base64`], [`TokenError::Claims`] and [`TokenError::Range`].
    pub fn expires_at(&self) -> Result<Timestamp, TokenError> {
        let claims = self.expose().split('.').nth(1).unwrap_or_default();
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(TokenError::Base64)?;
        let read: Result<Object<Claims>, JsonError> = json::parse(&claims);
        let Ok(Object(Claims { exp })) = read else {
            return Err(TokenError::Claims);
        };
        match SignedDuration::try_from_secs_f64(exp).and_then(Timestamp::from_duration) {
            Ok(end) => Ok(end),
            Err(_out_of_range) => Err(TokenError::Range),
        }
    }

    /// Returns whether to request the next token: from 60 s before the expiry on (SDK,
    /// `auth/security_token_container.py`), so that a token that is valid when checked is still valid when it arrives.
    ///
    /// # Errors
    /// As for [`Self::expires_at`].
    pub fn is_due(&self, now: Timestamp) -> Result<bool, TokenError> {
        Ok(self.expires_at()?.duration_since(now) < RENEW_BEFORE)
    }
}

/// The one claim that is read. RFC 7519 lets an issuer add any others.
#[derive(Deserialize)]
struct Claims {
    exp: f64,
}

const RENEW_BEFORE: SignedDuration = SignedDuration::from_secs(60);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(claims: &str) -> SecurityToken {
        SecurityToken::parse(
            format!("eyJhbGciOiJSUzI1NiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(claims)).as_bytes(),
        )
        .unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn expiry_and_renewal_follow_the_claims() {
        let token =
            token(r#"{"sub":"ocid1.instance.oc1..x","iat":1795450799,"exp":1795451999,"ttype":"x509"}"#);
        assert_eq!(token.expires_at(), Ok(at("2026-11-23T16:39:59Z")));
        for (now, due) in [
            ("2026-11-23T16:38:59Z", false),
            ("2026-11-23T16:38:59.000000001Z", true),
            ("2026-11-23T16:39:59Z", true),
            ("2030-01-01T00:00:00Z", true),
        ] {
            assert_eq!(token.is_due(at(now)), Ok(due), "{now}");
        }
    }

    #[test]
    fn a_missing_malformed_or_impossible_expiry_is_an_error() {
        for claims in [
            "{}",
            "[1795449599]",
            "null",
            r#"{"exp":null}"#,
            r#"{"exp":"1795449599"}"#,
            r#"{"exp":1,"exp":2}"#,
            r#"{"exp":1,"EXP":2}"#,
            r#"{"exp":1} "#.repeat(2).as_str(),
        ] {
            assert_eq!(token(claims).expires_at(), Err(TokenError::Claims), "{claims}");
        }
        for claims in [
            r#"{"exp":1e300}"#,
            r#"{"exp":-1e18}"#,
            r#"{"exp":9223372036854775807}"#,
        ] {
            assert!(token(claims).expires_at() == Err(TokenError::Range), "{claims}");
        }
        let not_base64 = SecurityToken::parse(b"a.bcd-e.f").unwrap();
        assert!(matches!(not_base64.expires_at(), Err(TokenError::Base64(_))));
    }

    #[test]
    fn refuses_characters_that_could_leave_the_quotation_marks() {
        let blanks = SecurityToken::parse(b"\n a.b.c \r\n").unwrap();
        assert_eq!(blanks.expose(), "a.b.c");
        assert_eq!(SecurityToken::parse(b"a.b.").unwrap().expose(), "a.b.");
        for text in [
            "",
            "a",
            "a.b",
            ".b.c",
            "a..c",
            "a.b.c.d",
            "a.b.c\"",
            "a.b\r\nx: y.c",
            "a.b=.c",
            "a.b.c d",
            "ST$a.b.c",
        ] {
            assert_eq!(
                SecurityToken::parse(text.as_bytes()),
                Err(TokenError::Syntax),
                "{text:?}"
            );
        }
        assert_eq!(SecurityToken::parse(b"a.\xff.c"), Err(TokenError::Syntax));
        let large = format!("a.{}.c", "b".repeat(SECURITY_TOKEN_BYTES));
        assert_eq!(
            SecurityToken::parse(large.as_bytes()),
            Err(TokenError::TooLarge {
                limit: SECURITY_TOKEN_BYTES
            })
        );
    }

    #[test]
    fn debug_output_hides_the_token() {
        assert_eq!(format!("{:?}", token("{}")), "SecurityToken((not shown))");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_token_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80), claims in ".{1,60}") {
            if let Ok(token) = SecurityToken::parse(&bytes) {
                let _ = token.expires_at();
            }
            let _ = token(&claims).expires_at();
        }

        #[test]
        fn every_expiry_in_whole_seconds_is_read(seconds in 0_i64..253_402_207_200) {
            prop_assert_eq!(
                token(&format!(r#"{{"exp":{seconds}}}"#)).expires_at().unwrap(),
                Timestamp::from_second(seconds).unwrap()
            );
        }
    }
}
