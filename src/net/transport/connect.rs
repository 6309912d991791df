//! Opens connections: resolves the name under the guard's rules, goes through the environment's proxy where it applies,
//! and speaks TLS where the URL says so.

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

use super::guard::{ConnectPolicy, Guard, bare_host};
use super::io::Io;
use super::pool_key::PoolKey;
use super::tls::TlsStream;

/// The time in which a connection must be open, TLS included. A registry that is up answers within a round trip or two.
const CONNECT: Duration = Duration::from_secs(10);

/// The idle time after which the kernel probes the other side (`SO_KEEPALIVE`): a firewall drops connections without
/// a notice.
const KEEPALIVE: Duration = Duration::from_secs(50);

/// Opens connections.
pub(super) struct Dialer {
    guard: Arc<Guard>,
    tls: Arc<ClientConfig>,
    /// `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    proxies: Matcher,
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The host of the URL, or of the proxy.
    #[error("`{0}` is not a host name")]
    Host(String),
    #[error("could not use the URL")]
    Url(#[source] http::Error),
    #[error("could not connect")]
    Tcp(#[source] Cause),
    #[error("no connection within {} s", CONNECT.as_secs())]
    Timeout,
    #[error("TLS handshake failed")]
    Tls(#[source] io::Error),
    #[error("the proxy refused the connection")]
    Tunnel(#[source] Cause),
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The form of a request that a proxy forwards (RFC 9112, 3.2.2): the whole URL as its target, and the credentials for
/// the proxy.
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

    /// Opens a connection to a destination, and says whether a proxy forwards the requests on it.
    pub(super) async fn connect(
        &self,
        key: &PoolKey,
    ) -> Result<(ConnectedSocket, Option<Forwarded>), ConnectError> {
        let connected = tokio::time::timeout(CONNECT, self.connect_without_limit(key)).await;
        connected.unwrap_or(Err(ConnectError::Timeout))
    }

    async fn connect_without_limit(
        &self,
        key: &PoolKey,
    ) -> Result<(ConnectedSocket, Option<Forwarded>), ConnectError> {
        let target = key.uri().map_err(ConnectError::Url)?;
        let host = target.host().unwrap_or_default().to_owned();
        let connector = Connector {
            guard: Arc::clone(&self.guard),
            policy: key.policy,
            tls: Arc::clone(&self.tls),
        };
        let proxy = if key.policy.direct {
            None
        } else {
            self.proxies.intercept(&target)
        };
        match proxy {
            None if key.is_tls => {
                let stream: Box<dyn Io> = Box::new(connector.tcp(target).await?);
                Ok((
                    ConnectedSocket::Tls(Box::new(connector.handshake(&host, stream).await?)),
                    None,
                ))
            }
            None => Ok((ConnectedSocket::Plain(connector.tcp(target).await?), None)),
            Some(proxy) if key.is_tls => {
                let tls = connector.clone();
                let stream = tunnel(&proxy, connector, target).await?;
                Ok((
                    ConnectedSocket::Tls(Box::new(tls.handshake(&host, stream).await?)),
                    None,
                ))
            }
            Some(proxy) => {
                let authorization = proxy.basic_auth().cloned();
                let stream = connector.any(proxy.uri().clone()).await?;
                Ok((
                    ConnectedSocket::Proxied(stream),
                    Some(Forwarded { authorization }),
                ))
            }
        }
    }
}

async fn tunnel(proxy: &Intercept, connector: Connector, target: Uri) -> Result<Box<dyn Io>, ConnectError> {
    let mut tunnel = Tunnel::new(proxy.uri().clone(), connector);
    if let Some(authorization) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(authorization.clone());
    }
    let stream = tunnel.call(target).await;
    Ok(stream
        .map_err(|error| ConnectError::Tunnel(error.into()))?
        .into_inner())
}

/// Opens one TCP connection, with TLS on it where the URL says so.
#[derive(Clone)]
struct Connector {
    guard: Arc<Guard>,
    policy: ConnectPolicy,
    tls: Arc<ClientConfig>,
}

impl Connector {
    async fn tcp(&self, target: Uri) -> Result<TcpStream, ConnectError> {
        let mut connector = HttpConnector::new_with_resolver(HostResolver {
            guard: Arc::clone(&self.guard),
            policy: self.policy,
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
        let name = ServerName::try_from(bare_host(host).to_owned());
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
        let connector = self.clone();
        async move { Ok(TokioIo::new(connector.any(target).await?)) }.boxed()
    }
}

/// Resolves names as the system does and returns the addresses that the guard allows. A name that leads to a metadata
/// service is refused when the connection is opened, so that a later answer of the DNS cannot change the address.
#[derive(Clone)]
struct HostResolver {
    guard: Arc<Guard>,
    policy: ConnectPolicy,
}

impl Service<Name> for HostResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Cause;
    type Future = BoxFuture<'static, Result<Self::Response, Cause>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { guard, policy } = self.clone();
        async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            if guard.is_proxy(name.as_str()) {
                return Ok(found.into_iter());
            }
            let mut refused = None;
            let mut allowed = Vec::with_capacity(found.len());
            for address in found {
                match guard.check_address(address.ip(), policy) {
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

/// A connected socket. The two usual kinds are named, so that their reads need no dynamic call.
pub(super) enum ConnectedSocket {
    Plain(TcpStream),
    /// A connection to a proxy that forwards requests.
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
