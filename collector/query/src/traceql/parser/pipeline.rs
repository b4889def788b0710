//! What stands outside of braces: stages, and what spansets, numbers and series are joined by.

use super::{
    At, Fault, Parser, Tall, Token, above, negative,
    power::{COMPARE, LOGIC, PREFIX},
    right_of,
};
use crate::traceql::ast::{
    Aggregate, ArithmeticOp, CompareOp, Keep, Literal, MetricsExpr, MetricsKind, Pipeline, Relation, ScalarExpr,
    ScalarFilter, ScalarKind, SeriesStage, SpansetExpr, SpansetKind, SpansetOp, Stage,
};

/// What an expression outside of braces turns out to be.
pub(super) enum Mixed {
    Spans(SpansetExpr),
    Scalar(ScalarExpr),
    Metrics(MetricsExpr),
}

#[derive(Clone, Copy)]
enum Operator {
    Logic(SpansetOp),
    /// `<` and `>` are relations between spansets.
    Compare(CompareOp),
    Relation(Relation, Keep),
    Arithmetic(ArithmeticOp),
}

/// An operator as it stands in the text.
struct Sign {
    text: String,
    at: At,
}

impl Mixed {
    fn at_mut(&mut self) -> &mut At {
        match self {
            Self::Spans(spans) => &mut spans.at,
            Self::Scalar(scalar) => &mut scalar.at,
            Self::Metrics(metrics) => &mut metrics.at,
        }
    }

    fn at(&self) -> At {
        match self {
            Self::Spans(spans) => spans.at,
            Self::Scalar(scalar) => scalar.at,
            Self::Metrics(metrics) => metrics.at,
        }
    }

    fn what(&self) -> &'static str {
        match self {
            Self::Spans(_) => "a set of spans",
            Self::Scalar(_) => "a number",
            Self::Metrics(_) => "time series",
        }
    }
}

impl Parser {
    /// Stages until something comes that is none. A number comes back only when it is all there is.
    pub(super) fn pipeline(&mut self) -> Result<Tall<Mixed>, Fault> {
        let start = self.peek_at();
        let mut stages = Vec::new();
        let mut heights = vec![0];
        loop {
            if self.peek_metrics_function() {
                return self.series(Pipeline { stages }, start, &heights);
            }
            let (stage, height) = match self.peek() {
                Token::Word(word) if word == "by" => self.by()?,
                Token::Word(word) if word == "coalesce" => {
                    self.bump();
                    self.expect(&Token::OpenParen)?;
                    self.expect(&Token::CloseParen)?;
                    (Stage::Coalesce, 0)
                }
                Token::Word(word) if word == "select" => {
                    self.bump();
                    (Stage::Select(self.fields()?), 0)
                }
                _ => match self.mixed_above(0)? {
                    (Mixed::Spans(spans), height) => (stage_of(spans), height),
                    (Mixed::Metrics(metrics), height) if stages.is_empty() => {
                        return self.then(metrics, height);
                    }
                    (scalar @ Mixed::Scalar(_), height) if stages.is_empty() && *self.peek() != Token::Pipe => {
                        return Ok((scalar, height));
                    }
                    (Mixed::Scalar(of), height) if *self.peek() == Token::CloseParen => {
                        let at = start.to(self.last_at());
                        heights.push(height);
                        let kind = ScalarKind::Pipeline { pipeline: Pipeline { stages }, of: Box::new(of) };
                        return Ok((Mixed::Scalar(ScalarExpr { kind, at }), above(at, &heights)?));
                    }
                    (mixed, _) => {
                        let message = match mixed {
                            Mixed::Scalar(_) => "a number alone keeps no spans, expected a comparison: `count() > 2`",
                            _ => "time series cannot come after `|`",
                        };
                        return Fault::new(mixed.at(), message);
                    }
                },
            };
            stages.push(stage);
            heights.push(height);
            if !self.eat(&Token::Pipe) {
                break;
            }
        }
        let at = start.to(self.last_at());
        let height = above(at, &heights)?;
        if let [Stage::Spansets(_)] = &*stages
            && let Some(Stage::Spansets(spans)) = stages.pop()
        {
            return Ok((Mixed::Spans(spans), height));
        }
        Ok((Mixed::Spans(SpansetExpr { kind: SpansetKind::Pipeline(Pipeline { stages }), at }), height))
    }

    fn by(&mut self) -> Result<Tall<Stage>, Fault> {
        self.bump();
        self.expect(&Token::OpenParen)?;
        let (expr, height) = self.expr()?;
        if !self.eat(&Token::CloseParen) {
            return self.unexpected("an operator or `)`");
        }
        Ok((Stage::By(expr), height))
    }

