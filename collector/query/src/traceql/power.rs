//! How strongly operators hold on to what is beside them, from weak to strong: the parser goes by it, and `format` puts what is weaker
//! than its place asks for into parentheses.

/// Anything may stand there.
pub const ANY: u8 = 0;
/// `&&` and `||` are equals, as in Tempo.
pub const LOGIC: u8 = 1;
/// Comparisons, and relations of spansets.
pub const COMPARE: u8 = 2;
pub const ADD: u8 = 3;
pub const MULTIPLY: u8 = 4;
/// `-a`, `!a`
pub const PREFIX: u8 = 5;
/// `a ^ b ^ c` is `a ^ (b ^ c)`; all others hold on to the left.
pub const POW: u8 = 6;
/// What no operator takes apart.
pub const ATOM: u8 = 7;
