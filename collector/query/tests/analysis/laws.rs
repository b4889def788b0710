//! What holds of every trace.

use clew_query::{
    analysis::{
        compare::{compare, ranked},
        critical_path::{critical_path, parts},
        origin::origin,
        pairing::{PairKind, pairs},
        self_time::self_times,
        skew::{corrected, skews},
        summary::summary,
    },
    tree::{Place, Tree},
};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData},
};
use proptest::{collection::vec, prelude::*};

/// A span: service, id, parent, kind, status, start, end.
type Given = (u8, u8, u8, i32, i32, u64, u64);

fn tree(spans: &[Given]) -> Tree {
    let resource_spans = spans.iter().map(|(service, id, parent, kind, code, start, end)| {
        let span = Span {
            trace_id: vec![7; 16],
            span_id: vec![*id; 8],
            parent_span_id: if *parent == 0 { vec![] } else { vec![*parent; 8] },
            name: format!("n{}", id % 3),
            kind: *kind,
            start_time_unix_nano: *start,
            end_time_unix_nano: *end,
            status: Some(Status { code: *code, ..Status::default() }),
            ..Span::default()
        };
        let value = Some(AnyValue { value: Some(Value::StringValue(format!("s{service}"))) });
        let attributes = vec![KeyValue { key: "service.name".to_owned(), value, ..KeyValue::default() }];
        ResourceSpans {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }
    });
    Tree::build(TracesData { resource_spans: resource_spans.collect() })
}

fn spans(time: impl Strategy<Value = u64> + Clone) -> impl Strategy<Value = Vec<Given>> {
    vec((0..4u8, 1..14u8, 0..14u8, 0..6i32, 0..3i32, time.clone(), time), 0..24)
}

/// Small times, and those at the ends.
fn any_time() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![8 => 0..60u64, 1 => Just(u64::MAX), 1 => u64::MAX - 5..=u64::MAX, 1 => any::<u64>()]
}

const UNSET: i32 = 0;
const OK: i32 = 1;

fn code(tree: &Tree, span: usize) -> i32 {
    tree.nodes[span].span.status.as_ref().map_or(0, |status| status.code)
}

/// The children that explain the failure of a span, word for word as `docs/analysis.md` has it: those that failed, and those without a
/// status that have something below them that does; unless a later attempt went well.
fn explaining(tree: &Tree, span: usize) -> Vec<usize> {
    let node = |span: usize| &tree.nodes[span];
    let silent = |child: usize| code(tree, child) == UNSET && !explaining(tree, child).is_empty();
    let same = |a: usize, b: usize| {
        let operation = |span: usize| (tree.service(node(span)), &node(span).span.name, node(span).span.kind);
        operation(a) == operation(b)
    };
    let made_good = |child: usize| {
        let later = |other: &&usize| same(child, **other) && node(**other).interval().0 >= node(child).interval().1;
        let sound = |other: &usize| !node(*other).is_error() && (node(child).is_error() || !silent(*other));
        node(span).children.iter().filter(later).any(sound)
    };
    let waits = |child: usize| (node(span).span.kind, node(child).span.kind) != (4, 5);
    let explains = |child: &usize| (node(*child).is_error() || silent(*child)) && waits(*child) && !made_good(*child);
    node(span).children.iter().copied().filter(explains).collect()
}

/// The parents of a span, their parents, and so on.
fn above(tree: &Tree, span: usize) -> impl Iterator<Item = usize> {
    let parent = |span: usize| match tree.nodes[span].place {
        Place::Child(parent) => Some(parent),
        _ => None,
    };
    std::iter::successors(parent(span), move |span| parent(*span))
}

/// The failure that ended last of those that explain one, which children without a status are passed through to find.
fn last_failure(tree: &Tree, span: usize) -> Option<usize> {
    let failure = |child: usize| if tree.nodes[child].is_error() { Some(child) } else { last_failure(tree, child) };
    explaining(tree, span).into_iter().filter_map(failure).max_by_key(|failure| {
        let (start, end) = tree.nodes[*failure].interval();
        (end, start, *failure)
    })
}

/// How much time intervals cover.
fn covered(mut intervals: Vec<(u64, u64)>) -> u128 {
    intervals.sort_unstable();
    let (mut covered, mut reached) = (0, 0);
    for (start, end) in intervals {
        covered += u128::from(end.saturating_sub(start.max(reached)));
        reached = reached.max(end);
    }
    covered
}

