//! Leaves fields out of a Protocol Buffers message without knowing its other fields.

use std::ops::RangeInclusive;

/// The bytes are not a Protocol Buffers message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not protobuf")]
pub struct NotProtobuf;

/// Copies a message without those of its fields `number` that are not `wanted`. Every other field stays byte for byte, known
/// to this release or not.
///
/// # Errors
/// [`NotProtobuf`], for groups too: proto3 does not have them.
pub fn without(
    message: &[u8],
    number: u64,
    mut wanted: impl FnMut(&[u8]) -> bool,
) -> Result<Vec<u8>, NotProtobuf> {
    let mut kept = Vec::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let (field, after) = split_field(rest).ok_or(NotProtobuf)?;
        let keep = match field.content {
            Some(content) if field.number == number => wanted(content),
            Some(_) | None => true,
        };
        if keep {
            kept.extend_from_slice(field.whole);
        }
        rest = after;
    }
    Ok(kept)
}

/// One field of a message: its number, all its bytes, and its content if it is length-delimited.
struct Field<'m> {
    number: u64,
    whole: &'m [u8],
    content: Option<&'m [u8]>,
}

/// The number of a field has 29 bits (Protocol Buffers, "Assigning Field Numbers"). Go's gogo/protobuf truncates a larger
/// number, and would read another field than we did.
const NUMBERS: RangeInclusive<u64> = 1..=(1 << 29) - 1;

/// Splits the first field off a message (Protocol Buffers, "Encoding"): a key of number and wire type, then as many bytes as
/// the type says.
fn split_field(message: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (key, after_key) = varint(message)?;
    let (content, after) = match key & 7 {
        0 => (None, varint(after_key)?.1),
        1 => (None, after_key.get(8..)?),
        2 => {
            let (length, rest) = varint(after_key)?;
            let (content, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            (Some(content), after)
        }
        5 => (None, after_key.get(4..)?),
        // Groups, which proto3 does not have.
        _ => return None,
    };
    let whole = message.get(..message.len() - after.len())?;
    let number = key >> 3;
    NUMBERS.contains(&number).then_some((
        Field {
            number,
            whole,
            content,
        },
        after,
    ))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (place, &byte) in bytes.iter().enumerate().take(10) {
        let low = u64::from(byte & 0x7f);
        if place == 9 && low > 1 {
            return None;
        }
        value |= low << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(place + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests;
