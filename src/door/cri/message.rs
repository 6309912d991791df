//! gRPC messages as bytes (gRPC over HTTP/2, `PROTOCOL-HTTP2.md`), read within bounds.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;

use super::fields::NotProtobuf;

/// Compressed-Flag and Message-Length.
const PREFIX: usize = 5;

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum GrpcMessageError {
    #[error("the call broke off")]
    Broken(#[source] hyper::Error),
    #[error("the message is compressed, and this door does not decompress")]
    Compressed,
    #[error("the message has more than {0} bytes")]
    Large(usize),
    #[error("the call does not have exactly one message")]
    NotOne,
    #[error("the message is not one of its method: {0}")]
    Malformed(String),
}

/// One message with its prefix, so that the bytes that are sent on are the bytes that came.
#[derive(Clone, Debug)]
pub(super) struct GrpcMessage {
    framed: Bytes,
}

impl From<NotProtobuf> for GrpcMessageError {
    fn from(error: NotProtobuf) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl GrpcMessage {
    pub(super) fn new(message: &impl prost::Message) -> Self {
        let encoded = message.encode_to_vec();
        Self::from_bytes(&encoded)
    }

    pub(super) fn from_bytes(message: &[u8]) -> Self {
        let mut framed = BytesMut::with_capacity(PREFIX + message.len());
        framed.extend_from_slice(&[0]);
        // Our own messages are smaller than the largest that is read.
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        framed.extend_from_slice(message);
        Self {
            framed: framed.freeze(),
        }
    }

    /// The message with its prefix, as it goes over the wire.
    pub(super) fn framed(&self) -> Bytes {
        self.framed.clone()
    }

    /// The protobuf bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.framed.get(PREFIX..).unwrap_or_default()
    }

    pub(super) fn decode<M: prost::Message + Default>(&self) -> Result<M, GrpcMessageError> {
        M::decode(self.bytes()).map_err(|error| GrpcMessageError::Malformed(error.to_string()))
    }
}

/// Reads the one message of a call in one direction, and the trailers behind it. An answer that is an error has no message:
/// `None`.
pub(super) async fn read(
    mut body: impl Body<Data = Bytes, Error = hyper::Error> + Unpin,
    most: usize,
) -> Result<(Option<GrpcMessage>, Option<http::HeaderMap>), GrpcMessageError> {
    let mut read = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame.map_err(GrpcMessageError::Broken)?.into_data() {
            Ok(mut data) => {
                if read.len() + data.remaining() > PREFIX + most {
                    return Err(GrpcMessageError::Large(most));
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
        return Err(GrpcMessageError::NotOne);
    };
    if flag != 0 {
        return Err(GrpcMessageError::Compressed);
    }
    let length = length
        .iter()
        .fold(0_usize, |length, &byte| (length << 8) | usize::from(byte));
    if framed.len() != PREFIX + length {
        return Err(GrpcMessageError::NotOne);
    }
    Ok((Some(GrpcMessage { framed }), trailers))
}

#[cfg(test)]
mod tests;
