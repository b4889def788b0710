//! Takes requests apart into columns.

use std::{borrow::Cow, sync::Arc};

use arrow_array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, TimestampNanosecondArray, UInt32Array, UInt64Array,
    new_null_array,
};
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use clew_common::otlp::{
    walk::{Malformed, scope_bytes_of_batch},
    wire::{BYTES, Reader, bytes, key, key_of, skip},
};
use hashbrown::HashMap;

use super::{
    attributes::{Attributes, Columns},
    lists::{fixed, numbers},
    resource::{self, Resource},
    span::Rows,
    strings::{Interner, Texts},
};
use crate::schema::{self, CORE};

/// Spans as columns, with their resources.
#[derive(Clone, Debug)]
pub struct Spans {
    /// In the memory form of [`schema`], in the order in which they came.
    pub batch: RecordBatch,
    /// Those of the spans, each id once.
    pub resources: Vec<Resource>,
}

/// Makes columns of requests. It may be used again after each batch, and is faster then: it guesses an attribute's key by
/// the one before it.
#[derive(Debug, Default)]
pub struct Builder {
    /// Bytes of the requests.
    size: usize,
    rows: Rows,
    attributes: Attributes,
    resources: Vec<Resource>,
    /// By id, with the number of its service's name.
    services_of: HashMap<u64, Option<u32>>,
    services: Interner,
    scope_names: Interner,
    scope_versions: Interner,
    scope_schema_urls: Interner,
    scope_fields: Texts,
    /// Bytes of `scope_fields` when each span has its own.
    scope_fields_size: usize,
    runs: Vec<Run>,
    schema: Option<SchemaRef>,
}

/// Spans with the same resource and scope. The numbers are those of interned strings.
#[derive(Clone, Debug)]
struct Run {
    /// The first one.
    row: usize,
    resource_id: u64,
    service: Option<u32>,
    scope_name: Option<u32>,
    scope_version: Option<u32>,
    scope_schema_url: Option<u32>,
    scope_fields: Option<u32>,
}

/// The Resource of a ResourceSpans, and the InstrumentationScope of a ScopeSpans.
const OWNER: u32 = key_of(1, BYTES);
/// The ScopeSpans of a ResourceSpans, and the Spans of a ScopeSpans.
const CHILD: u32 = key_of(2, BYTES);
const SCHEMA_URL: u32 = key_of(3, BYTES);

/// So that every offset fits.
const MAX_SIZE: usize = i32::MAX as usize;

impl Builder {
    /// Without any spans.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the spans of an ExportTraceServiceRequest that has passed [`clew_common::otlp::walk::check`]. Fields of
    /// ResourceSpans and ScopeSpans that OTLP 1.x does not have are left out, as all decoders do.
    ///
    /// # Errors
    /// When the framing is broken, an id has the wrong size, or a schema URL or an attribute's key is not UTF-8: not after
    /// the check. When the requests since the last `finish` together have 2 GiB; when the attributes of scopes, which each
    /// span repeats, come to more than [`scope_bytes_of_batch`]: not after the check. After an error all spans added are gone.
    pub fn add(&mut self, request: &[u8]) -> Result<(), Malformed> {
        let added = self.request(request);
        if added.is_err() {
            self.clear();
        }
        added
    }

