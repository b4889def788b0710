//! A collector for tests: serves the traces that it is given.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex},
};

use clew_proto::v1::{
    DependenciesRequest, DependenciesResponse, ExplainRequest, ExplainResponse, GetTraceRequest, GetTraceResponse,
    MetricsRequest, MetricsResponse, SearchRequest, SearchResponse, TagNamesRequest, TagNamesResponse,
    TagValuesRequest, TagValuesResponse, TailRequest, TailResponse,
    query_server::{Query, QueryServer},
};
use futures_util::{Stream, stream};
use http::Uri;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// What it says to one question.
pub(crate) type Answer = Result<Vec<GetTraceResponse>, Status>;

type Answers = Arc<Mutex<HashMap<Vec<u8>, Vec<Answer>>>>;

/// A running one. It stops when the runtime of its thread does: at the end of the test's process.
#[derive(Debug)]
pub(crate) struct FakeCollector {
    pub(crate) url: Uri,
    answers: Answers,
    tenants: Arc<Mutex<Vec<Option<String>>>>,
}

#[derive(Debug)]
struct Service {
    answers: Answers,
    tenants: Arc<Mutex<Vec<Option<String>>>>,
}

impl FakeCollector {
    /// Knows no trace yet.
    pub(crate) fn start() -> Self {
        let (answers, tenants) = (Answers::default(), Arc::<Mutex<Vec<_>>>::default());
        let service = Service { answers: answers.clone(), tenants: tenants.clone() };
        let (tell, told) = std::sync::mpsc::channel();
        let serve = async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(format!("http://{}", listener.local_addr().unwrap())).unwrap();
            let incoming = TcpListenerStream::new(listener);
            Server::builder().add_service(QueryServer::new(service)).serve_with_incoming(incoming).await.unwrap();
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::spawn(move || runtime.block_on(serve));
        Self { url: told.recv().unwrap().parse().unwrap(), answers, tenants }
    }

    /// Says this to questions about a trace, one answer after the other; the last one for ever.
    pub(crate) fn say(&self, trace_id: &[u8], answers: Vec<Answer>) {
        self.answers.lock().unwrap().insert(trace_id.to_vec(), answers);
    }

    /// The tenants that were asked for.
    pub(crate) fn tenants(&self) -> Vec<Option<String>> {
        self.tenants.lock().unwrap().clone()
    }
}

type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// It knows single traces only.
fn unknown<M>() -> Result<Response<M>, Status> {
    Err(Status::unimplemented("this is a fake"))
}

#[tonic::async_trait]
impl Query for Service {
    type GetTraceStream = Messages<GetTraceResponse>;
    type SearchStream = Messages<SearchResponse>;
    type MetricsStream = Messages<MetricsResponse>;
    type TagValuesStream = Messages<TagValuesResponse>;
    type TailStream = Messages<TailResponse>;

    async fn search(&self, _: Request<SearchRequest>) -> Result<Response<Self::SearchStream>, Status> {
        unknown()
    }

    async fn metrics(&self, _: Request<MetricsRequest>) -> Result<Response<Self::MetricsStream>, Status> {
        unknown()
    }

    async fn tag_names(&self, _: Request<TagNamesRequest>) -> Result<Response<TagNamesResponse>, Status> {
        unknown()
    }

    async fn tag_values(&self, _: Request<TagValuesRequest>) -> Result<Response<Self::TagValuesStream>, Status> {
        unknown()
    }

    async fn dependencies(&self, _: Request<DependenciesRequest>) -> Result<Response<DependenciesResponse>, Status> {
        unknown()
    }

    async fn explain(&self, _: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        unknown()
    }

    async fn tail(&self, _: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        unknown()
    }

    async fn get_trace(&self, request: Request<GetTraceRequest>) -> Result<Response<Self::GetTraceStream>, Status> {
        let tenant = request.metadata().get("x-scope-orgid").map(|tenant| tenant.to_str().unwrap().to_owned());
        self.tenants.lock().unwrap().push(tenant);
        let mut answers = self.answers.lock().unwrap();
        let answers = answers.get_mut(&*request.into_inner().trace_id).ok_or_else(|| Status::not_found("unknown"))?;
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Ok(Response::new(Box::pin(stream::iter(answer?.into_iter().map(Ok)))))
    }
}
