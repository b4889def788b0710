//! What stands inside of braces: expressions over the fields of a span.

use super::{
    Fault, MAX_PATTERNS, Parser, Tall, Token, above,
    power::{COMPARE, LOGIC, PREFIX},
    right_of,
};
use crate::traceql::{
    ast::{ArithmeticOp, CompareOp, Expr, ExprKind, Field, FieldAt, Intrinsic, Literal, LogicOp},
    value::Pattern,
};

enum Operator {
    Logic(LogicOp),
    Compare(CompareOp),
    Arithmetic(ArithmeticOp),
}

impl Parser {
    /// A whole expression.
    pub(super) fn expr(&mut self) -> Result<Tall<Expr>, Fault> {
        self.expr_above(0)
    }

    fn expr_above(&mut self, weakest: u8) -> Result<Tall<Expr>, Fault> {
        self.deeper(|parser| {
            let mut left = parser.operand()?;
            while let Some((operator, power)) = parser.peek_operator().filter(|(_, power)| *power >= weakest) {
                let at = parser.bump();
                let is_match = matches!(operator, Operator::Compare(CompareOp::Match | CompareOp::NotMatch));
                parser.patterns += usize::from(is_match);
                if parser.patterns > MAX_PATTERNS {
                    return Fault::new(at, format!("a query has at most {MAX_PATTERNS} regular expressions"));
                }
                let mut right = parser.expr_above(right_of(power))?;
                if is_match {
                    compile(&mut right.0)?;
                }
                left = join(&operator, left, right)?;
            }
            Ok(left)
        })
    }

    fn peek_operator(&self) -> Option<(Operator, u8)> {
        match self.peek() {
            Token::And => return Some((Operator::Logic(LogicOp::And), LOGIC)),
            Token::Or => return Some((Operator::Logic(LogicOp::Or), LOGIC)),
            _ => {}
        }
        if let Some(op) = self.peek_comparison() {
            return Some((Operator::Compare(op), COMPARE));
        }
        self.peek_arithmetic().map(|(op, power)| (Operator::Arithmetic(op), power))
    }

    fn operand(&mut self) -> Result<Tall<Expr>, Fault> {
        let start = self.peek_at();
        match self.peek() {
            Token::Not => {
                self.bump();
                let (operand, height) = self.expr_above(PREFIX)?;
                let at = start.to(operand.at);
                Ok((Expr { kind: ExprKind::Not(Box::new(operand)), at }, above(at, &[height])?))
            }
            Token::Sub => {
                self.bump();
                if self.eat(&Token::Int(1 << 63)) {
                    return Ok((literal(Literal::Int(i64::MIN), start.to(self.last_at())), 1));
                }
                let (operand, height) = self.expr_above(PREFIX)?;
                let at = start.to(operand.at);
                if let ExprKind::Literal(number) = &operand.kind
                    && let Some(number) = super::negative(number)
                {
                    return Ok((literal(number, at), 1));
                }
                Ok((Expr { kind: ExprKind::Negate(Box::new(operand)), at }, above(at, &[height])?))
            }
            Token::OpenParen => {
                self.bump();
                let (mut inner, height) = self.expr()?;
                if *self.peek() != Token::CloseParen {
                    return self.unexpected("an operator or `)`");
                }
                inner.at = start.to(self.bump());
                Ok((inner, height))
            }
            _ => {
                if let Some(value) = self.literal()? {
                    return Ok((literal(value, start), 1));
                }
                let FieldAt { field, at } = self.field("a field or a value")?;
                Ok((Expr { kind: ExprKind::Field(field), at }, 1))
            }
        }
    }

    /// An attribute or an intrinsic field.
    pub(super) fn field(&mut self, expected: &str) -> Result<FieldAt, Fault> {
        let field = match self.peek() {
            Token::Attribute(attribute) => Field::Attribute(attribute.clone()),
            Token::Intrinsic(intrinsic) => Field::Intrinsic(*intrinsic),
            Token::Word(word) => match Intrinsic::named(word) {
                Some(intrinsic) => Field::Intrinsic(intrinsic),
                None => {
                    let advice =
                        format!("{expected}; attributes begin with a scope or a dot: `span.{word}`, `.{word}`");
                    return self.unexpected(&advice);
                }
            },
            _ => return self.unexpected(expected),
        };
        Ok(FieldAt { field, at: self.bump() })
    }

    /// `(field, field, ...)`
    pub(super) fn fields(&mut self) -> Result<Vec<FieldAt>, Fault> {
        self.expect(&Token::OpenParen)?;
        let mut fields = vec![self.field("a field")?];
        while self.eat(&Token::Comma) {
            fields.push(self.field("a field")?);
        }
        if !self.eat(&Token::CloseParen) {
            return self.unexpected("`,` or `)`");
        }
        Ok(fields)
    }
}

/// A string is a regular expression here.
fn compile(expr: &mut Expr) -> Result<(), Fault> {
    if let ExprKind::Literal(literal) = &mut expr.kind
        && let Literal::String(text) = literal
    {
        *literal = match Pattern::new(text) {
            Ok(pattern) => Literal::Pattern(pattern),
            Err(error) => return Fault::new(expr.at, error.to_string()),
        };
    }
    Ok(())
}

fn literal(literal: Literal, at: crate::traceql::at::At) -> Expr {
    Expr { kind: ExprKind::Literal(literal), at }
}

fn join(operator: &Operator, left: Tall<Expr>, right: Tall<Expr>) -> Result<Tall<Expr>, Fault> {
    let ((left, left_height), (right, right_height)) = (left, right);
    let at = left.at.to(right.at);
    let kind = match *operator {
        Operator::Logic(op) => {
            // The same operator again makes its list longer and the tree no higher.
            let listed = |side: Expr, height: usize| match side.kind {
                ExprKind::Logic { op: inner, operands } if inner == op => (operands, height - 1),
                kind => (vec![Expr { kind, at: side.at }], height),
            };
            let (mut operands, left_height) = listed(left, left_height);
            let (more, right_height) = listed(right, right_height);
            operands.extend(more);
            return Ok((Expr { kind: ExprKind::Logic { op, operands }, at }, above(at, &[left_height, right_height])?));
        }
        Operator::Compare(op) => ExprKind::Compare { op, left: Box::new(left), right: Box::new(right) },
        Operator::Arithmetic(op) => ExprKind::Arithmetic { op, left: Box::new(left), right: Box::new(right) },
    };
    Ok((Expr { kind, at }, above(at, &[left_height, right_height])?))
}
