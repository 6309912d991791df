//! A response and its body. The body is read only when it is polled, and its connection returns to the pool at its end.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue, StatusCode, response};
use hyper::body::{Body as _, Incoming};

use super::connection::Connection;
use super::pool::Pool;
use super::pool_key::PoolKey;

/// A response with an unread body. Dropping it before the body's end closes the connection.
pub(crate) struct TransportResponse {
    head: response::Parts,
    body: IncomingBody,
}

impl TransportResponse {
    /// Takes over the response and the connection that it arrives on, which returns to the pool at the end of the body.
    pub(super) fn new(
        response: http::Response<Incoming>,
        connection: Connection,
        key: PoolKey,
        pool: &Arc<Pool>,
    ) -> Self {
        let (head, incoming) = response.into_parts();
        let mut body = IncomingBody {
            left: incoming.size_hint().exact(),
            incoming,
            lease: Some(Box::new(ConnectionLease {
                connection,
                key,
                pool: Arc::clone(pool),
            })),
        };
        if body.incoming.is_end_stream() {
            body.finish();
        }
        Self { head, body }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Returns the first content encoding of the body other than `identity`. Requests never ask for one, because a bound
    /// on compressed bytes would not bound the content.
    pub(crate) fn compressed(&self) -> Option<&HeaderValue> {
        let mut encodings = self.headers().get_all(CONTENT_ENCODING).iter();
        encodings.find(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    }

    /// Returns the reason phrase, where it is not the status's own (RFC 9112, 4).
    pub(crate) fn phrase(&self) -> Option<&[u8]> {
        let phrase = self.head.extensions.get::<hyper::ext::ReasonPhrase>();
        phrase.map(hyper::ext::ReasonPhrase::as_bytes)
    }

    /// Returns the number of bytes of the body, if the response announces it.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.body.left
    }

    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        poll_fn(|context| self.body.poll_chunk(context)).await
    }

    /// Reads the body whole. A body that announces more than `limit` bytes is refused before it is read; the bytes are
    /// counted as well, because a chunked body announces no length.
    pub(crate) async fn whole(mut self, limit: usize) -> Result<Bytes, Unread> {
        let announced = usize::try_from(self.announced().unwrap_or(0))
            .ok()
            .filter(|length| *length <= limit);
        let announced = announced.ok_or(Unread::TooLarge)?;
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await {
            let chunk = chunk?;
            if chunk.len() > limit.saturating_sub(whole.len()) {
                return Err(Unread::TooLarge);
            }
            if whole.is_empty() {
                if chunk.len() == announced {
                    // The usual manifest: one read and no copy.
                    return Ok(chunk);
                }
                whole.reserve(announced);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    pub(crate) fn into_body(self) -> IncomingBody {
        self.body
    }
}

/// A body as it arrives. It reads only when it is polled.
pub(crate) struct IncomingBody {
    incoming: Incoming,
    /// The number of bytes that are still to come; `None` for a chunked body.
    left: Option<u64>,
    /// `None` once the body has ended.
    lease: Option<Box<ConnectionLease>>,
}

/// The connection that a body arrives on, and the pool that it returns to.
struct ConnectionLease {
    connection: Connection,
    key: PoolKey,
    pool: Arc<Pool>,
}

/// The connection ended before the body did.
#[derive(Debug, thiserror::Error)]
#[error("the response broke off")]
pub(crate) struct BrokenOff(#[source] hyper::Error);

/// Why a body was not read whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    #[error(transparent)]
    BrokenOff(#[from] BrokenOff),
    #[error("the response is larger than its bound")]
    TooLarge,
}

impl IncomingBody {
    /// Polls for the next chunk; `None` at the end.
    pub(crate) fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let Some(lease) = &mut self.lease else {
            return Poll::Ready(None);
        };
        let next = ready!(lease.connection.poll_chunk(&mut self.incoming, context));
        match next {
            Some(Ok(chunk)) => {
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
                    // A caller that knows the length does not poll for the end, and the connection would be lost.
                    if *left == 0
                        && let Poll::Ready(None) = lease.connection.poll_chunk(&mut self.incoming, context)
                    {
                        self.finish();
                    }
                }
                Poll::Ready(Some(Ok(chunk)))
            }
            Some(Err(error)) => {
                self.lease = None;
                Poll::Ready(Some(Err(BrokenOff(error))))
            }
            None => {
                self.finish();
                Poll::Ready(None)
            }
        }
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            let ConnectionLease {
                mut connection,
                key,
                pool,
            } = *lease;
            if connection.is_open() {
                pool.put(key, connection);
            }
        }
    }
}
