//! A client of Arrow Flight SQL.

use std::{future::Future, time::Duration};

use anyhow::{Context, anyhow, bail};
use arrow_array::{Array, cast::AsArray};
use arrow_flight::{
    FlightInfo, Ticket,
    decode::FlightRecordBatchStream,
    error::FlightError,
    flight_service_client::FlightServiceClient,
    sql::{CommandGetTables, client::FlightSqlServiceClient},
};
use arrow_ipc::convert::try_schema_from_ipc_buffer;
use arrow_schema::SchemaRef;
use futures_util::TryStreamExt;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::collector::{TENANT, Where};

/// A message has a row at least, however long that is.
const MAX_ROW_BYTES: usize = 1 << 30;

/// A collector that is asked in SQL.
pub(super) struct Client {
    url: String,
    timeout: Duration,
    flight: FlightSqlServiceClient<Channel>,
}

impl Client {
    /// Connects when it is asked first.
    pub(super) fn new(place: &Where, timeout: Duration) -> Self {
        let channel = Endpoint::from(place.collector.clone()).connect_timeout(timeout).tcp_nodelay(true).connect_lazy();
        let channel = FlightServiceClient::new(channel).max_decoding_message_size(MAX_ROW_BYTES);
        let mut flight = FlightSqlServiceClient::new_from_inner(channel);
        if let Some(tenant) = place.tenant.as_ref().and_then(|tenant| tenant.to_str().ok()) {
            flight.set_header(TENANT, tenant);
        }
        Self { url: place.collector.to_string().trim_end_matches('/').to_owned(), timeout, flight }
    }

    /// The rows of an answer.
    pub(super) async fn query(&mut self, text: &str) -> anyhow::Result<FlightRecordBatchStream> {
        let info = self.flight.execute(text.to_owned(), None);
        let info = within(self.timeout, info).await.map_err(|error| self.told(error))?;
        let ticket = ticket(info)?;
        let rows = self.flight.do_get(ticket);
        within(self.timeout, rows).await.map_err(|error| self.told(error))
    }

    /// The tables, and their columns.
    pub(super) async fn tables(&mut self) -> anyhow::Result<Vec<(String, SchemaRef)>> {
        let wanted = CommandGetTables { include_schema: true, ..CommandGetTables::default() };
        let listed = async {
            let info = self.flight.get_tables(wanted).await?;
            let ticket = ticket(info).map_err(|error| FlightError::ProtocolError(error.to_string()))?;
            self.flight.do_get(ticket).await?.try_collect::<Vec<_>>().await
        };
        let batches = within(self.timeout, listed).await.map_err(|error| self.told(error))?;
        let mut tables = Vec::new();
        for batch in batches {
            let column =
                |name: &str| batch.column_by_name(name).cloned().context("the collector's list of tables is none");
            let (names, schemas) = (column("table_name")?, column("table_schema")?);
            let names = names.as_string_opt::<i32>().context("names of tables are no texts")?;
            let schemas = schemas.as_binary_opt::<i32>().context("columns of tables are no schemas")?;
            for row in 0..names.len() {
                let schema = try_schema_from_ipc_buffer(schemas.value(row))?;
                tables.push((names.value(row).to_owned(), schema.into()));
            }
        }
        Ok(tables)
    }

    /// What went wrong, for people.
    pub(super) fn told(&self, error: FlightError) -> anyhow::Error {
        let FlightError::Tonic(status) = error else { return anyhow!(error) };
        match status.code() {
            Code::InvalidArgument => anyhow!("{}", status.message()),
            Code::Unavailable => anyhow!(
                "no collector answers at {}: start one with `clew demo` or `clew up`, or say where it is with --collector URL",
                self.url
            ),
            Code::Cancelled if status.message().is_empty() => anyhow!("the collector at {} went away", self.url),
            _ => anyhow!("the collector at {} has no answer: {}", self.url, status.message()),
        }
    }
}

async fn within<T, E: Into<FlightError>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, FlightError> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(FlightError::Tonic(Box::new(tonic::Status::deadline_exceeded(format!(
            "nothing came within {limit:?}; --timeout sets how long to wait"
        ))))),
    }
}

fn ticket(info: FlightInfo) -> anyhow::Result<Ticket> {
    match info.endpoint.into_iter().next().and_then(|endpoint| endpoint.ticket) {
        Some(ticket) => Ok(ticket),
        None => bail!("the collector did not say where the answer is"),
    }
}
