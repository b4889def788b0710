use std::sync::Arc;

use arrow_array::{Int64Array, StringArray};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_ipc::{
    CompressionType,
    writer::{IpcWriteOptions, StreamWriter},
};
use arrow_schema::{DataType, Field, Schema};

use super::*;

fn values() -> RecordBatch {
    let schema = Schema::new(vec![Field::new("$1", DataType::Int64, true), Field::new("$2", DataType::Utf8, true)]);
    let texts = StringArray::from(vec!["some text that is long enough to be compressed ".repeat(9)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(vec![7])), Arc::new(texts)]).unwrap()
}

fn messages(batches: Vec<RecordBatch>, options: IpcWriteOptions) -> Vec<FlightData> {
    let encoder = FlightDataEncoderBuilder::new().with_options(options);
    encoder.build(stream::iter(batches).map(Ok)).try_collect::<Vec<_>>().now_or_never().unwrap().unwrap()
}

fn bound(messages: Vec<FlightData>) -> Result<Handle, Status> {
    let mut handle = Handle::new("SELECT $1, $2".to_owned());
    handle.bind(messages).map(|()| handle)
}

#[test]
fn a_handle_holds_the_query_and_its_parameters_and_garbage_is_none() {
    let handle = bound(messages(vec![values()], IpcWriteOptions::default())).unwrap();
    for handle in [handle, bound(vec![]).unwrap(), Handle::new(String::new())] {
        let bytes = handle.encode();
        assert_eq!(Handle::decode(bytes.clone()).unwrap(), handle);
        for end in 0..bytes.len() {
            // Cut off, it is no handle, or one of less.
            let _ = Handle::decode(bytes.slice(..end)).map(Handle::query);
        }
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= flip;
                let _ = Handle::decode(damaged.into()).map(Handle::query);
            }
        }
    }
    let parameters = |handle: Handle| handle.query().unwrap().parameters;
    assert!(parameters(bound(messages(vec![values()], IpcWriteOptions::default())).unwrap()).is_some());
    assert!(parameters(bound(vec![]).unwrap()).is_none());
    for garbage in [&b"\xff\xff\xff\xffSELECT"[..], b"\0\0\0\x01Sgarbage", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x01\xff"]
    {
        assert!(Handle::decode(Bytes::from_static(garbage)).is_err(), "{garbage:?}");
    }
}

#[test]
fn lengths_that_are_not_there_are_refused_before_memory_is_taken() {
    // A length in front of the schema, and one of a body behind it, in the stream format that handles once had.
    let mut stream = StreamWriter::try_new(Vec::new(), &values().schema()).unwrap();
    stream.write(&values()).unwrap();
    let stream = stream.into_inner().unwrap();
    let old = |stream: Vec<u8>| Bytes::from([&[0, 0, 0, 8][..], b"SELECT 1", &stream].concat());
    let mut long_header = stream.clone();
    long_header[4..8].copy_from_slice(&i32::MAX.to_le_bytes());
    let mut long_body = stream;
    let length = 64i64.to_le_bytes();
    for at in 0..long_body.len() - 8 {
        if long_body[at..at + 8] == length {
            long_body[at..at + 8].copy_from_slice(&(i64::MAX / 2).to_le_bytes());
        }
    }
    for stream in [long_header, long_body] {
        assert!(Handle::decode(old(stream)).and_then(Handle::query).is_err());
    }
    // Each number of the messages as a large one: lengths of buffers, rows, bodies.
    let sound = messages(vec![values()], IpcWriteOptions::default());
    for (message, part) in sound.iter().enumerate() {
        for at in 0..part.data_header.len().saturating_sub(8) {
            for large in [i64::MAX / 2, 1 << 40, i64::from(i32::MAX), -1] {
                let (mut forged, mut header) = (sound.clone(), part.data_header.to_vec());
                header[at..at + 8].copy_from_slice(&large.to_le_bytes());
                forged[message].data_header = header.into();
                let _ = bound(forged).map(Handle::query);
            }
        }
    }
}

#[test]
fn compressed_parameters_are_refused() {
    for how in [CompressionType::ZSTD, CompressionType::LZ4_FRAME] {
        let options = IpcWriteOptions::default().try_with_compression(Some(how)).unwrap();
        let refused = bound(messages(vec![values()], options)).unwrap_err();
        assert!(refused.message().contains("compressed"), "{refused}");
    }
}

#[test]
fn parameters_are_those_of_one_query() {
    let rows = |rows: Vec<i64>| {
        let schema = Schema::new(vec![Field::new("$1", DataType::Int64, true)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(rows))]).unwrap()
    };
    for batches in [vec![rows(vec![1, 2])], vec![rows(vec![1]), rows(vec![2])]] {
        assert!(bound(messages(batches, IpcWriteOptions::default())).unwrap_err().message().contains("several"));
    }
    assert!(bound(messages(vec![rows(vec![1])], IpcWriteOptions::default())).is_ok());
}

#[tokio::test]
async fn endless_parameters_are_cut_off() {
    let endless = stream::repeat_with(|| Ok(FlightData::default()));
    assert!(taken(endless, 1 << 20).await.unwrap_err().message().contains("more than"));
}
