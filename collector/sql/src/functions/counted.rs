//! A function whose results are counted.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow_schema::{DataType, FieldRef};
use datafusion::{
    common::{Result, config::ConfigOptions},
    logical_expr::{
        ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
        ScalarUDFImpl, Signature, sort_properties::ExprProperties,
    },
};

use super::{
    account::Account,
    longest::{Argument, bytes_of_constant, longest},
};

/// What it gives is what the function gives, as long as there is memory for it. The engine does not look through it, so that it is
/// called whenever the function would be.
#[derive(Clone, Debug)]
pub struct Counted {
    function: ScalarUDF,
    account: Arc<Account>,
}

impl Counted {
    pub fn new(function: ScalarUDF, account: Arc<Account>) -> Self {
        Self { function, account }
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function
    }
}

impl Eq for Counted {}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

impl ScalarUDFImpl for Counted {
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arguments = args.args.iter().map(|value| Argument::of(value, rows)).collect::<Result<Vec<_>>>()?;
        let room = self.account.room(longest(self.name(), &arguments, rows))?;
        let given = args.args.iter().filter_map(|value| match value {
            ColumnarValue::Array(values) => Some(values.clone()),
            ColumnarValue::Scalar(_) => None,
        });
        let given: Vec<_> = given.collect();
        let result = self.function.invoke_with_args(args)?;
        drop(room);
        match &result {
            ColumnarValue::Array(values) => self.account.count(values, &given)?,
            ColumnarValue::Scalar(value) => self.account.constant(bytes_of_constant(value)?)?,
        }
        Ok(result)
    }

    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.function.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.function.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.function.return_field_from_args(args)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let function = self.function.inner().with_updated_config(config)?;
        Some(Self::new(function, self.account.clone()).into())
    }

    fn short_circuits(&self) -> bool {
        self.function.short_circuits()
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.function.conditional_arguments(args)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.function.preserves_lex_ordering(inputs)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.function.placement(args)
    }
}
