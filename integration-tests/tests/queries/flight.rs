//! Arrow Flight SQL, message by message: what no driver would send.

use anyhow::{Context, Result};
use clew_integration_tests::{metric, peak_bytes, shop::Shop};
use prost::Message;
use tonic::{Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Endpoint};
use tonic_prost::ProstCodec;

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// The one field of tickets, queries and handles.
#[derive(Clone, PartialEq, Message)]
struct One {
    #[prost(bytes = "vec", tag = "1")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Descriptor {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    command: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Data {
    #[prost(message, optional, tag = "1")]
    descriptor: Option<Descriptor>,
    #[prost(bytes = "vec", tag = "2")]
    header: Vec<u8>,
    #[prost(bytes = "vec", tag = "1000")]
    body: Vec<u8>,
}

const COMMAND: i32 = 2;

/// A command of Flight SQL whose first field is this.
fn command(name: &str, value: &[u8]) -> Vec<u8> {
    let kind = format!("type.googleapis.com/arrow.flight.protocol.sql.{name}");
    Any { kind, value: One { value: value.to_vec() }.encode_to_vec() }.encode_to_vec()
}

/// Asks, and reads the answer to its end.
async fn ask<M: Message + Default + 'static>(
    shop: &Shop,
    method: &str,
    message: impl Message + Default + Clone + 'static,
) -> Result<Vec<M>, Status> {
    let channel = Endpoint::from_shared(format!("http://{}", shop.collector.grpc)).map_err(|_| Status::internal(""))?;
    let channel = channel.connect().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::try_from(format!("/arrow.flight.protocol.FlightService/{method}"))
        .map_err(|error| Status::internal(error.to_string()))?;
    let request = Request::new(tokio_stream::once(message));
    let mut answers = grpc.streaming(request, path, ProstCodec::default()).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(answer);
    }
    Ok(all)
}

async fn get(shop: &Shop, ticket: Vec<u8>) -> Result<Vec<Data>, Status> {
    ask(shop, "DoGet", One { value: ticket }).await
}

async fn info(shop: &Shop, command: Vec<u8>) -> Result<Vec<One>, Status> {
    ask(shop, "GetFlightInfo", Descriptor { kind: COMMAND, command }).await
}

/// A schema of one number and a row of it, as Arrow's stream format has them.
const STREAM: [&str; 6] = [
    "ffffffff780000001000000000000a000c000600050008000a000000000104000c0000000800080000000400080000000400",
    "00000100000014000000100014000800060007000c00000010001000000000000102100000001c0000000400000000000000",
    "020000002431000008000c0008000700080000000000000140000000ffffffff8800000014000000000000000c0016000600",
    "050008000c000c0000000003040018000000080000000000000000000a0018000c00040008000a0000003c00000010000000",
    "0100000000000000000000000200000000000000000000000000000000000000000000000000000008000000000000000000",
    "000001000000010000000000000000000000000000000700000000000000",
];
/// Where it says how long the schema's header is, and how long the row's body.
const HEADER: usize = 4;
const BODY: usize = 168;

/// A handle as it once was: a length in front of a query, and behind it the stream, with another length in it.
fn forged(at: usize, length: &[u8]) -> Result<Vec<u8>> {
    let mut stream = hex::decode(STREAM.concat())?;
    stream[at..at + length.len()].copy_from_slice(length);
    Ok([&8u32.to_be_bytes()[..], b"SELECT 1", &stream].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_handles_cost_nothing() -> Result<()> {
    let shop = Shop::open(&[])?;
    let handles = [
        forged(HEADER, &i32::MAX.to_le_bytes())?,
        forged(BODY, &(i64::MAX / 2).to_le_bytes())?,
        forged(BODY, &(1i64 << 46).to_le_bytes())?,
        b"\x0a\xff\xff\xff\xff\x7fSELECT".to_vec(),
        // Parameters that are longer than the handle.
        b"\x0a\x08SELECT 1\x12\xff\xff\xff\xff\x07".to_vec(),
        b"\x0a\x08SELECT 1\x12\x02\x12\x7f".to_vec(),
        // A header that is none.
        b"\x0a\x08SELECT 1\x12\x06\x12\x04\xff\xff\xff\xff".to_vec(),
        vec![0xff; 100_000],
    ];
    for handle in &handles {
        let command = command("CommandPreparedStatementQuery", handle);
        let refused = get(&shop, command.clone()).await.err().context("answered")?;
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        let put = Data { descriptor: Some(Descriptor { kind: COMMAND, command }), ..Data::default() };
        let refused = ask::<One>(&shop, "DoPut", put).await.err().context("taken")?;
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let peak = peak_bytes(shop.collector.process.pid());
    assert!(peak < 600 << 20, "{} MiB", peak >> 20);
    assert_eq!(get(&shop, command("TicketStatementQuery", b"SELECT 1")).await?.len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_anything_but_read_is_refused_over_flight() -> Result<()> {
    let shop = Shop::open(&[])?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("out.csv");
    let path = file.display();
    let create = format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{path}'");
    let queries = [
        format!("COPY spans TO '{path}'"),
        format!("COPY (SELECT 1) TO '{path}' STORED AS CSV"),
        format!("EXPLAIN ANALYZE COPY spans TO '{path}'"),
        format!("EXPLAIN ANALYZE {create}"),
        create,
        format!("SELECT * FROM '{path}'"),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "RESET datafusion.execution.batch_size".to_owned(),
        "EXPLAIN ANALYZE INSERT INTO resources SELECT * FROM resources".to_owned(),
        "CREATE TABLE t AS SELECT 1".to_owned(),
        "CREATE VIEW v AS SELECT 1".to_owned(),
        "DROP TABLE spans".to_owned(),
        "DELETE FROM resources".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
        "SELECT 1; DROP TABLE spans".to_owned(),
    ];
    for query in &queries {
        let query = query.as_bytes();
        let described = info(&shop, command("CommandStatementQuery", query)).await.err();
        let answered = get(&shop, command("TicketStatementQuery", query)).await.err();
        let handle = [&[0x0a, u8::try_from(query.len())?][..], query].concat();
        let prepared = get(&shop, command("CommandPreparedStatementQuery", &handle)).await.err();
        let updated = Descriptor { kind: COMMAND, command: command("CommandStatementUpdate", query) };
        let updated = ask::<One>(&shop, "DoPut", Data { descriptor: Some(updated), ..Data::default() }).await.err();
        for refused in [described, answered, prepared, updated] {
            let refused = refused.with_context(|| String::from_utf8_lossy(query).into_owned())?;
            assert_eq!(refused.code(), Code::InvalidArgument, "{}: {refused}", String::from_utf8_lossy(query));
        }
    }
    assert!(!file.exists());
    let counted = |outcome: &str| {
        metric(shop.collector.admin, &format!("clew_collector_queries_total{{kind=\"sql\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!((counted("complete"), counted("invalid")), (0.0, 2.0 * queries.len() as f64));
    Ok(())
}
