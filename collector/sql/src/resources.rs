//! The table `resources`: who sent spans.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{Array, ArrayRef, RecordBatch, StringViewArray, UInt64Array};
use arrow_schema::{Field, Schema};
use clew_query::{
    exec::{Spans, SpansError},
    traceql::value::Value,
};
use clew_storage::{columns::Resource, schema::Type};
use datafusion::common::Result;
use opentelemetry_proto::tonic::{common::v1::KeyValue, resource::v1::Resource as Message};
use prost::Message as _;

use crate::{columns::Kind, maps, values::of_values};

/// Resources that are read.
pub struct Resources {
    resources: Vec<(Resource, Vec<KeyValue>)>,
    /// Their attributes of single values, with the types that these have.
    pub types: HashMap<String, Vec<Type>>,
}

impl Resources {
    /// Of all spans. Blocking.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn of(spans: &Spans) -> Result<Self, SpansError> {
        let attributes = |resource: Resource| {
            let message = resource.message.clone().and_then(|message| Message::decode(message).ok());
            (resource, message.map(|message| message.attributes).unwrap_or_default())
        };
        let resources: Vec<_> = spans.resources()?.into_iter().map(attributes).collect();
        let mut types: HashMap<String, Vec<Type>> = HashMap::new();
        for pair in resources.iter().flat_map(|(_, attributes)| attributes) {
            let kind = match pair.value.as_ref().map(Value::from) {
                Some(Value::String(_)) => Type::String,
                Some(Value::Int(_)) => Type::Int,
                Some(Value::Float(_)) => Type::Double,
                Some(Value::Bool(_)) => Type::Bool,
                _ => continue,
            };
            let of_key = types.entry(pair.key.clone()).or_default();
            if !of_key.contains(&kind) {
                of_key.push(kind);
            }
        }
        Ok(Self { resources, types })
    }

    /// A row each: id, service, schema URL, all attributes, and each attribute that has single values.
    pub fn table(&self) -> Result<RecordBatch> {
        let ids: UInt64Array = self.resources.iter().map(|(resource, _)| Some(resource.id)).collect();
        let urls = self.resources.iter().map(|(resource, _)| Some(&*resource.schema_url).filter(|url| !url.is_empty()));
        let values = |key: &str, kind: Kind| {
            let value = |(_, attributes): &(Resource, Vec<KeyValue>)| {
                let pair = attributes.iter().find(|pair| pair.key == key);
                pair.and_then(|pair| pair.value.as_ref()).map_or(Value::Nil, Value::from)
            };
            let values: Vec<Value> = self.resources.iter().map(value).collect();
            of_values(values.iter(), kind)
        };
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("resource_id".to_owned(), Arc::new(ids)),
            ("service_name".to_owned(), values("service.name", Kind::Text)),
            ("schema_url".to_owned(), Arc::new(urls.collect::<StringViewArray>())),
            ("attributes".to_owned(), maps::of_messages(self.resources.iter().map(|(_, attributes)| &**attributes))?),
        ];
        let mut types: Vec<_> = self.types.iter().collect();
        types.sort_unstable();
        columns
            .extend(types.into_iter().map(|(key, types)| (format!("resource.{key}"), values(key, Kind::of(types).0))));
        let field = |(name, array): &(String, ArrayRef)| Field::new(name, array.data_type().clone(), true);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        Ok(RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, array)| array).collect())?)
    }
}
