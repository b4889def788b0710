//! The two sides of calls and messages.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::self_time::covered;
use crate::tree::{Node, Place, Tree};

/// A span of one process and the span of another that it led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Index of the client's or producer's span.
    pub caller: usize,
    /// Index of the server's or consumer's span, a child of the caller's.
    pub callee: usize,
    pub kind: PairKind,
    /// What a call took for the client while no server of it ran: the way there and back. A client that several servers
    /// answered has it once, with the one that ended last. None for messages, for the other servers, and when the servers took
    /// longer than the client: it did not wait for them.
    pub network_ns: Option<u64>,
    /// From the caller's start to the callee's; with a call, none when the callee does not lie within the caller by their
    /// clocks; with a message, none when it came before it went.
    pub out_ns: Option<u64>,
    /// From the callee's end to the caller's, as `out_ns`. None for messages.
    pub back_ns: Option<u64>,
}

/// How two spans belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairKind {
    /// Client and server.
    Call,
    /// Producer and consumer: nobody waits.
    Message,
}

/// The pairs of a trace, in order of the callees in [`Tree::nodes`]. A client that several servers answered, as with
/// retries below the span, is in several.
#[must_use]
pub fn pairs(tree: &Tree) -> Vec<Pair> {
    let network = network(tree);
    let pair = |(callee, node): (usize, &Node)| {
        let Place::Child(caller) = node.place else { return None };
        let parent = &tree.nodes[caller];
        let kind = kind(parent, node)?;
        let ((caller_start, caller_end), (start, end)) = (parent.interval(), node.interval());
        let out = start.checked_sub(caller_start);
        Some(match (kind, caller_end.checked_sub(end)) {
            (PairKind::Message, _) => Pair { caller, callee, kind, network_ns: None, out_ns: out, back_ns: None },
            (PairKind::Call, back) => {
                let both = out.zip(back);
                let (out_ns, back_ns) = (both.map(|(out, _)| out), both.map(|(_, back)| back));
                Pair { caller, callee, kind, network_ns: network[callee], out_ns, back_ns }
            }
        })
    };
    tree.nodes.iter().enumerate().filter_map(pair).collect()
}

fn kind(caller: &Node, callee: &Node) -> Option<PairKind> {
    match (SpanKind::try_from(caller.span.kind), SpanKind::try_from(callee.span.kind)) {
        (Ok(SpanKind::Client), Ok(SpanKind::Server)) => Some(PairKind::Call),
        (Ok(SpanKind::Producer), Ok(SpanKind::Consumer)) => Some(PairKind::Message),
        _ => None,
    }
}

/// For each server's span that ended last of those of its client: what the client's time is more than theirs. They need not lie
/// within the client, since their clocks may differ from its.
fn network(tree: &Tree) -> Vec<Option<u64>> {
    let mut network = vec![None; tree.nodes.len()];
    for client in &tree.nodes {
        let servers = client.children.iter().filter(|child| kind(client, &tree.nodes[**child]) == Some(PairKind::Call));
        let times: Vec<_> = servers.clone().map(|server| tree.nodes[*server].interval()).collect();
        let ends = times.iter().map(|(_, end)| end).zip(servers);
        if let Some((_, last)) = ends.max() {
            let (start, end) = client.interval();
            network[*last] = (end - start).checked_sub(covered(times));
        }
    }
    network
}
