//! The `Link` header field (RFC 8288), as registries name the next page of a list (distribution-spec 1.1).
//!
//! Go's clients (oras-go, go-containerregistry, containers/image) read the first target of the field and fail when it
//! does not stand in angle brackets. This parser refuses the same inputs, because a list that ended silently at
//! a malformed field would hide entries. Unlike those clients it follows only a link whose relation is `next`.

use http::HeaderValue;

/// Why a `Link` field was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    /// The field holds bytes outside visible ASCII; a target is a URI reference, which has none.
    #[error("`Link` is not ASCII text")]
    NotAscii,
    /// The field does not follow the grammar of RFC 8288.
    #[error("`Link` is not what RFC 8288 describes")]
    Syntax,
}

/// Returns the target of the first link whose relation is `next`, from all `Link` fields of one answer.
///
/// # Errors
/// [`LinkError`] when a field up to that link is malformed.
pub(crate) fn next_target<'a>(
    fields: impl IntoIterator<Item = &'a HeaderValue>,
) -> Result<Option<&'a str>, LinkError> {
    for field in fields {
        let mut rest = Rest(field.to_str().ok().ok_or(LinkError::NotAscii)?);
        loop {
            // Lists may have empty elements (RFC 9110, 5.6.1).
            rest.skip(|next| matches!(next, ' ' | '\t' | ','));
            if rest.0.is_empty() {
                break;
            }
            let target = rest.target()?;
            if rest.parameters_say_next()? {
                return Ok(Some(target));
            }
        }
    }
    Ok(None)
}

