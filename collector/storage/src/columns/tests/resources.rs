//! Resources as a table.

use arrow_array::{Array, cast::AsArray};
use bytes::Bytes;
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    resource::v1,
};
use proptest::prelude::*;
use prost::Message;

use super::{arbitrary, columns, pair, text};
use crate::columns::{Resource, resources_batch, resources_of};

fn resource(attributes: Vec<KeyValue>) -> Resource {
    let message = v1::Resource { attributes, ..v1::Resource::default() }.encode_to_vec();
    Resource::new(String::new(), Some(Bytes::from(message)))
}

proptest! {
    #[test]
    fn resources_come_out_of_their_table_as_they_went_in(request in arbitrary::request()) {
        let resources = columns(&request.encode_to_vec()).resources;
        prop_assert_eq!(resources_of(&resources_batch(&resources).unwrap()).unwrap(), resources);
    }
}

#[test]
fn a_resource_is_named_by_all_that_it_says() {
    let url =
        |url: &str, message: Option<&'static [u8]>| Resource::new(url.to_owned(), message.map(Bytes::from_static)).id;
    let ids = [
        url("", None),
        url("", Some(b"")),
        url("a", None),
        url("a", Some(b"")),
        url("", Some(b"a")),
        url("a\x01", None),
    ];
    for (at, id) in ids.iter().enumerate() {
        assert!(!ids[..at].contains(id));
    }
    // It is in blocks: another hash would make their resources unknown.
    assert_eq!(url("https://example.com/1", Some(b"\x0A\x00")), 16841212337952629099);
    let hashed = b"\x15\0\0\0\0\0\0\0https://example.com/1\x01\x0A\x00";
    assert_eq!(xxhash_rust::xxh3::xxh3_64(hashed), 16841212337952629099);
}

#[test]
fn the_attributes_of_resources_have_columns() {
    let resources = [
        resource(vec![pair("service.name", text("shop")), pair("host.cpus", Value::IntValue(8))]),
        resource(vec![pair("host.cpus", text("many")), pair("empty", text(""))]),
        Resource::new("https://example.com/1".to_owned(), None),
    ];
    let batch = resources_batch(&resources).unwrap();
    let names: Vec<&str> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    let all = ["resource_id", "service_name", "schema_url", "attributes", "otlp"];
    let own = ["resource.empty", "resource.host.cpus", "resource.service.name"];
    assert_eq!(names, [&all[..], &own[..]].concat());
    let cpus = batch.column_by_name("resource.host.cpus").unwrap().as_primitive::<arrow_array::types::Int64Type>();
    assert_eq!(cpus.iter().collect::<Vec<_>>(), [Some(8), None, None]);
    let rest = batch.column_by_name("attributes").unwrap().as_list::<i32>();
    assert_eq!((0..3).map(|row| rest.is_valid(row)).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(resources[0].service_name(), Some("shop"));
    assert_eq!(resources[1].service_name(), None);
    assert_eq!(resources_of(&batch).unwrap(), resources);
    assert!(resources_of(&batch.project(&[0, 1]).unwrap()).is_err());
}

#[test]
fn no_resources_are_a_table_too() {
    assert_eq!(resources_of(&resources_batch(&[]).unwrap()).unwrap(), []);
}
