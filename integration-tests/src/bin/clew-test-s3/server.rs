//! Who carries out what is not made to fail: the program itself, or another S3 server.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use bytes::Bytes;
use clew_integration_tests::s3::{ACCESS_KEY, SECRET_KEY};
use http::{
    Request, Response, Uri, header,
    uri::{Authority, Scheme},
};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, Error>;

#[derive(Clone)]
pub enum Server {
    Files(S3Service),
    Upstream(Arc<Upstream>),
}

pub struct Upstream {
    authority: Authority,
    client: Client<HttpConnector, Incoming>,
}

impl Server {
    /// Buckets are folders of `root`, and this is one.
    pub fn files(root: &Path, bucket: &str) -> Result<Self> {
        std::fs::create_dir_all(root.join(bucket)).context("cannot make the bucket")?;
        let files = FileSystem::new(root).map_err(|error| anyhow::anyhow!("cannot open the folder: {error:?}"))?;
        let mut s3 = S3ServiceBuilder::new(files);
        s3.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        Ok(Self::Files(s3.build()))
    }

    /// The server at `http://host:port`.
    pub fn upstream(url: &Uri) -> Result<Self> {
        let authority = url.authority().context("the other server's URL names no host")?.clone();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self::Upstream(Arc::new(Upstream { authority, client })))
    }

    /// Carries a request out. An error is that there is no answer.
    pub async fn call(&self, request: Request<Incoming>) -> Result<Response<Body>, Error> {
        match self {
            Self::Files(s3) => {
                let answer = s3.call(request.map(s3s::Body::from)).await;
                Ok(answer.map_err(|error| format!("{error:?}"))?.map(BodyExt::boxed_unsync))
            }
            Self::Upstream(upstream) => upstream.forward(request).await,
        }
    }
}

impl Upstream {
    /// Headers stay as they are, also `Host`: they are signed.
    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Error> {
        let mut target = std::mem::take(request.uri_mut()).into_parts();
        target.scheme = Some(Scheme::HTTP);
        target.authority = Some(self.authority.clone());
        *request.uri_mut() = Uri::from_parts(target)?;
        let (mut head, body) = self.client.request(request).await?.into_parts();
        // They are about that connection, not about the answer.
        head.headers.remove(header::CONNECTION);
        head.headers.remove(header::TRANSFER_ENCODING);
        Ok(Response::from_parts(head, body.map_err(Error::from).boxed_unsync()))
    }
}