    fn mixed_above(&mut self, weakest: u8) -> Result<Tall<Mixed>, Fault> {
        self.deeper(|parser| {
            let mut left = parser.mixed_operand()?;
            while let Some((operator, power)) = parser.peek_mixed_operator().filter(|(_, power)| *power >= weakest) {
                let sign = Sign { text: parser.peek().to_string(), at: parser.bump() };
                let right = parser.mixed_above(right_of(power))?;
                left = join(operator, &sign, left, right)?;
            }
            Ok(left)
        })
    }

    fn peek_mixed_operator(&self) -> Option<(Operator, u8)> {
        match self.peek() {
            Token::And => return Some((Operator::Logic(SpansetOp::And), LOGIC)),
            Token::Or => return Some((Operator::Logic(SpansetOp::Or), LOGIC)),
            // These two compare numbers too.
            Token::Related(Relation::Child | Relation::Parent, Keep::Right) => {}
            Token::Related(relation, keep) => return Some((Operator::Relation(*relation, *keep), COMPARE)),
            _ => {}
        }
        if let Some(op) = self.peek_comparison() {
            return Some((Operator::Compare(op), COMPARE));
        }
        self.peek_arithmetic().map(|(op, power)| (Operator::Arithmetic(op), power))
    }

    fn mixed_operand(&mut self) -> Result<Tall<Mixed>, Fault> {
        let start = self.peek_at();
        match self.peek().clone() {
            Token::OpenBrace => {
                let (filter, height) = self.braces()?;
                let at = start.to(self.last_at());
                let spans = SpansetExpr { kind: SpansetKind::Filter(filter), at };
                Ok((Mixed::Spans(spans), above(at, &[height])?))
            }
            Token::OpenParen => self.deeper(|parser| {
                parser.bump();
                let (mut inner, height) = parser.pipeline()?;
                if *parser.peek() != Token::CloseParen {
                    return parser.unexpected("an operator, `|` or `)`");
                }
                *inner.at_mut() = start.to(parser.bump());
                Ok((inner, height))
            }),
            Token::Sub => {
                self.bump();
                let (operand, height) = self.mixed_above(PREFIX)?;
                let at = start.to(operand.at());
                let Mixed::Scalar(scalar) = operand else {
                    return Fault::new(at, format!("found {} after `-`, expected a number", operand.what()));
                };
                let kind = match &scalar.kind {
                    ScalarKind::Literal(number) if negative(number).is_some() => {
                        ScalarKind::Literal(negative(number).unwrap_or(Literal::Nil))
                    }
                    _ => ScalarKind::Negate(Box::new(scalar)),
                };
                Ok((Mixed::Scalar(ScalarExpr { kind, at }), above(at, &[height])?))
            }
            Token::Word(word) if aggregate(&word).is_some() => self.aggregate(),
            _ => {
                let before = self.next;
                match self.literal()? {
                    Some(number @ (Literal::Int(_) | Literal::Float(_) | Literal::Duration(_))) => {
                        let kind = ScalarKind::Literal(number);
                        Ok((Mixed::Scalar(ScalarExpr { kind, at: start }), 1))
                    }
                    _ => {
                        self.next = before;
                        self.unexpected(if self.depth <= 1 {
                            "`{`, `(`, or the name of a function"
                        } else {
                            "`{`, `(`, a number, or an aggregate like `count()`"
                        })
                    }
                }
            }
        }
    }

    /// `{ expression }` or `{ }`
    pub(super) fn braces(&mut self) -> Result<Tall<Option<crate::traceql::ast::Expr>>, Fault> {
        self.expect(&Token::OpenBrace)?;
        if self.eat(&Token::CloseBrace) {
            return Ok((None, 0));
        }
        let (expr, height) = self.expr()?;
        if !self.eat(&Token::CloseBrace) {
            return self.unexpected("an operator or `}`");
        }
        Ok((Some(expr), height))
    }

    /// `count()`, `max(duration)`
    fn aggregate(&mut self) -> Result<Tall<Mixed>, Fault> {
        let Token::Word(word) = self.peek().clone() else { return self.unexpected("an aggregate") };
        let Some(op) = aggregate(&word) else { return self.unexpected("an aggregate") };
        let start = self.bump();
        self.expect(&Token::OpenParen)?;
        let (of, height) = if op == Aggregate::Count {
            (None, 0)
        } else {
            let (expr, height) = self.expr()?;
            (Some(Box::new(expr)), height)
        };
        if *self.peek() != Token::CloseParen {
            return self.unexpected(if op == Aggregate::Count { "`)`" } else { "an operator or `)`" });
        }
        let at = start.to(self.bump());
        Ok((Mixed::Scalar(ScalarExpr { kind: ScalarKind::Aggregate { op, of }, at }), above(at, &[height])?))
    }
}

