//! Writes one span: its fields in the order of their numbers, attributes in the order that its library would give them.

use super::{
    encode::{self, Attributes, EVENT_ATTRIBUTE, LINK_ATTRIBUTE, SPAN_ATTRIBUTE, Text},
    faults,
    model::{Model, Operation, Sort},
    names::{USER_AGENTS, VARIANTS},
    random::Random,
    shape::{Node, Outcome},
};

/// W3C flags: sampled, and whether the parent is remote is known.
const FLAGS: u32 = 0x101;
/// The parent is remote.
const FLAG_REMOTE: u32 = 0x200;

/// What all spans of a trace have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TraceFacts {
    pub(crate) trace_id: [u8; 16],
    pub(crate) trace_state: Option<Text>,
    /// Who it was done for.
    pub(crate) user: u64,
    /// What it was mostly about.
    pub(crate) entity: u64,
    /// Names the request from outside; passed on to all that it leads to.
    pub(crate) request: u64,
    /// A trace that was before, and one of its spans.
    pub(crate) earlier: Option<([u8; 16], u64)>,
}

/// Writes spans into one reused buffer.
#[derive(Debug, Default)]
pub(crate) struct SpanWriter {
    /// The span that was written last.
    pub(crate) bytes: Vec<u8>,
    event: Vec<u8>,
    stack: Vec<u8>,
}

impl SpanWriter {
    /// Writes the span of `node`, whose parent is `parent`.
    pub(crate) fn write(
        &mut self,
        model: &Model,
        trace: &TraceFacts,
        node: &Node,
        parent: Option<&Node>,
        random: &mut Random,
    ) {
        let operation = &model.operations[node.operation];
        self.bytes.clear();
        let out = &mut self.bytes;
        encode::bytes(out, 0x0a, &trace.trace_id);
        encode::bytes(out, 0x12, &node.span_id.to_be_bytes());
        if let Some(state) = &trace.trace_state {
            encode::bytes(out, 0x1a, state.as_ref());
        }
        if let Some(parent) = parent {
            encode::bytes(out, 0x22, &parent.span_id.to_be_bytes());
        }
        encode::bytes(out, 0x2a, operation.name.as_bytes());
        encode::integer(out, 0x30, operation.sort.kind().into());
        encode::fixed64(out, 0x39, node.start_ns);
        encode::fixed64(out, 0x41, node.end_ns);
        out.extend_from_slice(&operation.fixed);
        let mut attributes = Attributes { out, tag: SPAN_ATTRIBUTE };
        describe(&mut attributes, operation, trace, node, random);
        if random.chance(0.0005) {
            encode::integer(out, 0x50, 1 + random.bits() % 9);
        }
        self.events(model, operation, node, random);
        self.links(operation, trace, parent, random);
        self.status(model, operation, node);
        let remote = matches!(operation.sort, Sort::HttpServer | Sort::RpcServer | Sort::Consume);
        let flags = FLAGS | if remote && parent.is_some() { FLAG_REMOTE } else { 0 };
        self.bytes.extend_from_slice(&[0x85, 0x01]);
        self.bytes.extend_from_slice(&flags.to_le_bytes());
    }

    fn events(&mut self, model: &Model, operation: &Operation, node: &Node, random: &mut Random) {
        if node.outcome != Outcome::Fine {
            let service = &model.services[operation.service].listed;
            let fault = faults::fault(service.language, operation.sort, node.call);
            self.stack.clear();
            faults::stack_trace(&mut self.stack, service, &fault, random);
            self.event.clear();
            encode::fixed64(&mut self.event, 0x09, node.end_ns);
            encode::bytes(&mut self.event, 0x12, b"exception");
            let mut attributes = Attributes { out: &mut self.event, tag: EVENT_ATTRIBUTE };
            attributes.string("exception.type", fault.kind);
            attributes.string("exception.message", fault.message);
            attributes.string("exception.stacktrace", &self.stack);
            encode::bytes(&mut self.bytes, 0x5a, &self.event);
        } else if random.chance(0.03) {
            let middle = node.start_ns + (node.end_ns - node.start_ns) / 2;
            self.event.clear();
            encode::fixed64(&mut self.event, 0x09, middle);
            encode::bytes(&mut self.event, 0x12, if operation.writes { b"retry" } else { b"cache miss" });
            let mut attributes = Attributes { out: &mut self.event, tag: EVENT_ATTRIBUTE };
            attributes.int("app.attempt", 1 + random.below(3) as i64);
            attributes.string("app.reason", "stale entry");
            encode::bytes(&mut self.bytes, 0x5a, &self.event);
        }
    }

