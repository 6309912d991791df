//! gRPC messages as bytes (gRPC over HTTP/2, `PROTOCOL-HTTP2.md`): read within bounds, and protobuf edited in place.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;

/// Compressed-Flag and Message-Length.
const PREFIX: usize = 5;

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error("the call broke off")]
    Broken(#[source] hyper::Error),
    #[error("the message is compressed, which this door does not read")]
    Compressed,
    #[error("the message has more than {0} bytes")]
    Large(usize),
    #[error("the call does not hold one message")]
    NotOne,
    #[error("the message is not what its method takes: {0}")]
    Malformed(String),
}

/// One message, with its prefix: what is sent on is what came.
#[derive(Clone, Debug)]
pub(super) struct Message {
    framed: Bytes,
}

impl Message {
    pub(super) fn of(message: &impl prost::Message) -> Self {
        let encoded = message.encode_to_vec();
        Self::framing(&encoded)
    }

    pub(super) fn framing(message: &[u8]) -> Self {
        let mut framed = BytesMut::with_capacity(PREFIX + message.len());
        framed.extend_from_slice(&[0]);
        // What we make ourselves is smaller than what we read.
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        framed.extend_from_slice(message);
        Self {
            framed: framed.freeze(),
        }
    }

    /// As it goes over the wire.
    pub(super) fn framed(&self) -> Bytes {
        self.framed.clone()
    }

    /// The protobuf bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.framed.get(PREFIX..).unwrap_or_default()
    }

    pub(super) fn decode<M: prost::Message + Default>(&self) -> Result<M, MessageError> {
        M::decode(self.bytes()).map_err(|error| MessageError::Malformed(error.to_string()))
    }
}

/// Reads the one message of a call in one direction, and the trailers behind it. None where there is no message: an answer
/// that is an error has none.
pub(super) async fn read(
    mut body: impl Body<Data = Bytes, Error = hyper::Error> + Unpin,
    most: usize,
) -> Result<(Option<Message>, Option<http::HeaderMap>), MessageError> {
    let mut read = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame.map_err(MessageError::Broken)?.into_data() {
            Ok(mut data) => {
                if read.len() + data.remaining() > PREFIX + most {
                    return Err(MessageError::Large(most));
                }
                read.extend_from_slice(&data.copy_to_bytes(data.remaining()));
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let framed = read.freeze();
    if framed.is_empty() {
        return Ok((None, trailers));
    }
    let (Some(&flag), Some(length)) = (framed.first(), framed.get(1..PREFIX)) else {
        return Err(MessageError::NotOne);
    };
    if flag != 0 {
        return Err(MessageError::Compressed);
    }
    let length = length
        .iter()
        .fold(0_usize, |length, &byte| (length << 8) | usize::from(byte));
    if framed.len() != PREFIX + length {
        return Err(MessageError::NotOne);
    }
    Ok((Some(Message { framed }), trailers))
}

/// Copies a protobuf message without those of its fields `number` that are not `wanted`. All else stays byte for byte, the
/// fields that this release does not know too.
pub(super) fn without(
    message: &[u8],
    number: u64,
    mut wanted: impl FnMut(&[u8]) -> bool,
) -> Result<Vec<u8>, MessageError> {
    let broken = || MessageError::Malformed("not protobuf".to_owned());
    let mut kept = Vec::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let (field, after) = split_field(rest).ok_or_else(broken)?;
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

/// One field of a message: its number, all its bytes, and its content if it is one of a length of its own.
struct Field<'m> {
    number: u64,
    whole: &'m [u8],
    content: Option<&'m [u8]>,
}

/// Protocol Buffers, "Encoding": a key of number and wire type, then as much as the type says.
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
    (number != 0).then_some((
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
