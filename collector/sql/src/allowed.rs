//! Which queries are let in: those that are not too large, and say nothing that the engine would pass over or work on without an end.

use std::borrow::Cow;

use arrow_schema::DataType;
use datafusion::{
    common::{
        Result, plan_err,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    logical_expr::{Cast, Expr, GroupingSet, LogicalPlan, TryCast, expr::AggregateFunction},
    sql::sqlparser::{
        dialect::GenericDialect,
        tokenizer::{Token, Tokenizer},
    },
};

use crate::error::SqlError;

/// A query is no longer than this.
pub const MAX_QUERY_BYTES: usize = 256 << 10;

/// Words and operators of a query at most; literals, commas and brackets are free. The time to plan a sum grows with the square of its
/// terms, and it takes a call within a call for each.
const MAX_WORDS: usize = 1_000;

/// Structs and maps that a query makes at most: the type of one may have that of another many times, and that of a third. Planning
/// looks at all of it, and nothing stops it.
const MAX_STRUCTS: usize = 2;
const MAKERS: [&str; 4] = ["struct", "named_struct", "map", "row"];

/// Grouping sets at most: the engine works out the groups of a batch for all of them before it counts what they take.
const MAX_GROUPING_SETS: usize = 64;
/// What the engine would take for something else, by its words.
const MISTAKEN: [(&[&str], &str); 2] = [
    (&["TABLESAMPLE"], "TABLESAMPLE is not offered; write WHERE random() < 0.1"),
    (&["SIMILAR", "TO"], "SIMILAR TO is not offered; write LIKE, or ~ with a regular expression"),
];

/// The query, when it is not too large; each `?` has its number.
pub fn text(query: &str) -> Result<Cow<'_, str>, SqlError> {
    if query.len() > MAX_QUERY_BYTES {
        return Err(SqlError::Invalid(format!("the query has {} bytes, {MAX_QUERY_BYTES} are the most", query.len())));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, query).tokenize();
    let tokens = tokens.map_err(|error| SqlError::Invalid(error.to_string()))?;
    let free = |token: &Token| {
        matches!(
            token,
            Token::Whitespace(_)
                | Token::Number(..)
                | Token::SingleQuotedString(_)
                | Token::Comma
                | Token::Period
                | Token::LParen
                | Token::RParen
        )
    };
    let words = tokens.iter().filter(|token| !free(token)).count();
    if words > MAX_WORDS {
        return Err(SqlError::Invalid(format!(
            "the query has {words} words and operators, {MAX_WORDS} are the most; instead of many comparisons use IN (...)"
        )));
    }
    let said: Vec<String> = tokens
        .iter()
        .filter_map(|token| match token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_uppercase()),
            Token::Whitespace(_) => None,
            _ => Some(String::new()),
        })
        .collect();
    for (words, why) in MISTAKEN {
        if said.windows(words.len()).any(|said| said == words) {
            return Err(SqlError::Invalid(why.to_owned()));
        }
    }
    let mut makers = tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).peekable();
    let mut structs = 0;
    while let Some(token) = makers.next() {
        let is_opened = matches!(makers.peek(), Some(Token::LParen | Token::LBrace));
        let is_maker = matches!(token, Token::Word(word) if MAKERS.contains(&&*word.value.to_lowercase()));
        structs += usize::from(is_opened && is_maker || *token == Token::LBrace);
    }
    if structs > MAX_STRUCTS {
        return Err(SqlError::Invalid(format!(
            "the query makes structs or maps in {structs} places, {MAX_STRUCTS} are the most"
        )));
    }
    let is_unnumbered = |token: &Token| matches!(token, Token::Placeholder(name) if name == "?");
    if !tokens.iter().any(is_unnumbered) {
        return Ok(query.into());
    }
    let mut parameters = 0;
    let numbered = tokens.iter().map(|token| {
        if is_unnumbered(token) {
            parameters += 1;
            return format!("${parameters}");
        }
        token.to_string()
    });
    Ok(numbered.collect::<String>().into())
}

/// Refuses what takes too much.
///
/// # Errors
/// When it does.
pub fn plan(plan: &LogicalPlan) -> Result<()> {
    each_expr(plan, |expr| match expr {
        // A null of such a type takes as much as all of its values.
        Expr::Cast(Cast { field, .. }) | Expr::TryCast(TryCast { field, .. }) if has_fixed_list(field.data_type()) => {
            plan_err!("lists of a fixed length are not offered: write BIGINT[] instead of BIGINT[3]")
        }
        Expr::GroupingSet(sets) if ways(sets) > MAX_GROUPING_SETS => plan_err!(
            "the query groups in {} ways (CUBE, ROLLUP, GROUPING SETS), {MAX_GROUPING_SETS} are the most",
            ways(sets)
        ),
        _ => Ok(()),
    })
}

/// How many grouping sets something stands for.
fn ways(sets: &GroupingSet) -> usize {
    match sets {
        GroupingSet::Rollup(columns) => columns.len() + 1,
        GroupingSet::Cube(columns) => 1usize.checked_shl(columns.len() as u32).unwrap_or(usize::MAX),
        GroupingSet::GroupingSets(sets) => sets.len(),
    }
}

/// Whether a query gathers values in lists.
pub fn gathers_lists(plan: &LogicalPlan) -> Result<bool> {
    let mut gathers = false;
    each_expr(plan, |expr| {
        gathers |=
            matches!(expr, Expr::AggregateFunction(AggregateFunction { func, .. }) if func.name() == "array_agg");
        Ok(())
    })?;
    Ok(gathers)
}

fn each_expr(plan: &LogicalPlan, mut visit: impl FnMut(&Expr) -> Result<()>) -> Result<()> {
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                visit(expr)?;
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map(drop)
}

fn has_fixed_list(kind: &DataType) -> bool {
    match kind {
        DataType::FixedSizeList(..) | DataType::FixedSizeBinary(_) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => has_fixed_list(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_fixed_list(field.data_type())),
        _ => false,
    }
}
