//! The shell's grammar: quotes, variables, pipes, redirection, and the connectors `;` `&` `&&` `||`.

use alloc::string::String;
use alloc::vec::Vec;

/// Part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Taken as it is.
    Text(String),
    /// Replaced by a variable's value when the command runs; `?` is the last status.
    Variable(String),
}

/// A word, expanded when its command runs.
pub type Word = Vec<Piece>;

/// One program with its arguments and files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments.
    pub words: Vec<Word>,
    /// `< file`.
    pub input: Option<Word>,
    /// `> file` or `>> file` (true: append).
    pub output: Option<(Word, bool)>,
}

/// What follows a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connector {
    /// `;` or the end: wait, then go on.
    Then,
    /// `&`: go on without waiting.
    Background,
    /// `&&`: go on when it succeeded.
    And,
    /// `||`: go on when it failed.
    Or,
}

/// Commands joined by pipes, and what follows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// The commands, first to last.
    pub commands: Vec<Command>,
    /// What follows.
    pub connector: Connector,
}

/// Why a line was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyntaxError {
    /// A quote without its partner.
    Unclosed,
    /// An operator where a word belongs.
    Unexpected(&'static str),
}

impl core::fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            SyntaxError::Unclosed => f.write_str("syntax error: unclosed quote"),
            SyntaxError::Unexpected(token) => write!(f, "syntax error near `{token}`"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(Word),
    Operator(&'static str),
}

/// Operators, longest first.
const OPERATORS: [&str; 8] = ["&&", "||", ">>", "|", "&", ";", "<", ">"];

/// Parses a line; an empty or comment line gives no pipeline.
pub fn parse(line: &str) -> Result<Vec<Pipeline>, SyntaxError> {
    let mut tokens = tokens(line)?.into_iter().peekable();
    let mut pipelines = Vec::new();
    let mut commands = Vec::new();
    let mut command = Command::default();
    while let Some(token) = tokens.next() {
        let operator = match token {
            Token::Word(word) => {
                command.words.push(word);
                continue;
            }
            Token::Operator(operator) => operator,
        };
        if matches!(operator, "<" | ">" | ">>") {
            let Some(Token::Word(file)) = tokens.next() else {
                return Err(SyntaxError::Unexpected(operator));
            };
            match operator {
                "<" => command.input = Some(file),
                _ => command.output = Some((file, operator == ">>")),
            }
            continue;
        }
        if command.words.is_empty() {
            return Err(SyntaxError::Unexpected(operator));
        }
        commands.push(core::mem::take(&mut command));
        let connector = match operator {
            "|" => continue,
            "&" => Connector::Background,
            "&&" => Connector::And,
            "||" => Connector::Or,
            _ => Connector::Then,
        };
        if matches!(connector, Connector::And | Connector::Or) && tokens.peek().is_none() {
            return Err(SyntaxError::Unexpected(operator));
        }
        pipelines.push(Pipeline { commands: core::mem::take(&mut commands), connector });
    }
    if !command.words.is_empty() {
        commands.push(command);
        pipelines.push(Pipeline { commands, connector: Connector::Then });
    } else if !commands.is_empty() {
        return Err(SyntaxError::Unexpected("|"));
    } else if command.input.is_some() || command.output.is_some() {
        return Err(SyntaxError::Unexpected("newline"));
    }
    Ok(pipelines)
}

fn tokens(line: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        if let Some(operator) = OPERATORS.iter().find(|operator| rest.starts_with(**operator)) {
            tokens.push(Token::Operator(operator));
            rest = rest[operator.len()..].trim_start();
            continue;
        }
        let (word, after) = word(rest)?;
        tokens.push(Token::Word(word));
        rest = after.trim_start();
    }
    Ok(tokens)
}

/// Collects a word's pieces.
#[derive(Default)]
struct Builder {
    pieces: Word,
    text: String,
}

impl Builder {
    /// Handles `$` at the start of `rest`; returns what follows the variable's name.
    fn variable<'a>(&mut self, rest: &'a str) -> &'a str {
        let after = &rest[1..];
        let length = match after.chars().next() {
            Some('?') => 1,
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len())
            }
            _ => {
                self.text.push('$');
                return after;
            }
        };
        self.flush();
        self.pieces.push(Piece::Variable(after[..length].into()));
        &after[length..]
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.pieces.push(Piece::Text(core::mem::take(&mut self.text)));
        }
    }
}

fn word(mut rest: &str) -> Result<(Word, &str), SyntaxError> {
    let mut builder = Builder::default();
    while let Some(c) = rest.chars().next() {
        if c.is_whitespace() || OPERATORS.iter().any(|operator| rest.starts_with(operator)) {
            break;
        }
        match c {
            '\'' => {
                let close = rest[1..].find('\'').ok_or(SyntaxError::Unclosed)?;
                builder.text.push_str(&rest[1..][..close]);
                rest = &rest[close + 2..];
            }
            '"' => rest = double_quoted(&rest[1..], &mut builder)?,
            '$' => rest = builder.variable(rest),
            '\\' => {
                let mut chars = rest[1..].chars();
                builder.text.push(chars.next().ok_or(SyntaxError::Unclosed)?);
                rest = chars.as_str();
            }
            _ => {
                builder.text.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    builder.flush();
    Ok((builder.pieces, rest))
}

/// Reads to the closing quote; inside, `$` expands and `\` takes `"`, `\` and `$` literally.
fn double_quoted<'a>(mut rest: &'a str, builder: &mut Builder) -> Result<&'a str, SyntaxError> {
    loop {
        let c = rest.chars().next().ok_or(SyntaxError::Unclosed)?;
        match c {
            '"' => return Ok(&rest[1..]),
            '$' => {
                rest = builder.variable(rest);
                continue;
            }
            '\\' if rest[1..].starts_with(['"', '\\', '$']) => {
                builder.text.push_str(&rest[1..2]);
                rest = &rest[2..];
                continue;
            }
            _ => builder.text.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
}

/// The word as the program gets it.
pub fn expand(word: &Word, variable: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    for piece in word {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Variable(name) => text.push_str(&variable(name)),
        }
    }
    text
}

#[cfg(test)]
mod tests;
