//! Bodies of answers: bytes that are held whole, or a blob that is streamed from its registry.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::net::registry::RegistryError;
use crate::oci::Digest;

/// The body of an answer. A blob holds one chunk at a time, and reads the next when the client has taken this one.
pub(super) struct ResponseBody(BodyKind);

enum BodyKind {
    Blob(Box<BlobBody>),
    Whole(Option<Bytes>),
}

struct BlobBody {
    digest: Digest,
    chunks: BoxStream<'static, Result<Bytes, RegistryError>>,
    deadline: Pin<Box<Sleep>>,
}

/// Why a blob was cut. The connection is closed with it, so that the client sees a short body, never a clean end.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("blob `{digest}` was cut at its deadline")]
    Deadline { digest: Digest },
    #[error("blob `{digest}` was cut: its registry broke off")]
    Upstream {
        digest: Digest,
        #[source]
        source: RegistryError,
    },
}

impl ResponseBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(BodyKind::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// Whether this is a blob, which may take long to pass through.
    pub(super) const fn is_blob(&self) -> bool {
        matches!(self.0, BodyKind::Blob(_))
    }

    pub(super) fn blob(
        chunks: BoxStream<'static, Result<Bytes, RegistryError>>,
        digest: Digest,
        deadline: Instant,
    ) -> Self {
        Self(BodyKind::Blob(Box::new(BlobBody {
            digest,
            chunks,
            deadline: Box::pin(sleep_until(deadline)),
        })))
    }
}

impl hyper::body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().0 {
            BodyKind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            BodyKind::Blob(blob) => blob
                .poll_chunk(context)
                .map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, BodyKind::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            // The `Content-Length` of its registry gives the size of a blob.
            BodyKind::Blob(_) => SizeHint::default(),
            BodyKind::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                u64::try_from(length).map_or_else(|_too_large| SizeHint::default(), SizeHint::with_exact)
            }
        }
    }
}

impl BlobBody {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let digest = self.digest;
        // Checked first, so that a registry that sends a byte now and then is cut as well.
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(BodyError::Deadline { digest })));
        }
        let chunk = self.chunks.poll_next_unpin(context);
        chunk.map(|chunk| chunk.map(|chunk| chunk.map_err(|source| BodyError::Upstream { digest, source })))
    }
}
