//! `WWW-Authenticate` (RFC 9110, 11.6.1): the credentials that a registry asks for. A pure, bounded parser.
//!
//! Hand-written: the crate `http-auth` 0.1.10 was tried against the tests below. It refuses two spaces after the scheme
//! and empty elements at the edges of the list, both of which the RFC makes recipients accept and which Go's clients accept;
//! the bounds and the refusal of duplicate parameters would have to stay here as well.

use std::iter::Peekable;
use std::str::Chars;

use http::{HeaderMap, HeaderValue, header};
use url::Url;

/// Longest text of all challenges of one response, in bytes.
const BYTES: usize = 8 * 1024;

/// Most challenges of one response. Registries send one or two.
const CHALLENGES: usize = 8;

/// Most parameters of one challenge. Docker's token specification has four.
const PARAMETERS: usize = 16;

/// One challenge: a scheme and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// In lower case.
    scheme: String,
    /// Names in lower case, in the order of the response.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    pub(super) fn is_basic(&self) -> bool {
        self.scheme == "basic"
    }

    pub(super) fn is_bearer(&self) -> bool {
        self.scheme == "bearer"
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Why challenges were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChallengeError {
    /// The text holds bytes outside printable ASCII.
    #[error("the challenge is not ASCII text")]
    Ascii,
    /// One parameter occurs twice, so that two readers could go to two realms.
    #[error("the challenge has one parameter twice")]
    Duplicate,
    /// The text exceeds a bound.
    #[error("the challenge is too long")]
    Long,
    /// The text does not follow the grammar.
    #[error("the challenge is not what RFC 9110 describes")]
    Syntax,
}

/// Reads all challenges of a response, in order.
pub(super) fn parse(headers: &HeaderMap) -> Result<Vec<Challenge>, ChallengeError> {
    let mut challenges = Vec::new();
    let mut bytes = 0_usize;
    for value in headers.get_all(header::WWW_AUTHENTICATE) {
        bytes = bytes.saturating_add(value.len());
        if bytes > BYTES {
            return Err(ChallengeError::Long);
        }
        parse_line(text(value)?, &mut challenges)?;
    }
    Ok(challenges)
}

/// Returns the first challenge that may be passed to a client: bounded, well formed, and leading it only to an http(s)
/// URL. `None` otherwise: a client gets "unauthorized" without a realm rather than with a harmful one.
pub(super) fn presentable(headers: &HeaderMap) -> Option<HeaderValue> {
    headers
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .find(|value| is_presentable(value))
        .cloned()
}

fn is_presentable(value: &HeaderValue) -> bool {
    let mut challenges = Vec::new();
    let Ok(line) = text(value) else { return false };
    value.len() <= BYTES
        && parse_line(line, &mut challenges).is_ok()
        && !challenges.is_empty()
        && challenges
            .iter()
            .filter(|challenge| challenge.is_bearer())
            .all(|bearer| {
                bearer
                    .parameter("realm")
                    .and_then(|realm| Url::parse(realm).ok())
                    .is_some_and(|realm| {
                        matches!(realm.scheme(), "http" | "https")
                            && realm.username().is_empty()
                            && realm.password().is_none()
                    })
            })
}

fn text(value: &HeaderValue) -> Result<&str, ChallengeError> {
    value.to_str().ok().ok_or(ChallengeError::Ascii)
}

fn parse_line(line: &str, challenges: &mut Vec<Challenge>) -> Result<(), ChallengeError> {
    let mut rest = line.chars().peekable();
    loop {
        skip_separators(&mut rest);
        if rest.peek().is_none() {
            return Ok(());
        }
        let scheme = token(&mut rest)?;
        if challenges.len() == CHALLENGES {
            return Err(ChallengeError::Long);
        }
        let mut challenge = Challenge {
            scheme: scheme.to_ascii_lowercase(),
            parameters: Vec::new(),
        };
        let spaces = skip_spaces(&mut rest);
        match rest.peek() {
            None => {}
            Some(',') => {}
            Some(_) if spaces == 0 => return Err(ChallengeError::Syntax),
            Some(_) => parameters(&mut rest, &mut challenge)?,
        }
        challenges.push(challenge);
    }
}

/// Reads parameters until the line ends or another scheme begins. The name of a parameter is followed by `=`, the name of
/// a scheme by a space or a comma.
fn parameters(rest: &mut Peekable<Chars<'_>>, challenge: &mut Challenge) -> Result<(), ChallengeError> {
    loop {
        let mut ahead = rest.clone();
        let name = token(&mut ahead)?;
        skip_spaces(&mut ahead);
        if ahead.next() != Some('=') {
            // Another scheme, or the one token of `Negotiate <token68>`, which registries with Basic or Bearer never send.
            return if challenge.parameters.is_empty() {
                Err(ChallengeError::Syntax)
            } else {
                Ok(())
            };
        }
        skip_spaces(&mut ahead);
        let value = if ahead.peek() == Some(&'"') {
            quoted(&mut ahead)?
        } else {
            token(&mut ahead)?
        };
        *rest = ahead;
        let name = name.to_ascii_lowercase();
        if challenge.parameter(&name).is_some() {
            return Err(ChallengeError::Duplicate);
        }
        if challenge.parameters.len() == PARAMETERS {
            return Err(ChallengeError::Long);
        }
        challenge.parameters.push((name, value));
        skip_spaces(rest);
        match rest.peek() {
            None => return Ok(()),
            Some(',') => skip_separators(rest),
            Some(_) => return Err(ChallengeError::Syntax),
        }
        if rest.peek().is_none() {
            return Ok(());
        }
    }
}

fn quoted(rest: &mut Peekable<Chars<'_>>) -> Result<String, ChallengeError> {
    rest.next();
    let mut value = String::new();
    loop {
        match rest.next() {
            None => return Err(ChallengeError::Syntax),
            Some('"') => return Ok(value),
            Some('\\') => value.push(rest.next().ok_or(ChallengeError::Syntax)?),
            Some(other) => value.push(other),
        }
    }
}

fn token(rest: &mut Peekable<Chars<'_>>) -> Result<String, ChallengeError> {
    let mut value = String::new();
    while let Some(next) =
        rest.next_if(|next| next.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(*next))
    {
        value.push(next);
    }
    if value.is_empty() {
        Err(ChallengeError::Syntax)
    } else {
        Ok(value)
    }
}

fn skip_spaces(rest: &mut Peekable<Chars<'_>>) -> usize {
    let mut spaces = 0_usize;
    while rest.next_if(|next| matches!(next, ' ' | '\t')).is_some() {
        spaces = spaces.saturating_add(1);
    }
    spaces
}

/// Skips spaces and commas: RFC 9110 allows empty elements in lists.
fn skip_separators(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|next| matches!(next, ' ' | '\t' | ',')).is_some() {}
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};
    use proptest::prelude::*;

    use super::{BYTES, Challenge, ChallengeError, parse, presentable};

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_bytes(line.as_bytes()).unwrap(),
            );
        }
        headers
    }

    fn challenge(scheme: &str, parameters: &[(&str, &str)]) -> Challenge {
        let parameters = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Challenge {
            scheme: scheme.to_owned(),
            parameters,
        }
    }

    #[test]
    fn the_challenges_of_real_registries_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull,push""#;
        let bearer = challenge(
            "bearer",
            &[
                ("realm", "https://auth.docker.io/token"),
                ("service", "registry.docker.io"),
                ("scope", "repository:library/nginx:pull,push"),
            ],
        );
        assert_eq!(parse(&headers(&[hub])), Ok(vec![bearer.clone()]));
        let basic = challenge("basic", &[("realm", "say \"hello\"\\")]);
        assert_eq!(
            parse(&headers(&[hub, r#"BASIC Realm = "say \"hello\"\\" ,, "#])),
            Ok(vec![bearer.clone(), basic.clone()])
        );
        assert_eq!(
            parse(&headers(&[&format!(
                r#" , {hub} , Basic realm="say \"hello\"\\", Negotiate"#
            )])),
            Ok(vec![bearer, basic, challenge("negotiate", &[])])
        );
        assert_eq!(parse(&headers(&["Basic, Bearer"])).unwrap().len(), 2);
        assert_eq!(
            parse(&headers(&["Basic \t realm=plain"])),
            Ok(vec![challenge("basic", &[("realm", "plain")])])
        );
        assert_eq!(
            parse(&headers(&["Basic realm=plain"])),
            Ok(vec![challenge("basic", &[("realm", "plain")])])
        );
        assert_eq!(parse(&headers(&[])), Ok(vec![]));
        assert_eq!(parse(&headers(&[""])), Ok(vec![]));
    }

    #[test]
    fn malformed_and_oversized_challenges_are_refused() {
        let many = "a,".repeat(9);
        let parameters: String = (0..17).map(|number| format!("p{number}=x,")).collect();
        let long = "x".repeat(BYTES);
        for (line, why) in [
            (r#"Bearer realm="https://a""https://b""#, ChallengeError::Syntax),
            (r#"Bearer realm="https://a" realm="#, ChallengeError::Syntax),
            (r#"Bearer realm="never ends"#, ChallengeError::Syntax),
            (r#"Bearer realm="ends\"#, ChallengeError::Syntax),
            ("Bearer realm=", ChallengeError::Syntax),
            ("Bearer =x", ChallengeError::Syntax),
            ("Bearer realm=https://a", ChallengeError::Syntax),
            ("Negotiate YWJj==", ChallengeError::Syntax),
            ("Negotiate YWJj", ChallengeError::Syntax),
            ("=", ChallengeError::Syntax),
            ("\"Bearer\" realm=x", ChallengeError::Syntax),
            ("Bearer\"x\"", ChallengeError::Syntax),
            (
                r#"Bearer realm="https://a", Realm="https://b""#,
                ChallengeError::Duplicate,
            ),
            (r#"Bearer realm="https://ä""#, ChallengeError::Ascii),
            (&many, ChallengeError::Long),
            (&format!("Bearer {parameters}"), ChallengeError::Long),
            (&format!("Bearer realm=\"{long}\""), ChallengeError::Long),
        ] {
            assert_eq!(parse(&headers(&[line])), Err(why), "{line}");
            assert_eq!(presentable(&headers(&[line])), None, "{line}");
        }
        let half = format!("Bearer realm=\"{}\"", "x".repeat(BYTES / 2));
        assert_eq!(parse(&headers(&[&half, &half])), Err(ChallengeError::Long));
    }

    #[test]
    fn a_client_gets_only_realms_with_an_http_url_and_no_user() {
        let good = r#"Bearer realm="https://auth.example/token",service="s""#;
        assert_eq!(presentable(&headers(&[good])).unwrap(), good);
        assert_eq!(
            presentable(&headers(&["Bearer realm=\"file:///etc/shadow\"", good])).unwrap(),
            good
        );
        assert_eq!(
            presentable(&headers(&["Basic realm=\"any words\""])).unwrap(),
            "Basic realm=\"any words\""
        );
        for line in [
            "",
            "Bearer",
            r#"Bearer service="s""#,
            r#"Bearer realm="file:///etc/shadow""#,
            r#"Bearer realm="https://user:secret@auth.example/""#,
            r#"Bearer realm="/token""#,
        ] {
            assert_eq!(presentable(&headers(&[line])), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(lines in proptest::collection::vec("[ -~]{0,64}", 0..4)) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            if let Ok(challenges) = parse(&headers(&lines)) {
                prop_assert!(challenges.iter().all(|challenge| !challenge.scheme.is_empty()));
            }
        }

        #[test]
        fn quoted_values_come_back_unescaped(realm in "[ -~]{0,64}", service in "[ -~]{0,64}") {
            let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let line = format!("Bearer realm=\"{}\",service=\"{}\"", quote(&realm), quote(&service));
            prop_assert_eq!(
                parse(&headers(&[&line])),
                Ok(vec![challenge("bearer", &[("realm", &realm), ("service", &service)])])
            );
        }
    }
}
