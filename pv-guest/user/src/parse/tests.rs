use super::*;
use alloc::format;

/// The words of a parsed line as text, pipelines as `a b | c ;`.
fn shape(line: &str) -> String {
    let mut out = String::new();
    for pipeline in parse(line).unwrap() {
        for (index, command) in pipeline.commands.iter().enumerate() {
            if index > 0 {
                out.push_str("| ");
            }
            for word in &command.words {
                out.push_str(&format!("[{}] ", expand(word, |name| format!("<{name}>"))));
            }
            if let Some(file) = &command.input {
                out.push_str(&format!("<{} ", expand(file, |_| String::new())));
            }
            if let Some((file, append)) = &command.output {
                let sign = if *append { ">>" } else { ">" };
                out.push_str(&format!("{sign}{} ", expand(file, |_| String::new())));
            }
        }
        out.push_str(match pipeline.connector {
            Connector::Then => ";",
            Connector::Background => "&",
            Connector::And => "&&",
            Connector::Or => "||",
        });
    }
    out
}

#[test]
fn words_and_quotes() {
    assert_eq!(shape("echo a  b"), "[echo] [a] [b] ;");
    assert_eq!(shape("echo 'a  b'\"c d\"e"), "[echo] [a  bc de] ;");
    assert_eq!(shape(r#"echo "\"q\" \x" a\ b"#), r#"[echo] ["q" \x] [a b] ;"#);
    assert_eq!(shape("echo ''"), "[echo] [] ;");
    assert_eq!(shape("echo é ü"), "[echo] [é] [ü] ;");
}

#[test]
fn variables_expand_outside_single_quotes_only() {
    assert_eq!(shape("echo $? $HOME'$x'\"$y\" $ $1"), "[echo] [<?>] [<HOME>$x<y>] [$] [$1] ;");
}

#[test]
fn pipes_files_and_connectors() {
    assert_eq!(shape("a|b >f;c"), "[a] | [b] >f ;[c] ;");
    assert_eq!(shape("a <in >>out & b"), "[a] <in >>out &[b] ;");
    assert_eq!(shape("a && b || c"), "[a] &&[b] ||[c] ;");
    assert_eq!(shape("a;"), "[a] ;");
    assert_eq!(shape("> f a"), "[a] >f ;");
}

#[test]
fn comments_and_blank_lines() {
    assert_eq!(shape(""), "");
    assert_eq!(shape("   # nothing"), "");
    assert_eq!(shape("echo a#b # c"), "[echo] [a#b] ;");
}

#[test]
fn refusals() {
    assert_eq!(parse("echo 'a"), Err(SyntaxError::Unclosed));
    assert_eq!(parse("echo \"a"), Err(SyntaxError::Unclosed));
    assert_eq!(parse("echo a\\"), Err(SyntaxError::Unclosed));
    assert_eq!(parse("| a"), Err(SyntaxError::Unexpected("|")));
    assert_eq!(parse("a |"), Err(SyntaxError::Unexpected("|")));
    assert_eq!(parse("a &&"), Err(SyntaxError::Unexpected("&&")));
    assert_eq!(parse("a > | b"), Err(SyntaxError::Unexpected(">")));
    assert_eq!(parse("> f"), Err(SyntaxError::Unexpected("newline")));
    assert_eq!(parse(";"), Err(SyntaxError::Unexpected(";")));
}
