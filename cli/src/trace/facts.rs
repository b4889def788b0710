//! What a trace says, worked out once for those who read it and for programs.

use std::collections::BTreeMap;

use clew_query::{
    analysis::{
        critical_path::{Segment, critical_path, parts},
        origin::origin,
        pairing::{Pair, PairKind, pairs},
        self_time::self_times,
        skew::{Clock, Skew, skews},
        summary::{Summary, summary},
    },
    tree::{Node, Place, Tree},
};
use serde_json::{Value, json};

/// What is found in a trace; spans are indices into its nodes.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) summary: Summary,
    pub(crate) path: Vec<Segment>,
    pub(crate) self_ns: Vec<u64>,
    pub(crate) origin: Vec<usize>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) skews: Vec<Skew>,
}

/// What is not as it should be with parents and ids.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Oddities {
    pub(crate) roots: usize,
    pub(crate) missing_parents: usize,
    pub(crate) circles: usize,
    pub(crate) same_ids: usize,
}

impl Facts {
    pub(crate) fn of(tree: &Tree) -> Self {
        Self {
            summary: summary(tree),
            path: critical_path(tree),
            self_ns: self_times(tree),
            origin: origin(tree),
            pairs: pairs(tree),
            skews: skews(tree),
        }
    }

    /// As `docs/analysis.md` has it. Instants are strings, as in OTLP JSON: they do not fit into the numbers of every reader.
    pub(crate) fn as_json(&self, tree: &Tree) -> Value {
        let id = |span: usize| hex::encode(&tree.nodes[span].span.span_id);
        let Summary { root, spans, errors, start, duration_ns, ref services } = self.summary;
        let services: BTreeMap<_, _> = services
            .iter()
            .map(|(name, share)| (name, json!({ "spans": share.spans, "errors": share.errors })))
            .collect();
        let segment = |Segment { span, start, end }: &Segment| {
            json!({
                "spanId": id(*span),
                "startTimeUnixNano": start.to_string(),
                "endTimeUnixNano": end.to_string(),
                "durationNs": end - start,
            })
        };
        let parts = parts(tree, &self.path);
        let parts = parts
            .iter()
            .map(|part| json!({ "service": part.service, "name": part.name, "durationNs": part.duration_ns }));
        let clock = |clock: &Clock| json!({ "service": clock.service, "host": clock.host });
        let skew = |skew: &Skew| {
            json!({
                "caller": clock(&skew.caller),
                "callee": clock(&skew.callee),
                "estimateNs": skew.estimate_ns,
                "lowNs": skew.low_ns,
                "highNs": skew.high_ns,
                "calls": skew.calls,
                "disagree": skew.disagree,
            })
        };
        let pair = |pair: &Pair| {
            json!({
                "kind": match pair.kind { PairKind::Call => "call", PairKind::Message => "message" },
                "callerSpanId": id(pair.caller),
                "calleeSpanId": id(pair.callee),
                "networkNs": pair.network_ns,
                "outNs": pair.out_ns,
                "backNs": pair.back_ns,
            })
        };
        let self_time = |(span, own): (usize, &u64)| json!({ "spanId": id(span), "selfNs": own });
        let odd = oddities(tree);
        json!({
            "summary": {
                "rootSpanId": root.map(id),
                "spans": spans,
                "errors": errors,
                "startTimeUnixNano": start.to_string(),
                "durationNs": duration_ns,
                "services": services,
                "roots": odd.roots,
                "missingParents": odd.missing_parents,
                "circles": odd.circles,
                "sameIds": odd.same_ids,
            },
            "criticalPath": self.path.iter().map(segment).collect::<Vec<_>>(),
            "criticalPathParts": parts.collect::<Vec<_>>(),
            "selfTimes": self.self_ns.iter().enumerate().map(self_time).collect::<Vec<_>>(),
            "origin": self.origin.iter().map(|span| id(*span)).collect::<Vec<_>>(),
            "pairs": self.pairs.iter().map(pair).collect::<Vec<_>>(),
            "clocks": self.skews.iter().map(skew).collect::<Vec<_>>(),
        })
    }
}

pub(crate) fn oddities(tree: &Tree) -> Oddities {
    let count = |is: &dyn Fn(&Node) -> bool| tree.nodes.iter().filter(|node| is(node)).count();
    Oddities {
        roots: count(&|node| node.place == Place::Root),
        missing_parents: count(&|node| node.place == Place::Orphan),
        circles: count(&|node| node.place == Place::Circle),
        same_ids: count(&|node| node.same_id),
    }
}
