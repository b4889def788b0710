//! Text into words.

use super::{
    ast::{Attribute, Intrinsic, Keep, Relation, Scope},
    at::At,
    error::Fault,
    token::Token,
};

mod literals;

/// Splits a query into words; the last one is [`Token::End`].
pub(super) fn lex(text: &str) -> Result<Vec<(Token, At)>, Fault> {
    let mut lexer = Lexer { text, offset: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space();
        let start = lexer.offset;
        let token = lexer.token()?;
        let end = token == Token::End;
        tokens.push((token, At::new(start, lexer.offset)));
        if end {
            return Ok(tokens);
        }
    }
}

/// Whether a key may have this character without quotes. Signs other than these are part of a key, as in
/// `http.request-id` or `a/b`, so arithmetic needs spaces around its operators.
pub(super) fn is_key_char(c: char) -> bool {
    !c.is_whitespace() && !"{}()=~!<>&|^,\"`".contains(c)
}

struct Lexer<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> Lexer<'a> {
    fn token(&mut self) -> Result<Token, Fault> {
        let start = self.offset;
        let mut ahead = self.rest().chars();
        let Some(first) = ahead.next() else { return Ok(Token::End) };
        let second = ahead.next();
        match first {
            '"' | '`' => self.string().map(Token::String),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => self.number(),
            '0'..='9' => self.number(),
            '.' => {
                self.offset += 1;
                self.attribute(Scope::Any, false)
            }
            'a'..='z' | 'A'..='Z' | '_' => self.word(),
            _ => match self.operator() {
                Some(token) => Ok(token),
                None => {
                    let hint = if first == '\'' { "; strings are written in \"\" or ``" } else { "" };
                    Fault::new(
                        At::new(start, start + first.len_utf8()),
                        format!("found {first:?}, which begins nothing that TraceQL knows{hint}"),
                    )
                }
            },
        }
    }

    fn operator(&mut self) -> Option<Token> {
        use Keep::{Both, NotRelated, Right};
        use Relation::{Ancestor, Child, Descendant, Parent, Sibling};
        // Longer ones first: the first that fits is taken.
        let operators = [
            ("&>>", Token::Related(Descendant, Both)),
            ("&<<", Token::Related(Ancestor, Both)),
            ("!>>", Token::Related(Descendant, NotRelated)),
            ("!<<", Token::Related(Ancestor, NotRelated)),
            ("&&", Token::And),
            ("&>", Token::Related(Child, Both)),
            ("&<", Token::Related(Parent, Both)),
            ("&~", Token::Related(Sibling, Both)),
            ("!=", Token::NotEq),
            ("!>", Token::Related(Child, NotRelated)),
            ("!<", Token::Related(Parent, NotRelated)),
            ("!~", Token::Related(Sibling, NotRelated)),
            (">>", Token::Related(Descendant, Right)),
            ("<<", Token::Related(Ancestor, Right)),
            (">=", Token::GreaterEq),
            ("<=", Token::LessEq),
            ("=~", Token::Match),
            ("||", Token::Or),
            (">", Token::Related(Child, Right)),
            ("<", Token::Related(Parent, Right)),
            ("~", Token::Related(Sibling, Right)),
            ("=", Token::Eq),
            ("!", Token::Not),
            ("|", Token::Pipe),
            ("{", Token::OpenBrace),
            ("}", Token::CloseBrace),
            ("(", Token::OpenParen),
            (")", Token::CloseParen),
            ("[", Token::OpenBracket),
            ("]", Token::CloseBracket),
            (",", Token::Comma),
            ("+", Token::Add),
            ("-", Token::Sub),
            ("*", Token::Mul),
            ("/", Token::Div),
            ("%", Token::Mod),
            ("^", Token::Pow),
        ];
        let (text, token) = operators.into_iter().find(|(text, _)| self.rest().starts_with(text))?;
        self.offset += text.len();
        Some(token)
    }

    /// A word, or what a scope's name begins.
    fn word(&mut self) -> Result<Token, Fault> {
        let start = self.offset;
        let word = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        let scope = match word {
            "span" => Scope::Span,
            "resource" => Scope::Resource,
            "event" => Scope::Event,
            "link" => Scope::Link,
            "instrumentation" => Scope::Instrumentation,
            "parent" | "trace" => Scope::Any,
            _ => return Ok(Token::Word(word.to_owned())),
        };
        match self.rest().as_bytes().first() {
            Some(b'.') if word == "trace" => Fault::new(
                At::new(start, self.offset + 1),
                format!("a trace has no attributes; it has {}", Intrinsic::names_in("trace").join(", ")),
            ),
            Some(b'.') if word == "parent" => {
                self.offset += 1;
                for (prefix, scope) in [("span.", Scope::Span), ("resource.", Scope::Resource)] {
                    if self.rest().starts_with(prefix) {
                        self.offset += prefix.len();
                        return self.attribute(scope, true);
                    }
                }
                self.attribute(Scope::Any, true)
            }
            Some(b'.') => {
                self.offset += 1;
                self.attribute(scope, false)
            }
            Some(b':') => {
                self.offset += 1;
                self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
                let name = &self.text[start..self.offset];
                match Intrinsic::named(name) {
                    Some(intrinsic) => Ok(Token::Intrinsic(intrinsic)),
                    None => {
                        let known = Intrinsic::names_in(word);
                        let known = if known.is_empty() {
                            format!("`{word}` has none, only attributes: `{word}.key`")
                        } else {
                            format!("there are {}", known.join(", "))
                        };
                        Fault::new(At::new(start, self.offset), format!("no field is called `{name}`: {known}"))
                    }
                }
            }
            _ => Ok(Token::Word(word.to_owned())),
        }
    }

    /// The key of an attribute, plain and quoted parts in any order.
    fn attribute(&mut self, scope: Scope, of_parent: bool) -> Result<Token, Fault> {
        let mut key = String::new();
        loop {
            let plain = self.take_while(is_key_char);
            key.push_str(plain);
            if self.rest().starts_with('"') {
                self.quoted_key(&mut key)?;
            } else if plain.is_empty() {
                break;
            }
        }
        if key.is_empty() {
            let found = self.rest().chars().next().map_or("the end of the query".to_owned(), |c| format!("{c:?}"));
            return Fault::new(
                At::new(self.offset, self.offset),
                format!("found {found}, expected an attribute's key"),
            );
        }
        Ok(Token::Attribute(Attribute { scope, of_parent, key }))
    }

    /// White space, and comments from `//` to the end of the line.
    fn skip_space(&mut self) {
        self.take_while(char::is_whitespace);
        while self.rest().starts_with("//") {
            self.take_while(|c| c != '\n');
            self.take_while(char::is_whitespace);
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.offset..]
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !fits(c)).unwrap_or(rest.len())];
        self.offset += taken.len();
        taken
    }
}
