//! Tokens to nodes, by recursive descent with bounded depth.

use std::iter::Peekable;
use std::vec::IntoIter;

use serde_json::Value;

use super::lexer::{Kind, Token};
use super::{DEPTH_LIMIT, Fault};

/// A piece of a template.
#[derive(Debug)]
pub enum Node {
    /// Text as it is.
    Text(String),
    /// Prints what the pipeline gives, unless it declares a variable.
    Print(Pipeline),
    /// The first arm whose condition holds, or the rest.
    If { arms: Vec<(Pipeline, Vec<Node>)>, otherwise: Vec<Node> },
    /// The body once an element, or the rest if there is none.
    Range { over: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
    /// The body with the value as dot, or the rest if it is empty.
    With { value: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
}

/// Calls, each of which gets what the one before gave as its last argument.
#[derive(Debug)]
pub struct Pipeline {
    pub at: usize,
    /// Variables that it declares; two only for `range`.
    pub variables: Vec<String>,
    /// The variables exist already.
    pub assigns: bool,
    pub calls: Vec<Call>,
}

/// A term alone, or a function or field with arguments.
#[derive(Debug)]
pub struct Call {
    pub at: usize,
    pub head: Term,
    pub arguments: Vec<Term>,
}

/// A value in a pipeline.
#[derive(Debug)]
pub struct Term {
    pub at: usize,
    pub base: Base,
    /// Fields of the base, outermost first.
    pub path: Vec<(usize, String)>,
}

/// What a term begins with.
#[derive(Debug)]
pub enum Base {
    /// The value that the template, or the block, is about.
    Dot,
    /// A variable; the empty name is the whole value.
    Variable(String),
    /// A literal.
    Literal(Value),
    /// A function.
    Function(String),
    /// Something in parentheses.
    Pipeline(Box<Pipeline>),
}

/// Parses all tokens.
pub fn parse(tokens: Vec<Token>) -> Result<Vec<Node>, Fault> {
    let end = tokens.last().map_or(0, |token| token.at);
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), at: end, depth: 0 };
    let (nodes, stop) = parser.nodes()?;
    match stop {
        Stop::End => Ok(nodes),
        Stop::BlockEnd(at) => Err(Fault::new(at, "`end` without a block that it ends")),
        Stop::Else(at) => Err(Fault::new(at, "`else` without `if`, `range` or `with`")),
    }
}

/// Why a list of nodes ended.
enum Stop {
    End,
    BlockEnd(usize),
    /// The `else` was read, what follows it was not.
    Else(usize),
}

