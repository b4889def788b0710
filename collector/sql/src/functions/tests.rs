use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use arrow_array::{Array, StringArray};
use datafusion::{
    execution::{SessionStateBuilder, memory_pool::GreedyMemoryPool},
    logical_expr::ColumnarValue,
};

use super::{
    longest::{Argument, longest},
    *,
};

/// With CLEW_UPDATE_CASES set, the file is written anew: read what is new in it, and whether its results may be long.
#[test]
fn each_function_of_the_engine_was_read() {
    let mut state = SessionStateBuilder::new().with_default_features().build();
    let names = |state: &SessionState| {
        let scalar = state.scalar_functions().iter().map(|(name, function)| (name.clone(), function.name().to_owned()));
        let higher = state.higher_order_functions().iter().map(|(name, of)| (name.clone(), of.name().to_owned()));
        scalar.chain(higher).collect::<BTreeMap<String, String>>()
    };
    let all = names(&state);
    let pool = Arc::new(GreedyMemoryPool::new(1)) as _;
    count(&mut state, &Arc::new(Account::new(&pool))).unwrap();
    let left = names(&state);
    let mut found = String::new();
    for (name, function) in &all {
        let rule = match (left.contains_key(name), NEVER_CALLED.contains(&&**function)) {
            (false, _) => "left out",
            (_, true) => "something else is called",
            _ => "counted unless its result has a fixed length",
        };
        writeln!(found, "{name}: {rule}").unwrap();
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/functions.txt");
    if std::env::var_os("CLEW_UPDATE_CASES").is_some() {
        fs::write(&file, &found).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), found);
    assert!(LEFT_OUT.iter().chain(&NEVER_CALLED).all(|name| all.contains_key(*name)));
}

#[test]
fn the_longest_result_is_no_shorter_than_the_result() {
    let texts = |texts: &[&str]| ColumnarValue::Array(Arc::new(StringArray::from(texts.to_vec())));
    let most = |function: &str, values: &[ColumnarValue], rows: usize| {
        let arguments: Vec<_> = values.iter().map(|value| Argument::of(value, rows).unwrap()).collect();
        longest(function, &arguments, rows)
    };
    let replace = |text: &str, from: &str, to: &str| {
        let most = most("replace", &[texts(&[text]), texts(&[from]), texts(&[to])], 1);
        assert!(most >= text.replace(from, to).len(), "{text} {from} {to}: {most}");
        most
    };
    assert_eq!(replace("aaaa", "a", "xyz"), 4 + 12);
    assert_eq!(replace("aaaa", "", "xyz"), 4 + 15);
    assert_eq!(replace("aaaa", "b", ""), 4);
    replace("äöü", "", "--");
    let constant = |text: &str| ColumnarValue::Scalar(text.into());
    let long = "x".repeat(1_000);
    assert_eq!(most("concat", &[constant(&long)], 8_192), 1_000 * 8_192 + 8 * 8_192);
    assert!(most("regexp_replace", &[constant(&long), constant(""), constant(&long), constant("g")], 10) > 10_000_000);
    assert!(most("regexp_match", &[constant(&long), constant("((((x+))))")], 1) >= 5_000);
}

#[test]
fn what_nobody_holds_any_more_is_not_counted() {
    let pool: Arc<dyn datafusion::execution::memory_pool::MemoryPool> = Arc::new(GreedyMemoryPool::new(100_000));
    let account = Account::new(&pool);
    let texts = || Arc::new(StringArray::from(vec!["x".repeat(40_000)])) as arrow_array::ArrayRef;
    let (first, second) = (texts(), texts());
    account.count(&first, &[]).unwrap();
    account.count(&first.slice(0, 1), &[]).unwrap();
    account.count(&second, &[]).unwrap();
    assert!(account.count(&texts(), &[]).is_err() && account.room(60_000).is_err());
    drop(first);
    account.count(&second, std::slice::from_ref(&second)).unwrap();
    let room = account.room(50_000).unwrap();
    assert!(account.count(&texts(), &[]).is_err());
    drop((room, second));
    account.count(&texts(), &[]).unwrap();
    account.allow_constants(100);
    account.constant(60).unwrap();
    assert!(account.constant(60).is_err());
}
