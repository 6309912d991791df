//! The trait of everything that carries bytes: a TCP connection, or a TLS connection on top of one.

use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream in both directions.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Io for T {}
