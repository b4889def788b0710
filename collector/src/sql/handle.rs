//! A prepared statement between calls: all of it is in the handle that its client keeps, and may have changed.
//!
//! Parameters stay the messages that came for them. Arrow's stream format is no use here: its reader takes memory for a length before
//! it knows that so much follows, and a length that nobody has aborts the process. Protobuf's lengths are checked against what is left.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::RecordBatch;
use arrow_flight::{FlightData, decode::FlightRecordBatchStream, error::FlightError};
use arrow_ipc::root_as_message;
use bytes::Bytes;
use clew_sql::parameters;
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::Status;

use crate::queries::SqlQuery;

/// A query, and parameters for it: a schema, perhaps dictionaries, and a batch of one row, as Flight has them.
#[derive(Clone, PartialEq, Message)]
pub struct Handle {
    #[prost(string, tag = "1")]
    pub text: String,
    #[prost(message, repeated, tag = "2")]
    parameters: Vec<FlightData>,
}

impl Handle {
    /// Without parameters.
    pub fn new(text: String) -> Self {
        Self { text, parameters: Vec::new() }
    }

    pub fn encode(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// # Errors
    /// When it is none.
    pub fn decode(bytes: Bytes) -> Result<Self, Status> {
        Message::decode(bytes).map_err(|_| Status::invalid_argument("this is no handle of a prepared statement"))
    }

    /// Gives it parameters, or none.
    ///
    /// # Errors
    /// When they are not those of one query.
    pub fn bind(&mut self, messages: Vec<FlightData>) -> Result<(), Status> {
        let row = row(&messages)?;
        self.parameters = if row.is_some() { messages } else { Vec::new() };
        Ok(())
    }

    /// # Errors
    /// When the parameters make no sense.
    pub fn query(self) -> Result<SqlQuery, Status> {
        let parameters = row(&self.parameters)?.as_ref().map(parameters).transpose();
        let parameters = parameters.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(SqlQuery { text: self.text, parameters })
    }
}

/// The messages that a client sends for parameters, without what they say to whom.
///
/// # Errors
/// When they are more than `limit` bytes together.
pub async fn taken(
    mut messages: impl Stream<Item = Result<FlightData, Status>> + Unpin,
    limit: usize,
) -> Result<Vec<FlightData>, Status> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    while let Some(FlightData { data_header, data_body, .. }) = messages.try_next().await? {
        // Empty messages are some bytes too.
        bytes += 64 + data_header.len() + data_body.len();
        if bytes > limit {
            return Err(Status::invalid_argument(format!("the parameters have more than {limit} bytes")));
        }
        taken.push(FlightData { data_header, data_body, ..FlightData::default() });
    }
    Ok(taken)
}

/// The one row that they have; None when there are no parameters.
fn row(messages: &[FlightData]) -> Result<Option<RecordBatch>, Status> {
    let wrong = |why: String| Status::invalid_argument(format!("the parameters cannot be read: {why}"));
    for message in messages {
        let message = root_as_message(&message.data_header).map_err(|error| wrong(error.to_string()))?;
        let dictionary = message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
        let batch = message.header_as_record_batch().or(dictionary);
        // Whoever unpacks takes memory for as much as is claimed.
        if batch.is_some_and(|batch| batch.compression().is_some()) {
            return Err(wrong("they are compressed".to_owned()));
        }
    }
    let read = || {
        let messages = stream::iter(messages.to_vec()).map(Ok::<_, FlightError>);
        let batches = FlightRecordBatchStream::new_from_flight_data(messages).try_collect::<Vec<_>>();
        batches.now_or_never()
    };
    // Places of buffers that are not there are a panic.
    let batches = catch_unwind(AssertUnwindSafe(read)).ok().flatten();
    let batches = batches.ok_or_else(|| wrong("they are damaged".to_owned()))?;
    let mut batches = batches.map_err(|error| wrong(error.to_string()))?;
    let row = batches.pop().filter(|row| row.num_columns() > 0);
    match (batches.is_empty(), row) {
        (true, None) => Ok(None),
        (true, Some(row)) if row.num_rows() == 1 => Ok(Some(row)),
        _ => {
            Err(Status::invalid_argument("parameters of several queries at once, or of none; one is what there may be"))
        }
    }
}

#[cfg(test)]
mod tests;
