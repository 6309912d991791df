//! The changes of one file, as splices of its text.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable};

/// One change: pieces of text that go, and text that comes.
#[derive(Debug)]
pub(super) struct Edit {
    /// The byte at which the change is reported.
    pub(super) position: usize,
    pub(super) action: String,
    splices: Vec<Splice>,
}

#[derive(Debug)]
struct Splice {
    removed: Range<usize>,
    inserted: String,
}

/// Finds what an earlier release wrote in another way, in the order of the text.
pub(super) fn edits(text: &str, root: &DeTable<'_>) -> Vec<Edit> {
    let rules = tables(root, "rule").filter_map(|rule| add_formats(text, rule));
    let registries = tables(root, "registry").filter_map(|registry| merge_tag(text, registry.get_ref()));
    let mut edits: Vec<Edit> = rules.chain(registries).collect();
    edits.sort_by_key(|edit| edit.position);
    edits
}

/// Returns the text with all edits made.
pub(super) fn apply(text: &str, edits: &[Edit]) -> String {
    let mut splices: Vec<&Splice> = edits.iter().flat_map(|edit| &edit.splices).collect();
    splices.sort_by_key(|splice| splice.removed.start);
    let mut edited = String::with_capacity(text.len());
    let mut copied = 0;
    for Splice { removed, inserted } in splices {
        edited.push_str(text.get(copied..removed.start).unwrap_or_default());
        edited.push_str(inserted);
        copied = removed.end;
    }
    edited.push_str(text.get(copied..).unwrap_or_default());
    edited
}

fn tables<'t, 'd>(
    root: &'t DeTable<'d>,
    key: &str,
) -> impl Iterator<Item = Spanned<&'t DeTable<'d>>> + use<'t, 'd> {
    let items = root.get(key).and_then(|value| value.get_ref().as_array());
    items
        .into_iter()
        .flat_map(|items| items.iter())
        .filter_map(|item| {
            let table = item.get_ref().as_table()?;
            Some(Spanned::new(item.span(), table))
        })
}

/// Names the format of earlier releases in a rule that is `signed`.
fn add_formats(text: &str, rule: Spanned<&DeTable<'_>>) -> Option<Edit> {
    let (key, value) = rule.get_ref().get_key_value("require")?;
    if value.get_ref().as_str() != Some("signed") || rule.get_ref().contains_key("formats") {
        return None;
    }
    // The span of `[[rule]]` is its header, that of an inline table the braces.
    let is_inline = text.get(rule.span().start..)?.starts_with('{');
    let splice = if is_inline {
        Splice {
            removed: value.span().end..value.span().end,
            inserted: format!(", {FORMATS} = {ORACLE}"),
        }
    } else {
        line_below(text, key, value.span())?
    };
    Some(Edit {
        position: key.span().start,
        action: format!("add `{FORMATS} = {ORACLE}` to the rule"),
        splices: vec![splice],
    })
}

const FORMATS: &str = "formats";

const ORACLE: &str = "[\"oracle\"]";

/// Inserts a line below the setting, with its indentation, its column of `=` and its line ending.
fn line_below(text: &str, key: &Spanned<DeString<'_>>, value: Range<usize>) -> Option<Splice> {
    let key = key.span();
    let line_start = text
        .get(..key.start)?
        .rfind('\n')
        .map_or(0, |newline| newline.saturating_add(1));
    let indent = text.get(line_start..key.start)?;
    let indent = if indent.trim().is_empty() { indent } else { "" };
    let (before_equals, after_equals) = text.get(key.end..value.start)?.split_once('=')?;
    let column = text.get(key)?.chars().count().saturating_add(before_equals.len());
    let padding = if before_equals.chars().all(|character| character == ' ') && !before_equals.is_empty() {
        " ".repeat(column.saturating_sub(FORMATS.len()).max(1))
    } else {
        before_equals.to_owned()
    };
    let line = format!("{indent}{FORMATS}{padding}={after_equals}{ORACLE}");
    let rest = text.get(value.end..)?;
    let line_end = rest
        .find('\n')
        .map(|newline| value.end.saturating_add(newline).saturating_add(1));
    let (at, inserted) = match line_end {
        Some(end) if text.get(..end)?.ends_with("\r\n") => (end, format!("{line}\r\n")),
        Some(end) => (end, format!("{line}\n")),
        // The last line of the file, without a line ending.
        None if text.contains("\r\n") => (text.len(), format!("\r\n{line}")),
        None => (text.len(), format!("\n{line}")),
    };
    Some(Splice {
        removed: at..at,
        inserted,
    })
}

