//! The cases in files.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use clew_query::{
    analysis::{
        compare::{compare, ranked},
        critical_path::critical_path,
        origin::origin,
        pairing::pairs,
        self_time::self_times,
        skew::{Clock, corrected, skews},
        summary::summary,
    },
    tree::Tree,
};

use super::traces::{BEGIN, read};

/// Runs all cases of a folder and shows which ones come out otherwise.
fn run(folder: &str, answer: impl Fn(&str) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/analysis").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = String::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (given, expected) = text.split_once("expect\n").unwrap_or((&text, ""));
        let found = answer(given);
        if std::env::var_os("CLEW_UPDATE_CASES").is_some() {
            fs::write(&file, format!("{}\n\nexpect\n{found}", given.trim_end())).unwrap();
        } else if found != expected {
            let expects = |line: &&str| !expected.lines().any(|other| other == *line);
            let finds = |line: &&str| !found.lines().any(|other| other == *line);
            writeln!(wrong, "\n{}", file.file_name().unwrap().to_string_lossy()).unwrap();
            expected.lines().filter(finds).for_each(|line| writeln!(wrong, "  - {line}").unwrap());
            found.lines().filter(expects).for_each(|line| writeln!(wrong, "  + {line}").unwrap());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn name(tree: &Tree, span: usize) -> String {
    let of = |span: usize| format!("{}:{}", tree.service(&tree.nodes[span]).unwrap_or(""), tree.nodes[span].span.name);
    let name = of(span);
    match (0..tree.nodes.len()).filter(|other| of(*other) == name).count() {
        1 => name,
        _ => format!("{name}#{}", span + 1),
    }
}

/// Nanoseconds as microseconds.
fn micros(ns: i128) -> String {
    if ns % 1_000 == 0 { (ns / 1_000).to_string() } else { format!("{ns}ns") }
}

fn known(ns: Option<u64>) -> String {
    ns.map_or_else(|| "?".to_owned(), |ns| micros(ns.into()))
}

fn clock(Clock { service, host }: &Clock) -> String {
    if host.is_empty() { service.clone() } else { format!("{service}@{host}") }
}

#[test]
fn traces_are_explained_as_expected() {
    run("traces", |text| {
        let tree = read(text);
        let mut out = String::new();
        let sum = summary(&tree);
        let services: Vec<_> = sum.services.keys().map(String::as_str).collect();
        let (duration, services) = (micros(sum.duration_ns.into()), services.join(" "));
        let root = sum.root.map_or_else(String::new, |root| name(&tree, root));
        writeln!(out, "summary {root} {} spans {} errors {duration} of {services}", sum.spans, sum.errors).unwrap();
        for segment in critical_path(&tree) {
            let at = |time: u64| micros(i128::from(time) - i128::from(BEGIN));
            writeln!(out, "path {} {}..{}", name(&tree, segment.span), at(segment.start), at(segment.end)).unwrap();
        }
        for (span, time) in self_times(&tree).into_iter().enumerate() {
            writeln!(out, "self {} {}", name(&tree, span), micros(time.into())).unwrap();
        }
        let origin: Vec<_> = origin(&tree).into_iter().map(|span| name(&tree, span)).collect();
        if !origin.is_empty() {
            writeln!(out, "origin {}", origin.join(" > ")).unwrap();
        }
        for pair in pairs(&tree) {
            let ends = format!("{} > {}", name(&tree, pair.caller), name(&tree, pair.callee));
            let [network, there, back] = [pair.network_ns, pair.out_ns, pair.back_ns].map(known);
            writeln!(out, "pair {:?} {ends} network {network} out {there} back {back}", pair.kind).unwrap();
        }
        let skews = skews(&tree);
        let moved = corrected(&tree, &skews);
        for skew in skews {
            let ends = format!("{} > {}", clock(&skew.caller), clock(&skew.callee));
            let [estimate, low, high] = [skew.estimate_ns, skew.low_ns, skew.high_ns].map(|ns| micros(ns.into()));
            let disagree = if skew.disagree { " disagree" } else { "" };
            writeln!(out, "skew {ends} {estimate} in {low}..{high} of {} calls{disagree}", skew.calls).unwrap();
        }
        for (span, (before, node)) in tree.nodes.iter().zip(&moved.nodes).enumerate() {
            if before.interval() != node.interval() {
                let (start, end) = node.interval();
                let at = |time: u64| micros(i128::from(time) - i128::from(BEGIN));
                writeln!(out, "corrected {} {}..{}", name(&tree, span), at(start), at(end)).unwrap();
            }
        }
        out
    });
}

#[test]
fn traces_are_compared_as_expected() {
    run("compare", |text| {
        let (first, second) = text.split_once("versus\n").unwrap();
        let compared = compare(&read(first), &read(second));
        let mut out = String::new();
        for place in &compared {
            let sides = place.sides.map(|side| {
                let [duration, own] = [side.duration_ns, side.self_ns].map(|ns| micros(ns.into()));
                format!("{} {} {duration} {own}", side.spans, side.errors)
            });
            let name = format!("{}{}:{}", "  ".repeat(place.depth), place.service, place.name);
            writeln!(out, "{name} | {} | {}", sides[0], sides[1]).unwrap();
        }
        for place in ranked(&compared) {
            let place = &compared[place];
            writeln!(out, "differs {}:{} {}", place.service, place.name, micros(place.self_difference_ns())).unwrap();
        }
        out
    });
}