/// The part of a field that has not been read.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// Reads `<target>`.
    fn target(&mut self) -> Result<&'a str, LinkError> {
        let from_target = self.0.strip_prefix('<').ok_or(LinkError::Syntax)?;
        let (target, after) = from_target.split_once('>').ok_or(LinkError::Syntax)?;
        self.0 = after;
        Ok(target)
    }

    /// Reads the parameters of one link, up to the comma before the next link or the end.
    fn parameters_say_next(&mut self) -> Result<bool, LinkError> {
        let mut relation = None;
        loop {
            self.skip(is_space);
            match self.0.chars().next() {
                None | Some(',') => return Ok(relation.unwrap_or(false)),
                Some(';') => self.skip(|next| next == ';' || is_space(next)),
                Some(_) => return Err(LinkError::Syntax),
            }
            let name = self.until(|next| matches!(next, '=' | ';' | ',') || is_space(next));
            self.skip(is_space);
            let Some(after) = self.0.strip_prefix('=') else {
                continue;
            };
            self.0 = after;
            self.skip(is_space);
            let value = match self.0.strip_prefix('"') {
                Some(quoted) => self.quoted(quoted)?,
                None => self.until(|next| matches!(next, ';' | ',') || is_space(next)),
            };
            // Parsers must ignore a second `rel` (RFC 8288, 3.3): a proxy that read the first would disagree with us.
            if name.eq_ignore_ascii_case("rel") && relation.is_none() {
                let mut relations = value.split_ascii_whitespace();
                relation = Some(relations.any(|one| one.eq_ignore_ascii_case("next")));
            }
        }
    }

    /// Reads a quoted string after its opening quote. Escapes stay in it: no relation that matters has one.
    fn quoted(&mut self, text: &'a str) -> Result<&'a str, LinkError> {
        let mut is_escaped = false;
        let end = text.find(|next| {
            let is_end = next == '"' && !is_escaped;
            is_escaped = next == '\\' && !is_escaped;
            is_end
        });
        let (value, after) = end
            .and_then(|end| text.split_at_checked(end))
            .ok_or(LinkError::Syntax)?;
        self.0 = after.strip_prefix('"').unwrap_or(after);
        Ok(value)
    }

    fn until(&mut self, is_end: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(is_end).unwrap_or(self.0.len());
        let (before, after) = self.0.split_at_checked(end).unwrap_or((self.0, ""));
        self.0 = after;
        before
    }

    fn skip(&mut self, is_skipped: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(is_skipped);
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::{LinkError, next_target};

    fn next(lines: &[&str]) -> Result<Option<String>, LinkError> {
        let fields: Vec<HeaderValue> = lines
            .iter()
            .map(|line| HeaderValue::from_bytes(line.as_bytes()).unwrap())
            .collect();
        next_target(&fields).map(|target| target.map(str::to_owned))
    }

    #[test]
    fn the_next_page_is_found_among_other_links() {
        for (lines, target) in [
            (vec![], None),
            (vec![""], None),
            (vec!["</a>; rel=\"next\""], Some("/a")),
            (vec!["</a>;rel=next"], Some("/a")),
            (vec!["</a> ; REL = Next ;"], Some("/a")),
            (vec!["</a?x=1,2>;rel=next"], Some("/a?x=1,2")),
            (vec!["</a>; rel"], None),
            (vec!["</a>"], None),
            (vec!["</p>; rel=\"prev\"", "</n>; rel=\"next\""], Some("/n")),
            (vec!["</p>; rel=\"nextish\""], None),
            (vec!["<>; rel=next"], Some("")),
            (
                vec!["</p>; rel=prev, </n>; title=x; rel=next, </o>; rel=next"],
                Some("/n"),
            ),
        ] {
            assert_eq!(next(&lines), Ok(target.map(str::to_owned)), "{lines:?}");
        }
    }

    #[test]
    fn one_link_may_have_several_relations() {
        assert_eq!(next(&["</n>; rel=\"last Next\""]), Ok(Some("/n".to_owned())));
    }

    #[test]
    fn a_comma_semicolon_bracket_or_quote_in_a_quoted_value_separates_nothing() {
        for line in [
            "</p>; title=\"a, </x>; rel=next\"; rel=prev, </n>; rel=next",
            "</n>; title=\"<\"; rel=next",
            "</n>; title=\"a \\\"quoted\\\" word; rel=prev\"; rel=next",
        ] {
            assert_eq!(next(&[line]), Ok(Some("/n".to_owned())), "{line}");
        }
        assert_eq!(next(&["</p>; title=\"; rel=next\""]), Ok(None));
    }

    #[test]
    fn a_field_that_names_no_target_in_brackets_is_refused_as_go_clients_refuse_it() {
        for line in [
            "/a; rel=next",
            "rel=next",
            "<",
            "<x",
            "</a; rel=next",
            "x </a>; rel=next",
        ] {
            assert_eq!(next(&[line]), Err(LinkError::Syntax), "{line}");
        }
    }

    #[test]
    fn links_without_a_comma_between_them_are_refused() {
        for line in [
            "</a>; rel=prev </b>; rel=next",
            "</a> </b>; rel=next",
            "</a>; rel=prev, b",
            "</a>; rel=\"next",
        ] {
            assert_eq!(next(&[line]), Err(LinkError::Syntax), "{line}");
        }
    }

    #[test]
    fn empty_elements_of_the_list_are_skipped() {
        assert_eq!(next(&[", , </n>; rel=next"]), Ok(Some("/n".to_owned())));
    }

    #[test]
    fn only_the_first_relation_parameter_counts() {
        assert_eq!(next(&["</a>; rel=prev; rel=next"]), Ok(None));
        assert_eq!(next(&["</a>; rel=next; rel=prev"]), Ok(Some("/a".to_owned())));
    }

    #[test]
    fn a_target_outside_ascii_is_refused() {
        assert_eq!(next(&["</ä>; rel=next"]), Err(LinkError::NotAscii));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(line in "[ -~]{0,64}") {
            let _read_or_refused = next(&[&line]);
        }

        #[test]
        fn every_target_comes_back_as_it_was_written(target in "[!-;=?-~]{0,40}") {
            prop_assert_eq!(next(&[&format!("<{target}>; rel=\"next\"")]), Ok(Some(target)));
        }
    }
}
