//! The simulated network, as the programs' own traits want it.

use std::{io, sync::Arc};

use clew_agent::Connect;
use clew_common::server::Listen;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use turmoil::net::{TcpListener, TcpStream};

/// A simulated port.
pub struct Port(TcpListener);

impl Port {
    pub async fn bind(port: u16) -> io::Result<Self> {
        Ok(Self(TcpListener::bind(("0.0.0.0", port)).await?))
    }
}

impl Listen for Port {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<Self::Io> {
        Ok(self.0.accept().await?.0)
    }
}

/// Connects to a simulated host.
pub async fn connect(endpoint: Endpoint) -> Result<Channel, tonic::transport::Error> {
    let connector = service_fn(|uri: http::Uri| async move {
        let (host, port) = (uri.host().unwrap_or_default().to_owned(), uri.port_u16().unwrap_or_default());
        Ok::<_, io::Error>(TokioIo::new(TcpStream::connect((host, port)).await?))
    });
    endpoint.connect_with_connector(connector).await
}

pub fn connector() -> Connect {
    Arc::new(|endpoint| Box::pin(connect(endpoint)))
}