    /// How many spans there are since the last `finish`.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    fn request(&mut self, request: &[u8]) -> Result<(), Malformed> {
        self.size = self.size.saturating_add(request.len());
        if self.size > MAX_SIZE {
            return Err(Malformed { at: 0, what: "with those before it, it has more than 2 GiB" });
        }
        let mut reader = Reader::new(request);
        while !reader.is_empty() {
            let at = reader.at();
            let broken = Malformed { at, what: "a field of it is cut short or of the wrong type" };
            match reader.key() {
                Some(OWNER) => self.resource_spans(reader.message().ok_or(broken)?)?,
                Some(key) => reader.skip(key).ok_or(broken)?,
                None => return Err(broken),
            }
        }
        Ok(())
    }

    fn resource_spans(&mut self, message: Reader<'_>) -> Result<(), Malformed> {
        let broken = Malformed { at: message.at(), what: "a ResourceSpans is not what it should be" };
        let envelope = envelope(message.rest).ok_or_else(|| broken.clone())?;
        if !envelope.has_children {
            return Ok(());
        }
        let schema_url = str::from_utf8(envelope.schema_url).map_err(|_| broken.clone())?;
        let owner = envelope.owner.as_deref();
        let resource_id = resource::id(schema_url, owner);
        let service = *self.services_of.entry(resource_id).or_insert_with(|| {
            let message = owner.map(Bytes::copy_from_slice);
            self.resources.push(Resource { id: resource_id, message, schema_url: schema_url.to_owned() });
            owner.and_then(resource::service_name).map(|name| self.services.intern(name))
        });
        let mut reader = message;
        while !reader.is_empty() {
            match reader.key() {
                Some(CHILD) => {
                    let scope_spans = reader.message().ok_or_else(|| broken.clone())?;
                    self.scope_spans(scope_spans, resource_id, service)?;
                }
                Some(key) => reader.skip(key).ok_or_else(|| broken.clone())?,
                None => return Err(broken),
            }
        }
        Ok(())
    }

    fn scope_spans(&mut self, message: Reader<'_>, resource_id: u64, service: Option<u32>) -> Result<(), Malformed> {
        let broken = Malformed { at: message.at(), what: "a ScopeSpans is not what it should be" };
        let envelope = envelope(message.rest).ok_or_else(|| broken.clone())?;
        if !envelope.has_children {
            return Ok(());
        }
        let mut run = Run {
            row: self.rows(),
            resource_id,
            service,
            scope_name: None,
            scope_version: None,
            scope_schema_url: intern_some(&mut self.scope_schema_urls, envelope.schema_url),
            scope_fields: None,
        };
        let mut fields_size = 0;
        if let Some(scope) = &envelope.owner {
            let scope = Scope::read(scope).ok_or_else(|| broken.clone())?;
            run.scope_name = Some(self.scope_names.intern(scope.name));
            run.scope_version = intern_some(&mut self.scope_versions, scope.version);
            if !scope.fields.is_empty() {
                run.scope_fields = Some(self.scope_fields.len() as u32);
                self.scope_fields.push(&scope.fields);
                fields_size = scope.fields.len();
            }
        }
        self.runs.push(run);

        let mut reader = message;
        while !reader.is_empty() {
            let at = reader.at();
            match reader.key() {
                Some(CHILD) => {
                    let span = bytes(&mut reader.rest).ok_or_else(|| broken.clone())?;
                    let broken = Malformed { at, what: "a Span is cut short, or an id of it has the wrong size" };
                    self.rows.push(span, &mut self.attributes).ok_or(broken)?;
                    self.scope_fields_size = self.scope_fields_size.saturating_add(fields_size);
                    if self.scope_fields_size as u64 > scope_bytes_of_batch(self.size as u64).min(MAX_SIZE as u64) {
                        return Err(Malformed {
                            at,
                            what: "the attributes of its scopes, repeated for each span, are too large",
                        });
                    }
                }
                Some(key) => reader.skip(key).ok_or_else(|| broken.clone())?,
                None => return Err(broken),
            }
        }
        Ok(())
    }

    /// The spans that were added since the last time.
    ///
    /// # Errors
    /// When a string is not UTF-8: not after the check. The spans are gone then, too.
    pub fn finish(&mut self) -> Result<Spans, ArrowError> {
        let batch = self.batch();
        let resources = std::mem::take(&mut self.resources);
        self.clear();
        Ok(Spans { batch: batch?, resources })
    }

    fn clear(&mut self) {
        self.size = 0;
        self.rows.clear();
        self.attributes.clear();
        self.resources.clear();
        self.services_of.clear();
        self.services.clear();
        self.scope_names.clear();
        self.scope_versions.clear();
        self.scope_schema_urls.clear();
        self.scope_fields.clear();
        self.scope_fields_size = 0;
        self.runs.clear();
    }

    fn batch(&mut self) -> Result<RecordBatch, ArrowError> {
        let (rows, count) = (&self.rows, self.rows());
        let Columns { columns, rest } = self.attributes.dense(count, self.size)?;
        let (codes, has_status) = rows.status_codes.dense(count);
        let none = |at: usize| new_null_array(CORE[at].data_type(), count);
        // In the order of `schema::core`.
        let mut arrays: Vec<ArrayRef> = vec![
            fixed((rows.trace_ids.clone(), None))?,
            fixed((rows.span_ids.clone(), None))?,
            fixed(rows.parents.dense(count))?,
            none(schema::core::PARENT_ROW),
            Arc::new(TimestampNanosecondArray::try_new(rows.starts.clone().into(), None)?),
            Arc::new(Int64Array::try_new(rows.durations.clone().into(), None)?),
            Arc::new(Int32Array::try_new(rows.kinds.clone().into(), None)?),
            Arc::new(Int32Array::try_new(codes.into(), has_status)?),
            rows.status_messages.dense(count)?,
            rows.names.dense(count)?,
            self.by_run(&self.services, |run| run.service)?,
            Arc::new(UInt64Array::try_new(self.resource_ids().into(), None)?),
            self.by_run(&self.scope_names, |run| run.scope_name)?,
            self.by_run(&self.scope_versions, |run| run.scope_version)?,
            self.scope_fields()?,
            self.by_run(&self.scope_schema_urls, |run| run.scope_schema_url)?,
            rows.trace_states.dense(count)?,
            Arc::new(UInt32Array::try_new(rows.flags.clone().into(), None)?),
            numbers(&rows.dropped_attributes, count)?,
            numbers(&rows.dropped_events, count)?,
            numbers(&rows.dropped_links, count)?,
            rows.events.dense(count)?,
            rows.links.dense(count)?,
            rest,
            rows.raw.dense(count)?,
        ];
        let wanted = || columns.iter().map(|(key, kind, _)| (key.as_str(), *kind));
        let schema = match &self.schema {
            Some(last) if schema::attributes(last).map(|(key, kind, _)| (key, kind)).eq(wanted()) => last.clone(),
            _ => schema::with_attributes(wanted()),
        };
        self.schema = Some(schema.clone());
        arrays.extend(columns.into_iter().map(|(_, _, array)| array));
        RecordBatch::try_new(schema, arrays)
    }

    /// Runs with how many rows they have.
    fn run_lengths(&self) -> impl Iterator<Item = (&Run, usize)> {
        let ends = self.runs.iter().skip(1).map(|next| next.row).chain([self.rows()]);
        self.runs.iter().zip(ends).map(|(run, end)| (run, end - run.row))
    }

    fn resource_ids(&self) -> Vec<u64> {
        let mut ids = Vec::with_capacity(self.rows());
        self.run_lengths().for_each(|(run, count)| ids.extend(std::iter::repeat_n(run.resource_id, count)));
        ids
    }

    fn by_run(&self, strings: &Interner, key: impl Fn(&Run) -> Option<u32>) -> Result<ArrayRef, ArrowError> {
        let mut keys = UInt32Array::builder(self.rows());
        for (run, count) in self.run_lengths() {
            match key(run) {
                Some(key) => keys.append_value_n(key, count),
                None => keys.append_nulls(count),
            }
        }
        strings.dictionary(keys.finish())
    }

    fn scope_fields(&self) -> Result<ArrayRef, ArrowError> {
        if self.scope_fields.len() == 0 {
            return Ok(new_null_array(CORE[schema::core::SCOPE_FIELDS].data_type(), self.rows()));
        }
        let fields = self
            .run_lengths()
            .flat_map(|(run, count)| std::iter::repeat_n(run.scope_fields.map(|at| self.scope_fields.get(at)), count));
        Ok(Arc::new(fields.collect::<BinaryArray>()))
    }
}

