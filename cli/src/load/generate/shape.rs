//! The shape of one trace: which operations run under which, when, and which of them fail.

use super::{
    model::{Call, Model, Sort},
    random::{LogNormal, Random},
};

/// Deepest nesting of service calls; what is left of a trace's size then becomes queries side by side.
const MAX_DEPTH: u32 = 12;

/// Largest trace.
const MAX_SPANS: f64 = 6_000.0;

/// Chance that an operation fails by itself. About two and a half spans are in error for each that fails.
const FAULT_CHANCE: f64 = 0.0047;

/// How a span ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Fine,
    /// It failed by itself.
    Failed,
    /// Something under it failed.
    Passed,
}

/// One span, before it has content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// Index of the parent in the shape; none for the root.
    pub(crate) parent: Option<u32>,
    pub(crate) operation: usize,
    /// Index into the model's resources.
    pub(crate) instance: usize,
    pub(crate) span_id: u64,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// The same on both sides of a call: the ids in its path and so on are made from it.
    pub(crate) call: u64,
    pub(crate) outcome: Outcome,
}

/// A child that is planned but not yet placed in time.
#[derive(Debug, Clone, Copy)]
enum Slot {
    One { operation: usize },
    Inner { operation: usize, spans: u32 },
    Call { call: Call, spans: u32 },
    Send { call: Call, spans: u32 },
}

/// Makes shapes, one at a time, in reused memory.
#[derive(Debug)]
pub(crate) struct Shaper {
    /// The spans of the last shape; parents stand before their children.
    pub(crate) nodes: Vec<Node>,
    slots: Vec<(Slot, f64)>,
    size: LogNormal,
    duration: LogNormal,
    weight: LogNormal,
}