/// Spans of one thread: each has its children within it, one after the other.
fn one_after_the_other(parents: &[prop::sample::Index]) -> Vec<Given> {
    let mut spans: Vec<Given> = vec![(0, 1, 0, 1, 0, 0, 1 << 40)];
    let mut free = vec![0u64];
    for (at, parent) in parents.iter().enumerate() {
        let parent = parent.index(spans.len());
        let end = spans[parent].6;
        let room = end - free[parent];
        let (start, took) = (free[parent] + room / 8, room / 4);
        free[parent] = start + took;
        spans.push((0, at as u8 + 2, spans[parent].1, 1, 0, start, start + took));
        free.push(start);
    }
    spans
}

proptest! {
    #[test]
    fn parts_of_the_critical_path_make_up_its_time(spans in spans(any_time())) {
        let tree = tree(&spans);
        let path = critical_path(&tree);
        let whole: u64 = path.iter().map(|segment| segment.end - segment.start).sum();
        prop_assert_eq!(parts(&tree, &path).iter().map(|part| part.duration_ns).sum::<u64>(), whole);
    }

    #[test]
    fn corrected_clocks_leave_every_span_in_its_place(spans in spans(any_time())) {
        let tree = tree(&spans);
        let corrected = corrected(&tree, &skews(&tree));
        let places = |tree: &Tree| tree.nodes.iter().map(|node| node.place).collect::<Vec<_>>();
        prop_assert_eq!(places(&corrected), places(&tree));
        prop_assert_eq!(corrected.rows().count(), spans.len());
    }

    #[test]
    fn the_critical_path_covers_the_root_without_gaps(spans in spans(any_time())) {
        let tree = tree(&spans);
        let path = critical_path(&tree);
        let root = tree.first_root().map_or((0, 0), |root| root.interval());
        let (mut reached, mut sum) = (root.0, 0);
        for segment in &path {
            let (start, end) = tree.nodes[segment.span].interval();
            prop_assert_eq!(segment.start, reached);
            prop_assert!(start <= segment.start && segment.start < segment.end && segment.end <= end);
            reached = segment.end;
            sum += segment.end - segment.start;
        }
        prop_assert_eq!(reached, root.1);
        prop_assert_eq!(sum, root.1 - root.0);
    }

    #[test]
    fn self_time_is_every_instant_in_which_no_child_runs(spans in spans(0..60u64)) {
        let tree = tree(&spans);
        for (node, own) in tree.nodes.iter().zip(self_times(&tree)) {
            let (start, end) = node.interval();
            let runs = |child: &usize, at: u64| {
                let (start, end) = tree.nodes[*child].interval();
                (start..end).contains(&at)
            };
            let idle = (start..end).filter(|at| !node.children.iter().any(|child| runs(child, *at))).count();
            prop_assert_eq!(own, idle as u64);
        }
    }

    #[test]
    fn own_time_and_what_children_cover_make_up_a_span(spans in spans(any_time())) {
        let tree = tree(&spans);
        for (node, own) in tree.nodes.iter().zip(self_times(&tree)) {
            let (start, end) = node.interval();
            let within = |child: &usize| {
                let (child_start, child_end) = tree.nodes[*child].interval();
                (child_start.clamp(start, end), child_end.clamp(start, end))
            };
            let covered = covered(node.children.iter().map(within).collect());
            prop_assert_eq!(u128::from(own) + covered, u128::from(end - start));
        }
    }

    #[test]
    fn own_times_sum_to_no_more_than_the_time_that_spans_cover(parents in vec(any::<prop::sample::Index>(), 0..20)) {
        let spans = one_after_the_other(&parents);
        let tree = tree(&spans);
        let sum: u128 = self_times(&tree).into_iter().map(u128::from).sum();
        prop_assert_eq!(sum, covered(tree.nodes.iter().map(|node| node.interval()).collect()));
    }

    #[test]
    fn a_trace_is_no_different_from_itself(spans in spans(any_time())) {
        let tree = tree(&spans);
        let compared = compare(&tree, &tree);
        prop_assert_eq!(ranked(&compared), Vec::<usize>::new());
        prop_assert_eq!(compared.iter().map(|place| place.sides[0].spans).sum::<usize>(), spans.len());
    }

    #[test]
    fn every_span_has_a_place_in_a_comparison(first in spans(any_time()), second in spans(any_time())) {
        let compared = compare(&tree(&first), &tree(&second));
        for (side, spans) in [first, second].into_iter().enumerate() {
            prop_assert_eq!(compared.iter().map(|place| place.sides[side].spans).sum::<usize>(), spans.len());
        }
        prop_assert!(ranked(&compared).len() <= compared.len());
    }

    #[test]
    fn an_origin_is_a_way_down_through_failures(spans in spans(any_time())) {
        let tree = tree(&spans);
        let path = origin(&tree);
        prop_assert!(path.iter().all(|span| code(&tree, *span) != OK));
        prop_assert!(path.first().into_iter().chain(path.last()).all(|span| tree.nodes[*span].is_error()));
        prop_assert!(path.windows(2).all(|step| tree.nodes[step[0]].children.contains(&step[1])));
        prop_assert!(path.first().is_none_or(|first| above(&tree, *first).all(|span| code(&tree, span) == UNSET)));
        let failed_root = tree.first_root().is_some_and(|root| root.is_error());
        prop_assert!(!failed_root || path.first() == tree.first_root_index().as_ref());
        let failed: Vec<usize> = path.iter().copied().filter(|span| tree.nodes[*span].is_error()).collect();
        for step in failed.windows(2) {
            prop_assert_eq!(last_failure(&tree, step[0]), Some(step[1]));
        }
    }

    #[test]
    fn a_way_to_an_origin_ends_only_where_nothing_explains_more(spans in spans(any_time())) {
        let tree = tree(&spans);
        match origin(&tree).last() {
            Some(end) => prop_assert_eq!(explaining(&tree, *end), Vec::<usize>::new()),
            None => prop_assert!(!tree.first_root().is_some_and(|root| root.is_error())),
        }
    }

    #[test]
    fn odd_times_are_no_trouble(spans in spans(any_time())) {
        let tree = tree(&spans);
        prop_assert_eq!(summary(&tree).services.values().map(|share| share.spans).sum::<usize>(), spans.len());
        for skew in skews(&tree) {
            prop_assert!(skew.low_ns <= skew.high_ns && skew.calls > 0);
            prop_assert!((skew.low_ns.min(0)..=skew.high_ns.max(0)).contains(&skew.estimate_ns));
        }
        for pair in pairs(&tree) {
            let siblings = pairs(&tree).iter().filter(|other| other.caller == pair.caller).count();
            let both = pair.out_ns.zip(pair.back_ns).map(|(out, back)| out + back);
            prop_assert!(siblings > 1 || both.is_none() || both == pair.network_ns);
        }
    }

    #[test]
    fn network_time_of_a_client_is_told_once(spans in spans(any_time())) {
        let tree = tree(&spans);
        let pairs: Vec<_> = pairs(&tree).into_iter().filter(|pair| pair.kind == PairKind::Call).collect();
        for client in pairs.iter().map(|pair| pair.caller) {
            let servers = || pairs.iter().filter(|pair| pair.caller == client);
            let (start, end) = tree.nodes[client].interval();
            let busy = covered(servers().map(|pair| tree.nodes[pair.callee].interval()).collect());
            let told: Vec<u128> = servers().filter_map(|pair| pair.network_ns).map(u128::from).collect();
            prop_assert_eq!(told, Vec::from_iter(u128::from(end - start).checked_sub(busy)));
        }
    }
}

#[test]
fn a_chain_of_a_hundred_thousand_spans_needs_no_stack() {
    let id = |n: u64| n.to_be_bytes().to_vec();
    let link = |n: u64| Span {
        span_id: id(n),
        parent_span_id: id(n - 1),
        start_time_unix_nano: n,
        end_time_unix_nano: 1_000_000 - n,
        status: Some(Status { code: 2, ..Status::default() }),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: (1..=100_000).map(link).collect(), ..ScopeSpans::default() }];
    let chain = Tree::build(TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] });
    assert_eq!(critical_path(&chain).len(), 199_999);
    assert_eq!(origin(&chain).len(), 100_000);
    assert_eq!(compare(&chain, &chain).len(), 100_000);
    assert_eq!(self_times(&chain)[0], 2);
}