fn aggregate(word: &str) -> Option<Aggregate> {
    Some(match word {
        "count" => Aggregate::Count,
        "min" => Aggregate::Min,
        "max" => Aggregate::Max,
        "avg" => Aggregate::Avg,
        "sum" => Aggregate::Sum,
        _ => return None,
    })
}

/// A scalar filter alone is a stage of its own.
fn stage_of(spans: SpansetExpr) -> Stage {
    match spans.kind {
        SpansetKind::Pipeline(Pipeline { mut stages }) if matches!(&*stages, [Stage::Scalar(_)]) => {
            stages.pop().unwrap_or(Stage::Coalesce)
        }
        _ => Stage::Spansets(spans),
    }
}

fn join(operator: Operator, sign: &Sign, left: Tall<Mixed>, right: Tall<Mixed>) -> Result<Tall<Mixed>, Fault> {
    let ((left, left_height), (right, right_height)) = (left, right);
    let at = left.at().to(right.at());
    let height = above(at, &[left_height, right_height])?;
    let (left_what, right_what) = (left.what(), right.what());
    let spans = |op, left, right| {
        let kind = SpansetKind::Binary { op, left: Box::new(left), right: Box::new(right) };
        Ok((Mixed::Spans(SpansetExpr { kind, at }), height))
    };
    let metrics = |kind| Ok((Mixed::Metrics(MetricsExpr { kind, at }), height));
    let related = |relation| SpansetOp::Related(relation, Keep::Right);
    match (operator, left, right) {
        (Operator::Logic(op), Mixed::Spans(left), Mixed::Spans(right)) => spans(op, left, right),
        (Operator::Relation(relation, keep), Mixed::Spans(left), Mixed::Spans(right)) => {
            spans(SpansetOp::Related(relation, keep), left, right)
        }
        (Operator::Compare(CompareOp::Greater), Mixed::Spans(left), Mixed::Spans(right)) => {
            spans(related(Relation::Child), left, right)
        }
        (Operator::Compare(CompareOp::Less), Mixed::Spans(left), Mixed::Spans(right)) => {
            spans(related(Relation::Parent), left, right)
        }
        (Operator::Compare(op), Mixed::Scalar(left), Mixed::Scalar(right)) if op != CompareOp::Match => {
            let stages = vec![Stage::Scalar(ScalarFilter { op, left, right, at })];
            let kind = SpansetKind::Pipeline(Pipeline { stages });
            Ok((Mixed::Spans(SpansetExpr { kind, at }), above(at, &[height])?))
        }
        (
            Operator::Compare(op),
            Mixed::Metrics(input),
            Mixed::Scalar(ScalarExpr { kind: ScalarKind::Literal(than), .. }),
        ) if op != CompareOp::Match => {
            metrics(MetricsKind::Then { input: Box::new(input), stage: SeriesStage::Filter { op, than } })
        }
        (Operator::Arithmetic(op), Mixed::Scalar(left), Mixed::Scalar(right)) => {
            let kind = ScalarKind::Binary { op, left: Box::new(left), right: Box::new(right) };
            Ok((Mixed::Scalar(ScalarExpr { kind, at }), height))
        }
        (Operator::Arithmetic(op), left, right)
            if !matches!(op, ArithmeticOp::Mod | ArithmeticOp::Pow)
                && [&left, &right].into_iter().any(|side| matches!(side, Mixed::Metrics(_))) =>
        {
            let left = Box::new(series_or_number(left, sign)?);
            let right = Box::new(series_or_number(right, sign)?);
            metrics(MetricsKind::Arithmetic { op, left, right })
        }
        _ => Fault::new(
            sign.at,
            format!("found {} between {left_what} and {right_what}, which it cannot join", sign.text),
        ),
    }
}

/// An operand of arithmetic with series.
fn series_or_number(side: Mixed, sign: &Sign) -> Result<MetricsExpr, Fault> {
    match side {
        Mixed::Metrics(metrics) => Ok(metrics),
        Mixed::Scalar(ScalarExpr { kind: ScalarKind::Literal(number), at }) => {
            Ok(MetricsExpr { kind: MetricsKind::Number(number), at })
        }
        _ => Fault::new(
            side.at(),
            format!("found {}, expected series in parentheses or a plain number beside {}", side.what(), sign.text),
        ),
    }
}