/// Takes `"tag"` out of `signatures`, or writes `"referrers"` in its place.
fn merge_tag(text: &str, registry: &DeTable<'_>) -> Option<Edit> {
    let items: Vec<(Range<usize>, &str)> = registry
        .get("signatures")?
        .get_ref()
        .as_array()?
        .iter()
        .filter_map(|item| Some((item.span(), item.get_ref().as_str()?)))
        .collect();
    let index_of = |word| items.iter().position(|(_, item)| *item == word);
    let tag = index_of("tag")?;
    let (tag_span, _) = items.get(tag)?.clone();
    let renamed = || Splice {
        removed: tag_span.clone(),
        inserted: text
            .get(tag_span.clone())
            .unwrap_or_default()
            .replace("tag", "referrers"),
    };
    let (action, splices) = match index_of("referrers") {
        None => (RENAME, vec![renamed()]),
        Some(referrers) if referrers < tag => (REMOVE, remove_item(text, &items, tag)?),
        // The order of `signatures` stays: the earlier of the two is where both are now.
        Some(referrers) => {
            let mut splices = remove_item(text, &items, referrers)?;
            splices.push(renamed());
            (REMOVE, splices)
        }
    };
    Some(Edit {
        position: tag_span.start,
        action: action.to_owned(),
        splices,
    })
}

const RENAME: &str = "write `\"referrers\"` in place of `\"tag\"` in `signatures`";

const REMOVE: &str = "remove `\"tag\"` from `signatures`: `\"referrers\"` includes it";

/// Removes an item of a list and one comma, and the line where nothing else is on it. Comments stay.
fn remove_item(text: &str, items: &[(Range<usize>, &str)], index: usize) -> Option<Vec<Splice>> {
    let (item, _) = items.get(index)?.clone();
    let cut = |removed: Range<usize>| Splice {
        removed,
        inserted: String::new(),
    };
    if let Some(comma) = comma_after(text, item.end) {
        let is_adjacent = text.get(item.end..comma)?.trim_matches([' ', '\t']).is_empty();
        return Some(if is_adjacent {
            vec![cut(with_blanks(text, item.start..comma.saturating_add(1))?)]
        } else {
            // A line break or a comment stands between the item and its comma.
            vec![cut(item), cut(comma..comma.saturating_add(1))]
        });
    }
    let previous = items.get(index.checked_sub(1)?)?.0.end;
    let comma = comma_after(text, previous)?;
    Some(if text.get(previous..item.start)?.contains('\n') {
        // A comma behind the last item is allowed, and another line stays as it is.
        vec![cut(with_blanks(text, item)?)]
    } else {
        vec![cut(comma..item.end)]
    })
}

/// Finds the comma that follows an item, behind blanks, line breaks and comments.
fn comma_after(text: &str, item_end: usize) -> Option<usize> {
    let mut position = item_end;
    let mut in_comment = false;
    for character in text.get(item_end..)?.chars() {
        match character {
            '\n' => in_comment = false,
            _ if in_comment => {}
            '#' => in_comment = true,
            ',' => return Some(position),
            _ if character.is_whitespace() => {}
            // The end of the list.
            _ => return None,
        }
        position = position.saturating_add(character.len_utf8());
    }
    None
}

/// Widens a removal by the blanks behind it, and to the whole line where nothing else is on it.
fn with_blanks(text: &str, removed: Range<usize>) -> Option<Range<usize>> {
    let line_start = text
        .get(..removed.start)?
        .rfind('\n')
        .map_or(0, |newline| newline.saturating_add(1));
    let rest = text.get(removed.end..)?;
    let blanks = rest
        .len()
        .saturating_sub(rest.trim_start_matches([' ', '\t']).len());
    let end = removed.end.saturating_add(blanks);
    let newline = ["\r\n", "\n"]
        .into_iter()
        .find(|newline| text.get(end..).is_some_and(|rest| rest.starts_with(newline)));
    let is_first = text.get(line_start..removed.start)?.trim().is_empty();
    Some(match newline {
        Some(newline) if is_first => line_start..end.saturating_add(newline.len()),
        // Blanks at the end of a line that stays: they were there.
        Some(_) => removed,
        None => removed.start..end,
    })
}
