//! Conditions that `clew_query` can look for by itself, in columns that need not be read for it and in what blocks say of themselves.
//!
//! What it finds may be more than what the condition holds for, never less: DataFusion looks at each row again.

use clew_query::{
    exec::{Range, Wanted},
    traceql::{
        ast::{CompareOp, Expr as Condition, ExprKind, Field, Intrinsic, Kind as SpanKind, Literal, LogicOp, Status},
        at::At,
    },
};
use clew_storage::schema::core;
use datafusion::{
    common::{Column, ScalarValue},
    logical_expr::{BinaryExpr, Expr, Operator},
};

use crate::{
    columns::{Kind, Of, SpanColumn},
    entries::Entries,
};

/// What conditions can be about.
pub struct Conditions<'a> {
    pub columns: &'a [SpanColumn],
    pub entries: Option<Entries>,
}

impl Conditions<'_> {
    /// What all conditions together leave.
    pub fn all(&self, filters: &[Expr]) -> Wanted {
        filters.iter().filter_map(|filter| self.wanted(filter)).fold(Wanted::ALL, both)
    }

    /// What a condition leaves; None when that may be anything.
    pub fn wanted(&self, filter: &Expr) -> Option<Wanted> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else {
            return self.compared(filter).map(of_filter);
        };
        match op {
            Operator::And => match (self.wanted(left), self.wanted(right)) {
                (Some(left), Some(right)) => Some(both(left, right)),
                (one, other) => one.or(other),
            },
            Operator::Or => {
                let condition = |side: &Expr| match self.wanted(side)? {
                    Wanted { range, trace: None, filter: Some(filter) } if range == Range::ALL => Some(filter),
                    _ => None,
                };
                Some(of_filter(logic(LogicOp::Or, condition(left)?, condition(right)?)))
            }
            _ => match self.sides(left, *op, right)? {
                (
                    SpanColumn { of: Of::Core(core::START_TIME), .. },
                    op,
                    ScalarValue::TimestampNanosecond(Some(time), _),
                ) => range(op, *time).map(|range| Wanted { range, ..Wanted::ALL }),
                (
                    SpanColumn { of: Of::Field { field: Field::Intrinsic(Intrinsic::TraceId), .. }, .. },
                    CompareOp::Eq,
                    id,
                ) => {
                    let mut trace = [0; 16];
                    // In the table ids are in lower case.
                    hex::decode_to_slice(text(id)?, &mut trace).ok()?;
                    Some(Wanted { trace: Some(trace), ..Wanted::ALL })
                }
                _ => self.compared(filter).map(of_filter),
            },
        }
    }

    /// A column and a literal, the column on the left.
    fn sides<'e>(
        &self,
        left: &'e Expr,
        op: Operator,
        right: &'e Expr,
    ) -> Option<(&SpanColumn, CompareOp, &'e ScalarValue)> {
        let op = match op {
            Operator::Eq => CompareOp::Eq,
            Operator::Lt => CompareOp::Less,
            Operator::LtEq => CompareOp::LessEq,
            Operator::Gt => CompareOp::Greater,
            Operator::GtEq => CompareOp::GreaterEq,
            _ => return None,
        };
        match (left, right) {
            (Expr::Column(column), Expr::Literal(literal, _)) => Some((self.column(column)?, op, literal)),
            (Expr::Literal(literal, _), Expr::Column(column)) => {
                let mirrored = match op {
                    CompareOp::Less => CompareOp::Greater,
                    CompareOp::LessEq => CompareOp::GreaterEq,
                    CompareOp::Greater => CompareOp::Less,
                    CompareOp::GreaterEq => CompareOp::LessEq,
                    same => same,
                };
                Some((self.column(column)?, mirrored, literal))
            }
            _ => None,
        }
    }

    fn column(&self, column: &Column) -> Option<&SpanColumn> {
        let name = match self.entries {
            None => &column.name,
            Some(entries) => entries.of_span(&column.name)?,
        };
        self.columns.iter().find(|column| column.name == *name)
    }

    /// A comparison, as TraceQL has it.
    fn compared(&self, filter: &Expr) -> Option<Condition> {
        // A column of booleans by itself.
        if let Expr::Column(column) = filter {
            let SpanColumn { kind: Kind::Bool, of: Of::Field { field, exact: true }, .. } = self.column(column)? else {
                return None;
            };
            return Some(compare(field.clone(), CompareOp::Eq, Literal::Bool(true)));
        }
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
        let (column, op, literal) = self.sides(left, *op, right)?;
        let (field, literal) = match (&column.of, literal) {
            // Durations below 0 are 0 in TraceQL.
            (Of::Core(core::DURATION), ScalarValue::Int64(Some(ns)))
                if *ns > 0 && matches!(op, CompareOp::Eq | CompareOp::Greater | CompareOp::GreaterEq) =>
            {
                (Field::Intrinsic(Intrinsic::Duration), Literal::Duration(*ns))
            }
            (Of::Core(core::SERVICE_NAME), literal) if op == CompareOp::Eq => {
                let service = Field::attribute(clew_query::traceql::ast::Scope::Resource, "service.name");
                (service, Literal::String(text(literal)?.to_owned()))
            }
            (Of::Field { field, exact: true }, literal) => (field.clone(), value(field, column.kind, op, literal)?),
            _ => return None,
        };
        Some(compare(field, op, literal))
    }
}