    fn links(&mut self, operation: &Operation, trace: &TraceFacts, parent: Option<&Node>, random: &mut Random) {
        let target = match (operation.sort, parent) {
            (Sort::Consume, Some(parent)) => Some((trace.trace_id, parent.span_id)),
            _ => trace.earlier.filter(|_| random.chance(0.004)),
        };
        let Some((trace_id, span_id)) = target else { return };
        self.event.clear();
        encode::bytes(&mut self.event, 0x0a, &trace_id);
        encode::bytes(&mut self.event, 0x12, &span_id.to_be_bytes());
        let mut attributes = Attributes { out: &mut self.event, tag: LINK_ATTRIBUTE };
        attributes.string("app.link.reason", if operation.sort == Sort::Consume { "message" } else { "follows" });
        encode::bytes(&mut self.bytes, 0x6a, &self.event);
    }

    fn status(&mut self, model: &Model, operation: &Operation, node: &Node) {
        if node.outcome == Outcome::Fine {
            return;
        }
        let language = model.services[operation.service].listed.language;
        self.event.clear();
        let message = faults::fault(language, operation.sort, node.call).message;
        encode::bytes(&mut self.event, 0x12, message.as_ref());
        encode::integer(&mut self.event, 0x18, 2);
        encode::bytes(&mut self.bytes, 0x7a, &self.event);
    }
}

/// Entities that can be asked for.
const ENTITIES: u64 = 96_000;
/// Half of all requests are for one of so few.
const POPULAR: u64 = 1_500;

/// Which entity something is about.
pub(crate) fn entity(bits: u64) -> u64 {
    (bits >> 8) % if bits & 1 == 0 { POPULAR } else { ENTITIES }
}

