//! Makes up the traces of a shop: seeded, so that one seed always makes the same bytes.
//!
//! A [`model`] of services and their operations is made once. Then, trace after trace, [`shape`] decides what runs when
//! and what fails, [`span`] writes each span, and the [`exporter`] of the instance that would have sent it collects it
//! until a request is full.

mod encode;
mod exporter;
mod faults;
mod model;
mod names;
pub(crate) mod random;
mod shape;
mod span;

use std::collections::VecDeque;

use self::{
    encode::Text,
    exporter::Exporter,
    model::Model,
    random::Random,
    shape::Shaper,
    span::{SpanWriter, TraceFacts},
};

/// Traces shaped in advance to learn which services have how much to do.
const REHEARSALS: usize = 3_000;

/// What to generate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    /// Spans in all.
    pub(crate) spans: u64,
    /// Spans a request; the last ones have fewer, and so have those of instances with little to do.
    pub(crate) request_spans: usize,
    pub(crate) services: usize,
    /// When the first trace starts.
    pub(crate) start_ns: u64,
    /// Spans a second, in the corpus' time.
    pub(crate) rate: f64,
}

/// A request and what it begins.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// One `ExportTraceServiceRequest`.
    pub(crate) bytes: Vec<u8>,
    pub(crate) spans: u32,
    /// Traces that have begun since the last request, and their numbers of spans. A trace begins no later than in the
    /// request with its first span.
    pub(crate) begun: Vec<([u8; 16], u32)>,
}

/// Generates a corpus, request by request.
#[derive(Debug)]
pub(crate) struct Generator {
    options: Options,
    model: Model,
    random: Random,
    shaper: Shaper,
    writer: SpanWriter,
    exporters: Vec<Exporter>,
    /// Which service each instance is of.
    service_of: Vec<usize>,
    /// The instance whose exporter is looked at next for being overdue.
    next_overdue: usize,
    mean_gap_ns: f64,
    patience_ns: u64,
    /// Since the start of the corpus.
    elapsed_ns: f64,
    spans_left: u64,
    traces: u64,
    earlier: Option<([u8; 16], u64)>,
    begun: Vec<([u8; 16], u32)>,
    ready: VecDeque<Request>,
    /// Requests whose memory is used again.
    spare: Vec<Request>,
}

impl Generator {
    /// Makes up the shop.
    pub(crate) fn new(options: Options) -> Self {
        let mut random = Random::new(options.seed);
        let mut model = Model::new(options.services, &mut random);
        let mut shaper = Shaper::new();
        let (mut by_service, mut total) = (vec![0usize; options.services], 0);
        for _ in 0..REHEARSALS {
            let size = shaper.draw_size(&mut random);
            shaper.shape(&model, &mut random, options.start_ns, size);
            total += shaper.nodes.len();
            shaper.nodes.iter().for_each(|node| by_service[model.operations[node.operation].service] += 1);
        }
        // Three instances a service on average, by how much each has to do, and at least two.
        let instances: Vec<_> =
            by_service.iter().map(|spans| (3 * options.services * spans / total.max(1)).clamp(2, 16)).collect();
        model.populate(&instances, &mut random);
        let exporters: Vec<_> = model.resources.iter().map(|_| Exporter::default()).collect();
        let of = model
            .services
            .iter()
            .enumerate()
            .flat_map(|(index, service)| service.instances.clone().map(move |_| index));
        let service_of = of.collect();
        let mean_fill_ns = options.request_spans as f64 * exporters.len() as f64 / options.rate * 1e9;
        Self {
            mean_gap_ns: total as f64 / REHEARSALS as f64 / options.rate * 1e9,
            patience_ns: (3.0 * mean_fill_ns) as u64,
            elapsed_ns: 0.0,
            spans_left: options.spans,
            next_overdue: 0,
            traces: 0,
            earlier: None,
            begun: Vec::new(),
            ready: VecDeque::new(),
            spare: Vec::new(),
            writer: SpanWriter::default(),
            options,
            model,
            random,
            shaper,
            exporters,
            service_of,
        }
    }

    /// Traces so far.
    pub(crate) fn traces(&self) -> u64 {
        self.traces
    }

    /// From the start of the first trace to the start of the last.
    pub(crate) fn length_ns(&self) -> u64 {
        self.elapsed_ns as u64
    }

    /// The next request; none after the last. Hand requests back with `reuse`.
    pub(crate) fn next(&mut self) -> Option<Request> {
        loop {
            if let Some(request) = self.ready.pop_front() {
                return Some(request);
            }
            if self.spans_left > 0 {
                self.trace();
            } else {
                // After the last trace, the exporters are emptied one by one.
                let instance = self.exporters.iter().position(|exporter| exporter.len() > 0)?;
                self.flush(instance);
            }
        }
    }

    /// Takes back a request whose bytes are no longer needed.
    pub(crate) fn reuse(&mut self, request: Request) {
        self.spare.push(request);
    }

    fn flush(&mut self, instance: usize) {
        let service = &self.model.services[self.service_of[instance]];
        let mut request = self.spare.pop().unwrap_or_default();
        request.bytes.clear();
        request.begun.clear();
        request.begun.append(&mut self.begun);
        let resource = &self.model.resources[instance];
        request.spans = self.exporters[instance].flush(resource, &service.scopes, &mut request.bytes);
        self.ready.push_back(request);
    }

    /// Generates one trace into the exporters.
    fn trace(&mut self) {
        let random = &mut self.random;
        self.elapsed_ns += random.exponential(self.mean_gap_ns);
        let now_ns = self.options.start_ns + self.elapsed_ns as u64;
        let size = self.shaper.draw_size(random).min(self.spans_left.min(u32::MAX.into()) as u32);
        self.shaper.shape(&self.model, random, now_ns, size);

        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&(random.bits() | 1).to_be_bytes());
        trace_id[8..].copy_from_slice(&random.bits().to_be_bytes());
        let state = Text::new().text("shop=t").number(random.bits() % 25).text(":p").hex(random.bits(), 8);
        let trace_state = random.chance(0.05).then_some(state);
        let user = 1_000_000 + random.bits() % 300_000;
        let (entity, request) = (span::entity(random.bits()), random.bits());
        let facts = TraceFacts { trace_id, trace_state, user, entity, request, earlier: self.earlier };
        self.begun.push((trace_id, self.shaper.nodes.len() as u32));
        self.traces += 1;
        self.spans_left -= self.shaper.nodes.len() as u64;
        self.earlier = Some((trace_id, self.shaper.nodes[0].span_id));
        for index in 0..self.shaper.nodes.len() {
            let node = self.shaper.nodes[index];
            let parent = node.parent.map(|parent| &self.shaper.nodes[parent as usize]);
            self.writer.write(&self.model, &facts, &node, parent, &mut self.random);
            let scope = self.model.operations[node.operation].sort.scope();
            let exporter = &mut self.exporters[node.instance];
            exporter.push(scope, node.end_ns, &self.writer.bytes, now_ns);
            if exporter.len() == self.options.request_spans {
                self.flush(node.instance);
            }
        }
        self.look_for_overdue(now_ns);
    }

    /// Sends what has waited for too long. One instance is looked at after each trace: cheap, and often enough.
    fn look_for_overdue(&mut self, now_ns: u64) {
        self.next_overdue = (self.next_overdue + 1) % self.exporters.len();
        let exporter = &self.exporters[self.next_overdue];
        if exporter.len() > 0 && exporter.since_ns + self.patience_ns < now_ns {
            self.flush(self.next_overdue);
        }
    }
}

#[cfg(test)]
mod tests;