/// A literal that means the same in TraceQL.
fn value(field: &Field, kind: Kind, op: CompareOp, literal: &ScalarValue) -> Option<Literal> {
    match (field, kind) {
        (Field::Intrinsic(Intrinsic::Status), _) if op == CompareOp::Eq => match text(literal)? {
            "error" => Some(Literal::Status(Status::Error)),
            "ok" => Some(Literal::Status(Status::Ok)),
            "unset" => Some(Literal::Status(Status::Unset)),
            _ => None,
        },
        (Field::Intrinsic(Intrinsic::Kind), _) if op == CompareOp::Eq => {
            let kinds = [
                SpanKind::Unspecified,
                SpanKind::Internal,
                SpanKind::Server,
                SpanKind::Client,
                SpanKind::Producer,
                SpanKind::Consumer,
            ];
            let named = text(literal)?;
            kinds.into_iter().find(|kind| kind.to_string() == named).map(Literal::Kind)
        }
        (Field::Attribute(_) | Field::Intrinsic(Intrinsic::Name | Intrinsic::StatusMessage), Kind::Text)
            if op == CompareOp::Eq =>
        {
            Some(Literal::String(text(literal)?.to_owned()))
        }
        (Field::Attribute(_), Kind::Int) => match literal {
            ScalarValue::Int64(Some(number)) => Some(Literal::Int(*number)),
            _ => None,
        },
        (Field::Attribute(_), Kind::Double) => match literal {
            ScalarValue::Float64(Some(number)) if number.is_finite() => Some(Literal::Float(*number)),
            _ => None,
        },
        (Field::Attribute(_), Kind::Bool) if op == CompareOp::Eq => match literal {
            ScalarValue::Boolean(Some(yes)) => Some(Literal::Bool(*yes)),
            _ => None,
        },
        _ => None,
    }
}

fn text(literal: &ScalarValue) -> Option<&str> {
    match literal {
        ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => text.as_deref(),
        _ => None,
    }
}

fn compare(field: Field, op: CompareOp, literal: Literal) -> Condition {
    let side = |kind| Box::new(Condition { kind, at: At::default() });
    let kind = ExprKind::Compare { op, left: side(ExprKind::Field(field)), right: side(ExprKind::Literal(literal)) };
    Condition { kind, at: At::default() }
}

fn logic(op: LogicOp, left: Condition, right: Condition) -> Condition {
    let mut operands = Vec::new();
    for side in [left, right] {
        match side.kind {
            ExprKind::Logic { op: same, operands: more } if same == op => operands.extend(more),
            _ => operands.push(side),
        }
    }
    Condition { kind: ExprKind::Logic { op, operands }, at: At::default() }
}

fn of_filter(filter: Condition) -> Wanted {
    Wanted { filter: Some(filter), ..Wanted::ALL }
}

/// Ends are not in the range.
fn range(op: CompareOp, time: i64) -> Option<Range> {
    let after = time.saturating_add(1);
    match op {
        CompareOp::Eq => Some(Range { start: time, end: after }),
        CompareOp::Less => Some(Range { end: time, ..Range::ALL }),
        CompareOp::LessEq => Some(Range { end: after, ..Range::ALL }),
        CompareOp::Greater => Some(Range { start: after, ..Range::ALL }),
        CompareOp::GreaterEq => Some(Range { start: time, ..Range::ALL }),
        _ => None,
    }
}

fn both(left: Wanted, right: Wanted) -> Wanted {
    Wanted {
        range: Range { start: left.range.start.max(right.range.start), end: left.range.end.min(right.range.end) },
        // Of two traces one will do: no span is of both.
        trace: left.trace.or(right.trace),
        filter: match (left.filter, right.filter) {
            (Some(left), Some(right)) => Some(logic(LogicOp::And, left, right)),
            (one, other) => one.or(other),
        },
    }
}
