//! Time series: functions, what they are split by, and what is done with them afterwards.

use super::{At, Fault, Parser, Tall, Token, above, pipeline::Mixed};
use crate::traceql::ast::{
    CompareOp, Comparison, FieldAt, Literal, MetricsExpr, MetricsFunction, MetricsKind, Pipeline, Series, SeriesStage,
};

const FUNCTIONS: [&str; 9] = [
    "rate",
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "avg_over_time",
    "sum_over_time",
    "quantile_over_time",
    "histogram_over_time",
    "compare",
];

impl Parser {
    pub(super) fn peek_metrics_function(&self) -> bool {
        matches!(self.peek(), Token::Word(word) if FUNCTIONS.contains(&&**word))
    }

    /// `rate() by (name) | topk(10)`, after its pipeline.
    pub(super) fn series(&mut self, pipeline: Pipeline, start: At, heights: &[usize]) -> Result<Tall<Mixed>, Fault> {
        let Token::Word(name) = self.peek().clone() else { return self.unexpected("a function") };
        let begin = self.bump();
        if pipeline.stages.is_empty() {
            return Fault::new(begin, format!("`{name}` needs spans before it: `{{ }} | {name}(...)`"));
        }
        self.expect(&Token::OpenParen)?;
        let (function, height) = self.function(&name)?;
        if !self.eat(&Token::CloseParen) {
            return self.unexpected("`)`");
        }
        let at = begin.to(self.last_at());
        let mut by = Vec::new();
        if self.peek_word("by") && !matches!(function, MetricsFunction::Compare(_)) {
            self.bump();
            by = self.fields()?;
        }
        let whole = start.to(self.last_at());
        let height = above(whole, &[above(whole, heights)?, height])?;
        let kind = MetricsKind::Series(Series { pipeline, function, by, at });
        self.then(MetricsExpr { kind, at: whole }, height)
    }

    fn function(&mut self, name: &str) -> Result<Tall<MetricsFunction>, Fault> {
        let function = match name {
            "rate" => MetricsFunction::Rate,
            "count_over_time" => MetricsFunction::CountOverTime,
            "min_over_time" => MetricsFunction::MinOverTime(self.measured()?),
            "max_over_time" => MetricsFunction::MaxOverTime(self.measured()?),
            "avg_over_time" => MetricsFunction::AvgOverTime(self.measured()?),
            "sum_over_time" => MetricsFunction::SumOverTime(self.measured()?),
            "histogram_over_time" => MetricsFunction::HistogramOverTime(self.measured()?),
            "quantile_over_time" => {
                let field = self.measured()?;
                let mut quantiles = Vec::new();
                while self.eat(&Token::Comma) {
                    quantiles.push(self.quantile()?);
                }
                if quantiles.is_empty() {
                    return self.unexpected("`,` and a quantile from 0 to 1");
                }
                MetricsFunction::QuantileOverTime(field, quantiles)
            }
            _ => {
                let (comparison, height) = self.comparison()?;
                return Ok((MetricsFunction::Compare(comparison), height));
            }
        };
        Ok((function, 0))
    }

    fn measured(&mut self) -> Result<FieldAt, Fault> {
        self.field("a field with numbers")
    }

    fn quantile(&mut self) -> Result<f64, Fault> {
        let (at, found) = (self.peek_at(), self.peek().to_string());
        let quantile = match self.signed_literal() {
            Ok(Literal::Int(number @ 0..=1)) => f64::from(u8::from(number == 1)),
            Ok(Literal::Float(number)) if (0.0..=1.0).contains(&number) => number,
            _ => return Fault::new(at, format!("found {found}, expected a quantile, which is a number from 0 to 1")),
        };
        Ok(quantile)
    }

    /// `{ selection }, top_n, start, end`
    fn comparison(&mut self) -> Result<Tall<Comparison>, Fault> {
        if *self.peek() != Token::OpenBrace {
            return self.unexpected("the spans to select: `compare({ status = error })`");
        }
        let (selection, height) = self.braces()?;
        let mut comparison = Comparison { selection, top_n: None, window_ns: None };
        if self.eat(&Token::Comma) {
            comparison.top_n = Some(self.count(1000)?);
        }
        if comparison.top_n.is_some() && self.eat(&Token::Comma) {
            let begin = self.peek_at();
            let start = self.time()?;
            self.expect(&Token::Comma)?;
            let end = self.time()?;
            if start >= end {
                return Fault::new(begin.to(self.last_at()), "the start of the window has to be before its end");
            }
            comparison.window_ns = Some((start, end));
        }
        Ok((comparison, height))
    }

    fn time(&mut self) -> Result<i64, Fault> {
        let Token::Int(time) = *self.peek() else { return self.unexpected("a time in nanoseconds since 1970") };
        match i64::try_from(time) {
            Ok(time) => {
                self.bump();
                Ok(time)
            }
            Err(_) => self.unexpected("a time in nanoseconds since 1970"),
        }
    }

    /// A number from 1 to `most`.
    fn count(&mut self, most: u32) -> Result<u32, Fault> {
        let at = self.peek_at();
        match *self.peek() {
            Token::Int(number) if number >= 1 && number <= u64::from(most) => {
                self.bump();
                Ok(u32::try_from(number).unwrap_or(most))
            }
            _ => Fault::new(at, format!("found {}, expected a whole number from 1 to {most}", self.peek())),
        }
    }

    /// `| topk(10)`, `> 5` and so on, as many as there are.
    pub(super) fn then(&mut self, mut input: MetricsExpr, mut height: usize) -> Result<Tall<Mixed>, Fault> {
        loop {
            let stage = if *self.peek() == Token::Pipe {
                self.bump();
                match self.peek().clone() {
                    Token::Word(word) if word == "topk" || word == "bottomk" => {
                        self.bump();
                        self.expect(&Token::OpenParen)?;
                        let count = self.count(u32::MAX)?;
                        self.expect(&Token::CloseParen)?;
                        if word == "topk" { SeriesStage::TopK(count) } else { SeriesStage::BottomK(count) }
                    }
                    _ => return self.unexpected("`topk(n)` or `bottomk(n)`: time series know no other stages"),
                }
            } else if let Some(op) = self.peek_comparison() {
                if matches!(op, CompareOp::Match | CompareOp::NotMatch) {
                    return self.unexpected("a comparison of numbers: time series have no text");
                }
                self.bump();
                let (at, found) = (self.peek_at(), self.peek().to_string());
                match self.signed_literal() {
                    Ok(than @ (Literal::Int(_) | Literal::Float(_) | Literal::Duration(_))) => {
                        SeriesStage::Filter { op, than }
                    }
                    _ => return Fault::new(at, format!("found {found}, expected a number or a duration after `{op}`")),
                }
            } else {
                return Ok((Mixed::Metrics(input), height));
            };
            let at = input.at.to(self.last_at());
            height = above(at, &[height])?;
            input = MetricsExpr { kind: MetricsKind::Then { input: Box::new(input), stage }, at };
        }
    }
}
