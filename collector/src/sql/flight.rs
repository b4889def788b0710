//! Arrow Flight SQL, as ADBC and JDBC drivers speak it. Queries that only read; nothing is kept between calls: a ticket and the handle
//! of a prepared statement are the query itself.

use std::{pin::Pin, sync::LazyLock};

use arrow_array::RecordBatch;
use arrow_flight::{
    Action, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, Ticket,
    encode::FlightDataEncoderBuilder,
    error::FlightError,
    flight_service_server::{FlightService, FlightServiceServer},
    sql::{
        ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
        CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
        CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest, CommandStatementQuery,
        CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo, TicketStatementQuery,
        metadata::{SqlInfoData, SqlInfoDataBuilder},
        server::{FlightSqlService, PeekableFlightDataStream},
    },
};
use arrow_ipc::writer::IpcWriteOptions;
use arrow_schema::{ArrowError, Schema, SchemaRef};
use bytes::Bytes;
use clew_common::ids::Tenant;
use clew_sql::{CATALOG, MAX_QUERY_BYTES, SCHEMA};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::handle::{self, Handle};
use crate::queries::{Queries, Rows, SqlQuery, partial};

/// The service.
pub fn service(queries: Queries) -> FlightServiceServer<Flight> {
    FlightServiceServer::new(Flight { queries }).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// A query, and parameters for it.
const MAX_MESSAGE_BYTES: usize = 4 * MAX_QUERY_BYTES;

/// Answers Flight SQL. Cheap to clone.
#[derive(Clone)]
pub struct Flight {
    queries: Queries,
}

type Data = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

static INFO: LazyLock<Option<SqlInfoData>> = LazyLock::new(|| {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Clew");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, 0i32);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, false);
    info.build().ok()
});

fn known() -> Result<&'static SqlInfoData, Status> {
    INFO.as_ref().ok_or_else(|| Status::internal("what this server can do was not put together"))
}

fn wrong(error: ArrowError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn tenant<T>(request: &Request<T>) -> Result<Tenant, Status> {
    Tenant::from_headers(&request.metadata().clone().into_headers())
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

/// Where to get an answer: here.
fn info(schema: &Schema, ticket: Bytes, descriptor: FlightDescriptor) -> Result<Response<FlightInfo>, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket { ticket });
    let info = FlightInfo::new().try_with_schema(schema).map_err(wrong)?;
    Ok(Response::new(info.with_endpoint(endpoint).with_descriptor(descriptor)))
}

/// An answer that is one batch.
fn whole(batch: Result<RecordBatch, FlightError>) -> Result<Response<Data>, Status> {
    let batch = batch?;
    let rows = FlightDataEncoderBuilder::new().with_schema(batch.schema()).build(stream::iter([Ok(batch)]));
    Ok(Response::new(rows.map_err(Status::from).boxed()))
}

fn encoded(rows: Rows) -> Response<Data> {
    let (schema, missing) = (rows.schema.clone(), rows.missing.clone());
    let batches = stream::unfold(rows, async |mut rows| {
        let batch = rows.batches.recv().await?;
        Some((batch.map_err(|error| FlightError::Tonic(Box::new(error.into()))), rows))
    });
    let data = FlightDataEncoderBuilder::new().with_schema(schema).build(batches);
    let mut response = Response::new(data.map_err(Status::from).boxed());
    partial::mark_metadata(response.metadata_mut(), &missing);
    response
}

fn schema_bytes(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message = arrow_flight::SchemaAsIpc::new(schema, &options);
    let arrow_flight::IpcMessage(bytes) = message.try_into().map_err(wrong)?;
    Ok(bytes)
}

#[tonic::async_trait]
impl FlightSqlService for Flight {
    type FlightService = Self;

    /// Nobody has to log in.
    async fn do_handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>>, Status> {
        let answer = HandshakeResponse { protocol_version: 0, payload: Bytes::new() };
        Ok(Response::new(stream::iter([Ok(answer)]).boxed()))
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let described = self.queries.describe_sql(&tenant(&request)?, query.query.clone()).await?;
        let ticket = TicketStatementQuery { statement_handle: query.query.into_bytes().into() };
        info(&described.schema, ticket.as_any().encode_to_vec().into(), request.into_inner())
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let text = String::from_utf8(ticket.statement_handle.to_vec())
            .map_err(|_| Status::invalid_argument("this is no ticket of a query"))?;
        let rows = self.queries.sql(&tenant(&request)?, SqlQuery { text, parameters: None }).await?;
        Ok(encoded(rows))
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let described = self.queries.describe_sql(&tenant(&request)?, query.query.clone()).await?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: Handle::new(query.query).encode(),
            dataset_schema: schema_bytes(&described.schema)?,
            parameter_schema: schema_bytes(&described.parameters)?,
        })
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let mut handle = Handle::decode(query.prepared_statement_handle)?;
        handle.bind(handle::taken(request.into_inner(), MAX_MESSAGE_BYTES).await?)?;
        let bound = handle.encode();
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(bound) })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let text = Handle::decode(query.prepared_statement_handle.clone())?.text;
        let described = self.queries.describe_sql(&tenant(&request)?, text).await?;
        info(&described.schema, query.as_any().encode_to_vec().into(), request.into_inner())
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let query = Handle::decode(query.prepared_statement_handle)?.query()?;
        Ok(encoded(self.queries.sql(&tenant(&request)?, query).await?))
    }

    /// Nothing is kept of it.
    async fn do_action_close_prepared_statement(
        &self,
        _query: ActionClosePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query.into_builder().schema(), query.as_any().encode_to_vec().into(), request.into_inner())
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        _request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let mut catalogs = query.into_builder();
        catalogs.append(CATALOG);
        whole(catalogs.build())
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec().into();
        info(&query.into_builder().schema(), ticket, request.into_inner())
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        _request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let mut schemas = query.into_builder();
        schemas.append(CATALOG, SCHEMA);
        whole(schemas.build())
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec().into();
        info(&query.into_builder().schema(), ticket, request.into_inner())
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let tables: Vec<(String, SchemaRef)> = self.queries.sql_tables(&tenant(&request)?).await?;
        let mut listed = query.into_builder();
        for (name, schema) in tables {
            listed.append(CATALOG, SCHEMA, name, TABLE, &schema)?;
        }
        whole(listed.build())
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query.into_builder().schema(), query.as_any().encode_to_vec().into(), request.into_inner())
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        _request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let mut types = query.into_builder();
        types.append(TABLE);
        whole(types.build())
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec().into();
        info(&query.into_builder(known()?).schema(), ticket, request.into_inner())
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        _request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        whole(query.into_builder(known()?).build())
    }

    async fn do_put_statement_update(
        &self,
        _query: CommandStatementUpdate,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(reads_only())
    }

    async fn do_put_prepared_statement_update(
        &self,
        _query: CommandPreparedStatementUpdate,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(reads_only())
    }

    async fn do_put_statement_ingest(
        &self,
        _rows: CommandStatementIngest,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(reads_only())
    }

    /// What there is to tell is made once.
    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}

fn reads_only() -> Status {
    Status::invalid_argument("only queries that read are answered, one at a time")
}

/// What all tables are.
const TABLE: &str = "TABLE";