struct Parser {
    tokens: Peekable<IntoIter<Token>>,
    /// Where the last token began: for faults at the end.
    at: usize,
    depth: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.next()?;
        self.at = token.at;
        Some(token)
    }

    fn peek(&mut self) -> Option<&Kind> {
        self.tokens.peek().map(|token| &token.kind)
    }

    fn here(&mut self) -> usize {
        self.tokens.peek().map_or(self.at, |token| token.at)
    }

    fn take(&mut self, wanted: &Kind) -> bool {
        let taken = self.peek() == Some(wanted);
        if taken {
            self.next();
        }
        taken
    }

    fn expect(&mut self, wanted: &Kind, shown: &str) -> Result<(), Fault> {
        let at = self.here();
        if self.take(wanted) { Ok(()) } else { Err(Fault::new(at, format!("`{shown}` expected"))) }
    }

    fn deeper(&mut self, at: usize) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(Fault::new(at, format!("nested more than {DEPTH_LIMIT} deep")));
        }
        Ok(())
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), Fault> {
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            if let Kind::Text(text) = token.kind {
                nodes.push(Node::Text(text));
                continue;
            }
            let word = match self.peek() {
                Some(Kind::Word(word)) => word.clone(),
                _ => String::new(),
            };
            let at = self.here();
            match word.as_str() {
                "end" => {
                    self.next();
                    self.expect(&Kind::Close, "}}")?;
                    return Ok((nodes, Stop::BlockEnd(at)));
                }
                "else" => {
                    self.next();
                    return Ok((nodes, Stop::Else(at)));
                }
                "if" | "range" | "with" => {
                    self.next();
                    nodes.push(self.block(&word, at)?);
                }
                "define" | "template" | "block" | "break" | "continue" => {
                    return Err(Fault::new(at, format!("`{word}` is not supported")));
                }
                _ => nodes.push(Node::Print(self.action()?)),
            }
        }
        Ok((nodes, Stop::End))
    }

    fn action(&mut self) -> Result<Pipeline, Fault> {
        let pipeline = self.pipeline()?;
        self.expect(&Kind::Close, "}}")?;
        Ok(pipeline)
    }

    fn block(&mut self, word: &str, at: usize) -> Result<Node, Fault> {
        self.deeper(at)?;
        let node = match word {
            "if" => self.conditional(at)?,
            _ => {
                let value = self.action()?;
                let (body, otherwise) = self.body_and_rest(at)?;
                match word {
                    "range" => Node::Range { over: value, body, otherwise },
                    _ => Node::With { value, body, otherwise },
                }
            }
        };
        self.depth -= 1;
        Ok(node)
    }

    fn conditional(&mut self, at: usize) -> Result<Node, Fault> {
        let mut arms = Vec::new();
        loop {
            let condition = self.action()?;
            let (body, stop) = self.nodes()?;
            arms.push((condition, body));
            match stop {
                Stop::End => return Err(unended(at)),
                Stop::BlockEnd(_) => return Ok(Node::If { arms, otherwise: Vec::new() }),
                Stop::Else(_) if self.take(&Kind::Word("if".to_owned())) => {}
                Stop::Else(at) => return Ok(Node::If { arms, otherwise: self.last_part(at)? }),
            }
        }
    }

    fn body_and_rest(&mut self, at: usize) -> Result<(Vec<Node>, Vec<Node>), Fault> {
        let (body, stop) = self.nodes()?;
        match stop {
            Stop::End => Err(unended(at)),
            Stop::BlockEnd(_) => Ok((body, Vec::new())),
            Stop::Else(at) => Ok((body, self.last_part(at)?)),
        }
    }

    /// What stands between `else` and `end`.
    fn last_part(&mut self, at: usize) -> Result<Vec<Node>, Fault> {
        self.expect(&Kind::Close, "}}")?;
        match self.nodes()? {
            (nodes, Stop::BlockEnd(_)) => Ok(nodes),
            (_, Stop::Else(at)) => Err(Fault::new(at, "a second `else`")),
            (_, Stop::End) => Err(unended(at)),
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, Fault> {
        let at = self.here();
        self.deeper(at)?;
        let (variables, assigns, first) = self.declaration()?;
        let mut calls = vec![self.call(first)?];
        while self.take(&Kind::Pipe) {
            calls.push(self.call(None)?);
        }
        self.depth -= 1;
        Ok(Pipeline { at, variables, assigns, calls })
    }

    /// `$x :=`, `$x =`, `$i, $x :=`, or nothing; a variable that is none of these is the first term.
    fn declaration(&mut self) -> Result<(Vec<String>, bool, Option<Term>), Fault> {
        let at = self.here();
        let Some(Kind::Variable(name)) = self.peek() else { return Ok((Vec::new(), false, None)) };
        let mut names = vec![name.clone()];
        self.next();
        if self.take(&Kind::Comma) {
            match self.next().map(|token| token.kind) {
                Some(Kind::Variable(second)) => names.push(second),
                _ => return Err(Fault::new(self.at, "a second variable expected")),
            }
            self.expect(&Kind::Declare, ":=")?;
            return Ok((names, false, None));
        }
        if self.take(&Kind::Declare) {
            return Ok((names, false, None));
        }
        if self.take(&Kind::Assign) {
            return Ok((names, true, None));
        }
        let name = names.pop().unwrap_or_default();
        let term = self.with_path(at, Base::Variable(name));
        Ok((Vec::new(), false, Some(term)))
    }

    fn call(&mut self, first: Option<Term>) -> Result<Call, Fault> {
        let at = first.as_ref().map_or_else(|| self.here(), |term| term.at);
        let head = match first {
            Some(term) => term,
            None => self.term()?.ok_or_else(|| Fault::new(at, "a value or a function expected"))?,
        };
        let mut arguments = Vec::new();
        while let Some(argument) = self.term()? {
            arguments.push(argument);
        }
        let takes = matches!(head.base, Base::Function(_)) || !head.path.is_empty();
        match arguments.first() {
            Some(argument) if !takes => Err(Fault::new(argument.at, "a value takes no arguments")),
            _ => Ok(Call { at, head, arguments }),
        }
    }

    /// The next term, if one begins here.
    fn term(&mut self) -> Result<Option<Term>, Fault> {
        let at = self.here();
        let base = match self.peek() {
            Some(Kind::Dot) => Base::Dot,
            // The path takes the field.
            Some(Kind::Field(_)) => return Ok(Some(self.first_field(at))),
            Some(Kind::Variable(name)) => Base::Variable(name.clone()),
            Some(Kind::String(text)) => Base::Literal(Value::from(text.as_str())),
            Some(Kind::Number(text)) => Base::Literal(number(text)),
            Some(Kind::Word(word)) => self::word(word),
            Some(Kind::LeftParenthesis) => {
                self.next();
                let inner = self.pipeline()?;
                self.expect(&Kind::RightParenthesis, ")")?;
                return Ok(Some(self.with_path(at, Base::Pipeline(Box::new(inner)))));
            }
            Some(Kind::Text(_) | Kind::Open | Kind::Declare | Kind::Assign | Kind::Comma) => {
                return Err(Fault::new(at, "a value expected"));
            }
            Some(Kind::Close | Kind::Pipe | Kind::RightParenthesis) | None => return Ok(None),
        };
        self.next();
        Ok(Some(self.with_path(at, base)))
    }

    fn first_field(&mut self, at: usize) -> Term {
        let mut path = Vec::new();
        if let Some(Token { kind: Kind::Field(name), at, .. }) = self.next() {
            path.push((at, name));
        }
        let rest = self.with_path(at, Base::Dot).path;
        path.extend(rest);
        Term { at, base: Base::Dot, path }
    }

    fn with_path(&mut self, at: usize, base: Base) -> Term {
        let mut path = Vec::new();
        let continues = |token: &Token| token.glued && matches!(token.kind, Kind::Field(_));
        while let Some(Token { at, kind: Kind::Field(name), .. }) = self.tokens.next_if(continues) {
            self.at = at;
            path.push((at, name));
        }
        Term { at, base, path }
    }
}

fn unended(at: usize) -> Fault {
    Fault::new(at, "the block has no `end`")
}

fn word(word: &str) -> Base {
    match word {
        "true" => Base::Literal(Value::Bool(true)),
        "false" => Base::Literal(Value::Bool(false)),
        "nil" => Base::Literal(Value::Null),
        name => Base::Function(name.to_owned()),
    }
}

fn number(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(number) => Value::from(number),
        Err(_) => Value::from(text.parse::<f64>().unwrap_or_default()),
    }
}