impl Shaper {
    /// Without a shape yet.
    pub(crate) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            slots: Vec::new(),
            size: LogNormal::new(1.35),
            duration: LogNormal::new(0.9),
            weight: LogNormal::new(1.0),
        }
    }

    /// How many spans the next trace may have: median 10, mean about 26, one in a thousand above 700.
    pub(crate) fn draw_size(&self, random: &mut Random) -> u32 {
        // The table of quantiles ends at one in two thousand: bulk jobs make up what is beyond it.
        let bulk = if random.chance(0.001) { random.between(10.0, 60.0) } else { 1.0 };
        (10.0 * bulk * self.size.draw(random)).clamp(1.0, MAX_SPANS) as u32
    }

    /// Makes one trace of at most `spans` spans (at least one) that starts at `start_ns`.
    pub(crate) fn shape(&mut self, model: &Model, random: &mut Random, start_ns: u64, spans: u32) {
        self.nodes.clear();
        self.slots.clear();
        let entry = (random.fraction() * random.fraction() * model.entries as f64) as usize;
        let operation = *random.pick_early(&model.services[entry].serves);
        let duration_ns = 2.5e6 * f64::from(spans).powf(0.95) * self.duration.draw(random);
        let root = self.place(model, random, None, operation, (start_ns, start_ns + duration_ns as u64));
        self.nodes[root as usize].instance = random.below_range(&model.services[entry].instances);
        self.fill(model, random, root, spans - 1, 0);
        self.fail(model, random);
    }

    /// Puts `spans` spans under `parent`.
    fn fill(&mut self, model: &Model, random: &mut Random, parent: u32, spans: u32, depth: u32) {
        if spans == 0 {
            return;
        }
        let first = self.slots.len();
        self.plan(model, random, parent, spans, depth);
        // Times are counted from the parent's start: so many nanoseconds since 1970 are more than a double can tell apart.
        let start_ns = self.nodes[parent as usize].start_ns;
        let whole = (self.nodes[parent as usize].end_ns - start_ns) as f64;
        let busy = whole * random.between(0.6, 0.95);
        let total: f64 = self.slots[first..].iter().map(|(_, weight)| weight).sum();
        let side_by_side = random.chance(0.3);
        let mut at = (whole - busy) * random.between(0.2, 0.8);
        for index in first..self.slots.len() {
            let (slot, weight) = self.slots[index];
            let length = if side_by_side { busy * random.between(0.3, 1.0) } else { busy * weight / total };
            let window = (start_ns + at as u64, start_ns + (at + length) as u64);
            self.put(model, random, parent, slot, window, depth);
            if !side_by_side {
                at += length;
            }
        }
        self.slots.truncate(first);
    }

    /// Decides what runs under `parent`, without regard to time.
    fn plan(&mut self, model: &Model, random: &mut Random, parent: u32, spans: u32, depth: u32) {
        let service = &model.services[model.operations[self.nodes[parent as usize].operation].service];
        let mut left = spans;
        while left > 0 {
            let may_call = depth < MAX_DEPTH && left >= 2;
            let draw = random.fraction();
            let share = |random: &mut Random, left: u32| (f64::from(left) * random.between(0.2, 0.9)) as u32;
            let (slot, used) = if may_call && draw < 0.42 && !service.calls.is_empty() {
                let inside = share(random, left - 2);
                (Slot::Call { call: *random.pick(&service.calls), spans: inside }, 2 + inside)
            } else if may_call && draw < 0.46 && !service.sends.is_empty() {
                let inside = share(random, left - 2).min(40);
                (Slot::Send { call: *random.pick(&service.sends), spans: inside }, 2 + inside)
            } else if may_call && draw < 0.56 {
                let inside = share(random, (left - 1).min(12));
                (Slot::Inner { operation: *random.pick(&service.steps), spans: inside }, 1 + inside)
            } else if draw < 0.82 {
                (Slot::One { operation: *random.pick_early(&service.queries) }, 1)
            } else {
                (Slot::One { operation: *random.pick_early(&service.lookups) }, 1)
            };
            let weight = self.weight.draw(random) * f64::from(used).sqrt();
            self.slots.push((slot, weight));
            left -= used;
        }
    }

    fn put(&mut self, model: &Model, random: &mut Random, parent: u32, slot: Slot, window: (u64, u64), depth: u32) {
        match slot {
            Slot::One { operation } => {
                self.place(model, random, Some(parent), operation, window);
            }
            Slot::Inner { operation, spans } => {
                let inner = self.place(model, random, Some(parent), operation, window);
                self.fill(model, random, inner, spans, depth + 1);
            }
            Slot::Call { call, spans } => {
                let client = self.place(model, random, Some(parent), call.from, window);
                let network = (window.1 - window.0) as f64 * random.between(0.01, 0.08);
                let inside = (window.0 + network as u64, window.1 - network as u64);
                let server = self.place_elsewhere(model, random, client, call.to, inside);
                self.fill(model, random, server, spans, depth + 1);
            }
            Slot::Send { call, spans } => {
                let end_ns = window.0 + ((window.1 - window.0) / 4).min(3_000_000);
                let producer = self.place(model, random, Some(parent), call.from, (window.0, end_ns));
                let start_ns = end_ns + (4e6 * self.duration.draw(random)) as u64;
                let duration_ns = 3e6 * f64::from(spans + 1).powf(0.7) * self.duration.draw(random);
                let times = (start_ns, start_ns + duration_ns as u64);
                let consumer = self.place_elsewhere(model, random, producer, call.to, times);
                self.fill(model, random, consumer, spans, depth + 1);
            }
        }
    }

    /// A span in the same process as its parent.
    fn place(
        &mut self,
        model: &Model,
        random: &mut Random,
        parent: Option<u32>,
        operation: usize,
        (start_ns, end_ns): (u64, u64),
    ) -> u32 {
        let instance = match parent {
            Some(parent) => self.nodes[parent as usize].instance,
            None => model.services[model.operations[operation].service].instances.start,
        };
        let (span_id, call) = (random.bits() | 1, random.bits());
        let node = Node { parent, operation, instance, span_id, start_ns, end_ns, call, outcome: Outcome::Fine };
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }

    /// The other side of a call.
    fn place_elsewhere(
        &mut self,
        model: &Model,
        random: &mut Random,
        caller: u32,
        operation: usize,
        times: (u64, u64),
    ) -> u32 {
        let index = self.place(model, random, Some(caller), operation, times);
        let call = self.nodes[caller as usize].call;
        let node = &mut self.nodes[index as usize];
        node.instance = random.below_range(&model.services[model.operations[operation].service].instances);
        node.call = call;
        index
    }

    /// Lets some spans fail, and some of those above them with them.
    fn fail(&mut self, model: &Model, random: &mut Random) {
        for index in (0..self.nodes.len()).rev() {
            if self.nodes[index].outcome == Outcome::Fine && random.chance(FAULT_CHANCE) {
                self.nodes[index].outcome = Outcome::Failed;
            }
            if self.nodes[index].outcome == Outcome::Fine {
                continue;
            }
            let Some(parent) = self.nodes[index].parent else { continue };
            let parent = &mut self.nodes[parent as usize];
            let chance = match model.operations[parent.operation].sort {
                Sort::HttpClient | Sort::RpcClient => 1.0,
                Sort::Produce => 0.0,
                _ => 0.45,
            };
            if parent.outcome == Outcome::Fine && random.chance(chance) {
                parent.outcome = Outcome::Passed;
            }
        }
    }
}
