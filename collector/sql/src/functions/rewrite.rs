//! Puts counted functions in the place of those that a query calls, wherever they come from: some the engine puts there itself.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow_schema::DataType;
use datafusion::{
    common::{DFSchema, Result, config::ConfigOptions, tree_node::Transformed},
    logical_expr::{
        BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
        Signature, Volatility, expr::ScalarFunction, expr_rewriter::FunctionRewrite,
    },
};

use super::{NEVER_CALLED, account::Account, counted::Counted, longest::bytes_of_constant};

/// The rule, for the queries of a session.
#[derive(Debug)]
pub struct Counting {
    account: Arc<Account>,
    joined: ScalarUDF,
}

impl Counting {
    pub fn new(account: Arc<Account>) -> Self {
        let joined = Joined { signature: Signature::any(1, Volatility::Immutable), account: account.clone() };
        Self { joined: joined.into(), account }
    }
}

impl FunctionRewrite for Counting {
    fn name(&self) -> &str {
        "counting"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        match expr {
            Expr::ScalarFunction(call) if is_counted(&call, schema) => {
                let ScalarFunction { func, args } = call;
                let func = Arc::new(Counted::new(func.as_ref().clone(), self.account.clone()).into());
                Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args })))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) => {
                // Of `a || b || c` the whole is counted, and not each part: the engine looks through all parts of a part each time.
                let (left, right) = (Box::new(bare(*left)), Box::new(bare(*right)));
                let joined = Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right });
                Ok(Transformed::yes(self.joined.call(vec![joined])))
            }
            expr => Ok(Transformed::no(expr)),
        }
    }
}

/// What is counted, without that.
fn bare(expr: Expr) -> Expr {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, mut args }) if func.inner().is::<Joined>() && args.len() == 1 => {
            args.swap_remove(0)
        }
        expr => expr,
    }
}

fn is_counted(call: &ScalarFunction, schema: &DFSchema) -> bool {
    !call.func.inner().is::<Counted>()
        && !NEVER_CALLED.contains(&call.func.name())
        && !Expr::ScalarFunction(call.clone()).get_type(schema).is_ok_and(|kind| has_fixed_length(&kind))
}

/// Whether all values of a type take the same.
pub fn has_fixed_length(kind: &DataType) -> bool {
    kind.is_primitive() || matches!(kind, DataType::Boolean | DataType::Null)
}

/// What `||` gives, counted: it is as long as what it joins.
#[derive(Debug)]
struct Joined {
    signature: Signature,
    account: Arc<Account>,
}

impl PartialEq for Joined {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Joined {}

impl Hash for Joined {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &str {
        "joined"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        Ok(kinds.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, ScalarFunctionArgs { mut args, .. }: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = args.swap_remove(0);
        match &text {
            ColumnarValue::Array(texts) => self.account.count(texts, &[])?,
            ColumnarValue::Scalar(text) => self.account.constant(bytes_of_constant(text)?)?,
        }
        Ok(text)
    }
}
