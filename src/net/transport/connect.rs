//! Making a connection: the name is resolved under the guard's rules, the proxy of the environment is used where it is
//! meant, and TLS is spoken where the URL says so.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use super::PoolKey;
use super::guard::{ConnectPolicy, Guard};
use super::tls::TlsStream;

/// How long one connection may take to be made. A registry that is up answers within a round trip or two.
const CONNECT: Duration = Duration::from_secs(10);

/// After so long without a byte the kernel asks whether the other side is still there (`SO_KEEPALIVE`): a firewall that
/// dropped the connection does not say so.
const KEEPALIVE: Duration = Duration::from_secs(50);

/// What opens connections.
pub(super) struct Dialer {
    guard: Arc<Guard>,
    tls: Arc<ClientConfig>,
    /// `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    proxies: Matcher,
}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The host of the URL, or of the proxy.
    #[error("`{0}` is no host name")]
    Host(String),
    #[error("the URL cannot be used")]
    Url(#[source] http::Error),
    #[error("no connection")]
    Tcp(#[source] Cause),
    #[error("no connection in {} s", CONNECT.as_secs())]
    Timeout,
    #[error("TLS")]
    Tls(#[source] io::Error),
    #[error("the proxy gave no connection")]
    Tunnel(#[source] Cause),
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// How a request is written where a proxy passes it on (RFC 9112, 3.2.2): with the whole URL, and the proxy's own
/// credentials.
#[derive(Clone)]
pub(super) struct Forwarded {
    pub(super) authorization: Option<HeaderValue>,
}

impl Dialer {
    pub(super) fn new(guard: Arc<Guard>, tls: ClientConfig) -> Self {
        Self {
            guard,
            tls: Arc::new(tls),
            proxies: Matcher::from_env(),
        }
    }

    /// A connection on which this place answers, and whether a proxy passes on what is sent there.
    pub(super) async fn connect(
        &self,
        place: &PoolKey,
    ) -> Result<(ConnectedSocket, Option<Forwarded>), ConnectError> {
        let connected = tokio::time::timeout(CONNECT, self.connect_whenever(place)).await;
        connected.unwrap_or(Err(ConnectError::Timeout))
    }

    async fn connect_whenever(
        &self,
        place: &PoolKey,
    ) -> Result<(ConnectedSocket, Option<Forwarded>), ConnectError> {
        let target = place.uri().map_err(ConnectError::Url)?;
        let host = target.host().unwrap_or_default().to_owned();
        let hop = Connector {
            guard: Arc::clone(&self.guard),
            lane: place.lane,
            tls: Arc::clone(&self.tls),
        };
        let proxy = if place.lane.direct {
            None
        } else {
            self.proxies.intercept(&target)
        };
        match proxy {
            None if place.is_tls => {
                let stream: Box<dyn Io> = Box::new(hop.tcp(target).await?);
                Ok((
                    ConnectedSocket::Tls(Box::new(hop.handshake(&host, stream).await?)),
                    None,
                ))
            }
            None => Ok((ConnectedSocket::Plain(hop.tcp(target).await?), None)),
            Some(proxy) if place.is_tls => {
                let tls = hop.clone();
                let stream = tunnel(&proxy, hop, target).await?;
                Ok((
                    ConnectedSocket::Tls(Box::new(tls.handshake(&host, stream).await?)),
                    None,
                ))
            }
            Some(proxy) => {
                let authorization = proxy.basic_auth().cloned();
                let stream = hop.any(proxy.uri().clone()).await?;
                Ok((
                    ConnectedSocket::Proxied(stream),
                    Some(Forwarded { authorization }),
                ))
            }
        }
    }
}

async fn tunnel(proxy: &Intercept, hop: Connector, target: Uri) -> Result<Box<dyn Io>, ConnectError> {
    let mut tunnel = Tunnel::new(proxy.uri().clone(), hop);
    if let Some(authorization) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(authorization.clone());
    }
    let stream = tunnel.call(target).await;
    Ok(stream
        .map_err(|error| ConnectError::Tunnel(error.into()))?
        .into_inner())
}

/// One TCP connection, with TLS on it where the URL says so.
#[derive(Clone)]
struct Connector {
    guard: Arc<Guard>,
    lane: ConnectPolicy,
    tls: Arc<ClientConfig>,
}

impl Connector {
    async fn tcp(&self, target: Uri) -> Result<TcpStream, ConnectError> {
        let mut connector = HttpConnector::new_with_resolver(Resolver {
            guard: Arc::clone(&self.guard),
            lane: self.lane,
        });
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_keepalive(Some(KEEPALIVE));
        let stream = connector.call(target).await;
        Ok(stream
            .map_err(|error| ConnectError::Tcp(error.into()))?
            .into_inner())
    }

    async fn handshake(&self, host: &str, stream: Box<dyn Io>) -> Result<TlsStream, ConnectError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned());
        let name = name.map_err(|_no_name| ConnectError::Host(host.to_owned()))?;
        let connected = TlsStream::connect(Arc::clone(&self.tls), name, stream).await;
        connected.map_err(ConnectError::Tls)
    }

    async fn any(&self, target: Uri) -> Result<Box<dyn Io>, ConnectError> {
        let host = target.host().unwrap_or_default().to_owned();
        let is_tls = target.scheme_str() == Some("https");
        let stream: Box<dyn Io> = Box::new(self.tcp(target).await?);
        Ok(if is_tls {
            Box::new(self.handshake(&host, stream).await?)
        } else {
            stream
        })
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let hop = self.clone();
        async move { Ok(TokioIo::new(hop.any(target).await?)) }.boxed()
    }
}

/// Resolves as the system does, and lets through the addresses that the guard lets through: a name that leads to
/// a metadata service is refused at the moment of connecting, so that no later answer of the DNS can change it.
#[derive(Clone)]
struct Resolver {
    guard: Arc<Guard>,
    lane: ConnectPolicy,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Cause;
    type Future = BoxFuture<'static, Result<Self::Response, Cause>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { guard, lane } = self.clone();
        async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            if guard.is_proxy(name.as_str()) {
                return Ok(found.into_iter());
            }
            let mut refused = None;
            let mut allowed = Vec::with_capacity(found.len());
            for address in found {
                match guard.address(address.ip(), lane) {
                    Ok(()) => allowed.push(address),
                    Err(why) => refused = Some(why),
                }
            }
            match refused {
                Some(why) if allowed.is_empty() => Err(why.into()),
                _ => Ok(allowed.into_iter()),
            }
        }
        .boxed()
    }
}

/// What bytes go through.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Io for T {}

/// A connected socket.
pub(super) enum ConnectedSocket {
    Plain(TcpStream),
    /// To a proxy that passes on what it is sent.
    Proxied(Box<dyn Io>),
    Tls(Box<TlsStream>),
}

impl AsyncRead for ConnectedSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Proxied(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for ConnectedSocket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Proxied(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Proxied(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Proxied(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
