//! What stands before the S3 server: lets requests through, or not, or not quite.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{body::Incoming, service::Service};
use parking_lot::Mutex;

use crate::{
    faults::{Fate, State},
    server::{Body, Error, Server},
};

/// The S3 server with its faults.
#[derive(Clone)]
pub struct Layer {
    server: Server,
    state: Arc<State>,
    /// When objects were written, by path.
    written: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Layer {
    /// Faults as `state` says.
    pub fn new(server: Server, state: Arc<State>) -> Self {
        Self { server, state, written: Arc::default() }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, Error> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let fate = self.state.decide(&method);
        match fate {
            Fate::Refused(status) => {
                // What is not read of a request would be taken for the next one.
                request.into_body().collect().await?;
                let mut refusal = Response::new(whole(format!("<Error><Code>Injected{status}</Code></Error>").into()));
                *refusal.status_mut() = status.try_into()?;
                return Ok(refusal);
            }
            Fate::Hangs => std::future::pending().await,
            _ => {}
        }
        let response = self.server.call(request).await?;
        if method == Method::PUT || method == Method::POST {
            self.written.lock().insert(uri.path().to_owned(), Instant::now());
        }
        let (head, body) = response.into_parts();
        let lag = self.state.list_lag();
        if !lag.is_zero() && uri.query().is_some_and(|query| query.contains("list-type=2")) {
            let bytes = body.collect().await?.to_bytes();
            let listing = self.without_new(uri.path(), &String::from_utf8_lossy(&bytes), lag);
            return Ok(sized(head, listing.into()));
        }
        match fate {
            Fate::ReplyLost => Err("the reply is lost".into()),
            Fate::Slow => {
                let bytes = body.collect().await?.to_bytes();
                let pieces: Vec<Bytes> = bytes.chunks(16 << 10).map(Bytes::copy_from_slice).collect();
                let pieces = stream::iter(pieces).then(|piece| async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Ok(Frame::data(piece))
                });
                Ok(Response::from_parts(head, BodyExt::boxed_unsync(StreamBody::new(pieces))))
            }
            Fate::Cut => {
                let bytes = body.collect().await?.to_bytes();
                let broken = [Ok(Frame::data(bytes.slice(..bytes.len() / 2))), Err("the connection breaks".into())];
                Ok(Response::from_parts(head, BodyExt::boxed_unsync(StreamBody::new(stream::iter(broken)))))
            }
            Fate::Short if head.status.is_success() && method == Method::GET => {
                let bytes = body.collect().await?.to_bytes();
                Ok(sized(head, bytes.slice(..bytes.len().saturating_sub(1))))
            }
            _ => Ok(Response::from_parts(head, body)),
        }
    }

    /// A listing of a bucket without what was written within the last `lag`.
    fn without_new(&self, bucket: &str, listing: &str, lag: Duration) -> String {
        let written = self.written.lock();
        let is_new = |object: &str| {
            let key = object.split_once("<Key>").and_then(|(_, rest)| rest.split_once("</Key>"));
            let path = key.map(|(key, _)| format!("{}/{key}", bucket.trim_end_matches('/')));
            path.and_then(|path| written.get(&path)).is_some_and(|written| written.elapsed() < lag)
        };
        let mut kept = String::with_capacity(listing.len());
        let mut objects = listing.split("<Contents>");
        kept.push_str(objects.next().unwrap_or_default());
        for object in objects {
            match object.split_once("</Contents>") {
                Some((entry, after)) if is_new(entry) => {
                    self.state.left_out(1);
                    kept.push_str(after);
                }
                _ => {
                    kept.push_str("<Contents>");
                    kept.push_str(object);
                }
            }
        }
        kept
    }
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn sized(mut head: http::response::Parts, bytes: Bytes) -> Response<Body> {
    head.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
    Response::from_parts(head, whole(bytes))
}

impl Service<Request<Incoming>> for Layer {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}