/// The number of a string that is not empty.
fn intern_some(strings: &mut Interner, text: &[u8]) -> Option<u32> {
    (!text.is_empty()).then(|| strings.intern(text))
}

/// A ResourceSpans or a ScopeSpans without its children, which may stand before the rest.
#[derive(Default)]
struct Envelope<'a> {
    /// The Resource or InstrumentationScope. One that comes in pieces is the same as the pieces one after another.
    owner: Option<Cow<'a, [u8]>>,
    schema_url: &'a [u8],
    has_children: bool,
}

fn envelope(mut rest: &[u8]) -> Option<Envelope<'_>> {
    let mut envelope = Envelope::default();
    while !rest.is_empty() {
        match key(&mut rest)? {
            OWNER => {
                let piece = bytes(&mut rest)?;
                match &mut envelope.owner {
                    None => envelope.owner = Some(Cow::Borrowed(piece)),
                    Some(owner) => owner.to_mut().extend_from_slice(piece),
                }
            }
            CHILD => {
                bytes(&mut rest)?;
                envelope.has_children = true;
            }
            SCHEMA_URL => envelope.schema_url = bytes(&mut rest)?,
            key => skip(&mut rest, key)?,
        }
    }
    Some(envelope)
}

/// An InstrumentationScope.
#[derive(Default)]
struct Scope<'a> {
    name: &'a [u8],
    version: &'a [u8],
    /// The other fields.
    fields: Vec<u8>,
}

impl<'a> Scope<'a> {
    fn read(mut rest: &'a [u8]) -> Option<Self> {
        const NAME: u32 = key_of(1, BYTES);
        const VERSION: u32 = key_of(2, BYTES);
        let mut scope = Self::default();
        while !rest.is_empty() {
            let before = rest;
            match key(&mut rest)? {
                NAME => scope.name = bytes(&mut rest)?,
                VERSION => scope.version = bytes(&mut rest)?,
                key => {
                    skip(&mut rest, key)?;
                    scope.fields.extend_from_slice(&before[..before.len() - rest.len()]);
                }
            }
        }
        Some(scope)
    }
}