/// Writes the attributes that differ from time to time; together with the fixed ones about 14. As in real traces, most of what a
/// trace does is about the same thing, and what has a size has it again.
fn describe(to: &mut Attributes<'_>, operation: &Operation, trace: &TraceFacts, node: &Node, random: &mut Random) {
    let call = node.call;
    let entity = if call & 24 == 0 { entity(call) } else { trace.entity };
    let failed = node.outcome != Outcome::Fine;
    let thread = (call >> 40) % 16;
    // Most waits are none at all.
    let wait_ms = if call & 14 == 0 { (call % 1_024) as f64 / 256.0 } else { 0.0 };
    let size = |most: u64| (entity.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) as i64 % most as i64;
    match operation.sort {
        Sort::HttpServer => {
            let subject = Text::new().text(&operation.subject).number(100_000 + entity).text(operation.suffix);
            to.string("url.path", subject);
            to.int("http.response.status_code", http_status(operation, failed, call));
            to.int("http.response.body.size", size(60_000));
            to.string("client.address", Text::new().address((trace.user % 90_000) as u32 + 0x0001_0000));
            to.string("user_agent.original", USER_AGENTS[(trace.user % 16).min(8) as usize]);
            to.string("enduser.id", Text::new().text("u-").number(trace.user));
            to.int("thread.id", thread as i64);
            to.bool("app.cached", call & 6 == 0);
        }
        Sort::HttpClient => {
            let subject = Text::new().text(&operation.subject).number(100_000 + entity).text(operation.suffix);
            to.string("url.full", subject.text("?page=").number(call % 4));
            to.int("http.response.status_code", http_status(operation, failed, call));
            to.int("http.response.body.size", size(60_000));
            to.string("network.peer.address", Text::new().address(node.instance as u32 * 77 + 9));
            to.string("app.request.id", Text::new().hex(trace.request, 16));
            to.int("thread.id", thread as i64);
            to.bool("app.hedged", call & 30 == 0);
            to.int("app.tries", 1 + (call >> 52) as i64 % 2);
            to.double("app.time_left", (call % 200) as f64 * 12.5);
        }
        Sort::RpcServer | Sort::RpcClient => {
            to.int("rpc.grpc.status_code", if failed { [4, 13, 14][(call % 3) as usize] } else { 0 });
            to.string("network.peer.address", Text::new().address(node.instance as u32 * 77 + 9));
            // Connections are kept for long.
            to.int("network.peer.port", 30_000 + node.instance as i64 * 61 % 30_000 + (call >> 12) as i64 % 8);
            to.string("app.request.id", Text::new().hex(trace.request, 16));
            to.int("thread.id", thread as i64);
            to.bool("app.cached", call & 6 == 0);
            to.double("app.queued", wait_ms);
            to.int("app.shard", (entity % 32) as i64);
        }
        Sort::Sql => {
            to.string("db.query.parameter.0", Text::new().number(100_000 + entity));
            to.int(
                "db.response.returned_rows",
                if operation.writes { 1 } else { (50.0 * random.fraction() * random.fraction()) as i64 },
            );
            to.double("app.wait_ms", wait_ms);
            to.int("thread.id", thread as i64);
            to.bool("app.read_only", !operation.writes);
            to.int("app.shard", (entity % 32) as i64);
        }
        Sort::Cache => {
            let key = Text::new().text(&operation.subject).number(100_000 + entity);
            to.string("db.query.text", key.text(":").number(call % 9));
            to.string("network.peer.address", Text::new().address(0x0010_0000 + (call % 9) as u32));
            to.bool("app.cache.hit", call & 3 != 0);
            to.int("app.cache.item.size", size(8_000));
            to.double("app.cache.ttl_s", [30.0, 300.0, 300.0, 3_600.0][(entity % 4) as usize]);
            to.int("app.shard", (call % 9) as i64);
            to.int("thread.id", thread as i64);
            to.string("app.tenant", Text::new().text("tenant-").number(trace.user % 25));
            to.bool("app.local", call & 24 == 0);
        }
        Sort::Produce | Sort::Consume => {
            to.string("messaging.message.id", Text::new().uuid(call, !call));
            to.string("messaging.destination.partition.id", Text::new().number(call % 48));
            to.int("messaging.kafka.offset", (node.start_ns / 1_000_000 % 1_000_000_000) as i64 + (call % 999) as i64);
            to.string("messaging.kafka.message.key", Text::new().number(100_000 + entity));
            to.int("messaging.message.body.size", size(20_000));
            to.string("messaging.client.id", Text::new().text("client-").number(node.instance as u64));
            to.int("server.port", 9092);
            to.double("app.lag_ms", (call % 8_192) as f64 / 16.0);
            to.bool("app.dead_letter", failed);
        }
        Sort::Step => {
            to.int("thread.id", thread as i64);
            to.string("thread.name", Text::new().text("worker-").number(thread));
            to.string("enduser.id", Text::new().text("u-").number(trace.user));
            to.string("app.tenant", Text::new().text("tenant-").number(trace.user % 25));
            to.string("app.experiment.variant", VARIANTS[(trace.user % 5) as usize]);
            to.string("app.order.id", Text::new().text("o-").hex(trace.request >> 8, 12));
            to.int("app.items", 1 + (trace.request >> 50) as i64 % 12);
            to.double("app.total", (trace.request % 50_000) as f64 / 100.0);
            to.string("app.currency", ["EUR", "USD", "AUD"][(trace.user % 3) as usize]);
            to.bool("app.retried", call & 31 == 0);
            if call & 15 == 0 {
                let skus: [Text; 3] =
                    std::array::from_fn(|i| Text::new().text("sku-").number((call >> (8 * i)) % 40_000));
                to.strings("app.skus", &skus[..1 + (call >> 60) as usize % 3]);
            }
        }
    }
}

fn http_status(operation: &Operation, failed: bool, call: u64) -> i64 {
    match (failed, operation.writes) {
        (true, _) => [500, 502, 503, 504][(call % 4) as usize],
        (false, true) => 201,
        (false, false) if call.is_multiple_of(23) => 304,
        (false, false) => 200,
    }
}
