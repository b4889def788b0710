//! The two sides of calls and messages.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::tree::{Node, Place, Tree};

/// A span of one process and the span of another that it led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Index of the client's or producer's span.
    pub caller: usize,
    /// Index of the server's or consumer's span, a child of the caller's.
    pub callee: usize,
    pub kind: PairKind,
    /// How much longer a call took for the client than for the server: the way there and back. None for messages, and when
    /// the server took longer: the client did not wait for it.
    pub network_ns: Option<u64>,
    /// From the caller's start to the callee's; with a call, none when the clocks do not allow to split the network's time;
    /// with a message, none when it came before it went.
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
    let pair = |(callee, node): (usize, &Node)| {
        let Place::Child(caller) = node.place else { return None };
        let parent = &tree.nodes[caller];
        let kind = match (SpanKind::try_from(parent.span.kind), SpanKind::try_from(node.span.kind)) {
            (Ok(SpanKind::Client), Ok(SpanKind::Server)) => PairKind::Call,
            (Ok(SpanKind::Producer), Ok(SpanKind::Consumer)) => PairKind::Message,
            _ => return None,
        };
        let ((caller_start, caller_end), (start, end)) = (parent.interval(), node.interval());
        let out = start.checked_sub(caller_start);
        Some(match (kind, caller_end.checked_sub(end)) {
            (PairKind::Message, _) => Pair { caller, callee, kind, network_ns: None, out_ns: out, back_ns: None },
            (PairKind::Call, back) => {
                let both = out.zip(back);
                let network_ns = (caller_end - caller_start).checked_sub(end - start);
                let (out_ns, back_ns) = (both.map(|(out, _)| out), both.map(|(_, back)| back));
                Pair { caller, callee, kind, network_ns, out_ns, back_ns }
            }
        })
    };
    tree.nodes.iter().enumerate().filter_map(pair).collect()
}
