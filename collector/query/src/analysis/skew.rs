//! How far the clocks of services that call each other are apart.
//!
//! A server works while its client waits. What its spans lie outside of the client's must come from the clocks, and how much
//! room they have within bounds how far these can be apart. [`skews`] tells it; only who asks for [`corrected`] has it applied.

use std::collections::{BTreeMap, HashMap};

use super::pairing::{PairKind, pairs};
use crate::tree::{Node, Tree, text};

/// What tells the time: a service on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Clock {
    /// `service.name`, empty without one.
    pub service: String,
    /// `host.name`, empty without one.
    pub host: String,
}

/// How far the clock of a callee is ahead of that of its caller; negative when it is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skew {
    pub caller: Clock,
    pub callee: Clock,
    /// 0 when the bounds allow it; otherwise their middle.
    pub estimate_ns: i64,
    /// It is no less.
    pub low_ns: i64,
    /// It is no more.
    pub high_ns: i64,
    /// How many calls say so.
    pub calls: usize,
    /// No one offset suits all calls, so that clocks changed on the way: the bounds are those of the call that left least
    /// room.
    pub disagree: bool,
}

/// The offsets of all pairs of clocks between which there are calls, in order of the clocks.
///
/// Each call says that the offset is at least (server's end - client's end) and at most (server's start - client's start);
/// the bounds are what all calls of a pair of clocks allow. The middle, and to trust the call that took the network least
/// where calls contradict each other, are NTP's (RFC 5905, sections 8 and 10). A call of which the server took longer than
/// the client, or of which only the client failed, says nothing: the client has given up. One host has one clock: a call
/// within it says that the offset is 0.
#[must_use]
pub fn skews(tree: &Tree) -> Vec<Skew> {
    let mut calls: BTreeMap<(Clock, Clock), Vec<(i64, i64)>> = BTreeMap::new();
    for pair in pairs(tree).into_iter().filter(|pair| pair.kind == PairKind::Call) {
        let (caller, callee) = (&tree.nodes[pair.caller], &tree.nodes[pair.callee]);
        let clocks = (clock(tree, caller), clock(tree, callee));
        let (caller_times, callee_times) = (caller.interval(), callee.interval());
        let took = |(start, end): (u64, u64)| end - start;
        let given_up = took(callee_times) > took(caller_times) || (caller.is_error() && !callee.is_error());
        let bounds = match on_one_host(tree, caller, callee) {
            _ if clocks.0 == clocks.1 => continue,
            true => (0, 0),
            false if given_up => continue,
            false => (less(callee_times.1, caller_times.1), less(callee_times.0, caller_times.0)),
        };
        calls.entry(clocks).or_default().push(bounds);
    }
    calls.into_iter().filter_map(|((caller, callee), bounds)| skew(caller, callee, &bounds)).collect()
}

/// The trace as it would be if all clocks told the time of its root's, by the estimates of [`skews`]. A clock that no calls
/// connect with it keeps its time. Times that are not known stay so.
#[must_use]
pub fn corrected(tree: &Tree, skews: &[Skew]) -> Tree {
    let mut corrected = tree.clone();
    let mut links: HashMap<&Clock, Vec<(&Clock, i64)>> = HashMap::new();
    for Skew { caller, callee, estimate_ns, .. } in skews {
        links.entry(caller).or_default().push((callee, *estimate_ns));
        links.entry(callee).or_default().push((caller, estimate_ns.saturating_neg()));
    }
    // How far each clock is ahead of the first one that it is connected with.
    let mut ahead: HashMap<Clock, i64> = HashMap::new();
    for start in tree.first_root_index().into_iter().chain(tree.rows().map(|row| row.node)) {
        let mut waiting = vec![(clock(tree, &tree.nodes[start]), 0i64)];
        while let Some((at, offset)) = waiting.pop() {
            if ahead.contains_key(&at) {
                continue;
            }
            let further = links.get(&at).into_iter().flatten();
            waiting.extend(further.map(|(other, step)| ((*other).clone(), offset.saturating_add(*step))));
            ahead.insert(at, offset);
        }
    }
    for node in &mut corrected.nodes {
        let offset = ahead.get(&clock(tree, node)).copied().unwrap_or(0);
        let events = node.span.events.iter_mut().map(|event| &mut event.time_unix_nano);
        let times = [&mut node.span.start_time_unix_nano, &mut node.span.end_time_unix_nano];
        for time in times.into_iter().chain(events).filter(|time| **time != 0) {
            *time = time.saturating_sub_signed(offset).max(1);
        }
    }
    corrected.order();
    corrected
}

fn skew(caller: Clock, callee: Clock, bounds: &[(i64, i64)]) -> Option<Skew> {
    let (low, high) = (bounds.iter().map(|(low, _)| *low).max()?, bounds.iter().map(|(_, high)| *high).min()?);
    let disagree = low > high;
    let (low_ns, high_ns) = match disagree {
        false => (low, high),
        true => *bounds.iter().min_by_key(|(low, high)| i128::from(*high) - i128::from(*low))?,
    };
    let middle = (i128::from(low_ns) + i128::from(high_ns)).div_euclid(2);
    let estimate_ns = if low_ns <= 0 && high_ns >= 0 { 0 } else { i64::try_from(middle).unwrap_or(0) };
    Some(Skew { caller, callee, estimate_ns, low_ns, high_ns, calls: bounds.len(), disagree })
}

fn clock(tree: &Tree, node: &Node) -> Clock {
    let of = |key| text(&tree.resources[node.resource].attributes, key).unwrap_or_default().to_owned();
    Clock { service: of("service.name"), host: of("host.name") }
}

/// Whether two spans are surely of one host: `host.id` or `k8s.node.name` is the same, or `host.name` is, and the first two are
/// not different. A host's containers often have names of their own, so other names tell nothing; neither does `localhost`.
fn on_one_host(tree: &Tree, one: &Node, other: &Node) -> bool {
    let of = |node: &Node, key| {
        let value = text(&tree.resources[node.resource].attributes, key);
        value.filter(|value| !["", "localhost"].contains(value))
    };
    let same = |key| of(one, key).zip(of(other, key)).map(|(one, other)| one == other);
    let (id, node, name) = (same("host.id"), same("k8s.node.name"), same("host.name"));
    ![id, node].contains(&Some(false)) && [id, node, name].contains(&Some(true))
}

/// `a - b`, at the ends of what fits when it does not.
fn less(a: u64, b: u64) -> i64 {
    let difference = i128::from(a) - i128::from(b);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}
