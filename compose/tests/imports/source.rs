//! Reads Rust source well enough to know which paths it names: comments, texts and test modules are taken out, `use`
//! trees are spelled out. No full parser: what this cannot see, a reviewer can.

/// Returns every path that `source` names outside comments, texts and items under `#[cfg(test)]`, `use` trees spelled
/// out, each as its segments.
pub(crate) fn paths(source: &str) -> Vec<Vec<String>> {
    let code = without_tests(&blank(source));
    let tokens = tokens(&code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "use" {
            at = use_tree(&tokens, at + 1, &[], &mut found);
        } else if is_name(&tokens[at]) {
            let mut path = vec![tokens[at].clone()];
            while tokens.get(at + 1).is_some_and(|token| token == "::")
                && tokens.get(at + 2).is_some_and(|token| is_name(token))
            {
                path.push(tokens[at + 2].clone());
                at += 2;
            }
            if path.len() > 1 {
                found.push(path);
            }
            at += 1;
        } else {
            at += 1;
        }
    }
    found
}

/// Tells whether `path` goes through `term` (segments joined by `::`).
pub(crate) fn names(path: &[String], term: &str) -> bool {
    let wanted: Vec<&str> = term.split("::").collect();
    path.windows(wanted.len()).any(|window| window.iter().zip(&wanted).all(|(have, want)| have == want))
}

/// Reads one `use` tree that starts at `at`, adds its paths below `prefix`, and returns where it ended.
fn use_tree(tokens: &[String], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    while at < tokens.len() {
        match tokens[at].as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    at = use_tree(tokens, at, &path, found);
                    if tokens.get(at).is_some_and(|token| token == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "as" => at += 2,
            "self" if !path.is_empty() => at += 1,
            token if is_name(token) || token == "*" => {
                path.push(token.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    if path.len() > prefix.len() || !prefix.is_empty() {
        found.push(path);
    }
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code.char_indices().peekable();
    while let Some((start, first)) = rest.next() {
        if first.is_alphanumeric() || first == '_' {
            let mut end = start + first.len_utf8();
            while let Some((at, next)) = rest.peek().copied().filter(|(_, next)| next.is_alphanumeric() || *next == '_')
            {
                end = at + next.len_utf8();
                rest.next();
            }
            tokens.push(code[start..end].to_owned());
        } else if first == ':' && rest.peek().is_some_and(|(_, next)| *next == ':') {
            rest.next();
            tokens.push("::".to_owned());
        } else if !first.is_whitespace() {
            tokens.push(first.to_string());
        }
    }
    tokens
}

/// Takes out each item under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::new();
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        kept.push_str(&rest[..start]);
        let item = &rest[start + MARK.len()..];
        let mut depth = 0_usize;
        let mut end = item.len();
        for (at, byte) in item.bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        end = at + 1;
                        break;
                    }
                }
                b';' if depth == 0 => {
                    end = at + 1;
                    break;
                }
                _ => {}
            }
        }
        rest = &item[end..];
    }
    kept.push_str(rest);
    kept
}

/// Replaces comments, texts and characters by blanks.
fn blank(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &source[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += block_comment(rest);
        } else if let Some(length) = raw_text(rest).filter(|_| !after_name(&out)) {
            out.push(' ');
            at += length;
        } else if rest.starts_with('"') {
            out.push(' ');
            at += text(rest);
        } else if rest.starts_with('\'') {
            at += character(rest);
            out.push(' ');
        } else {
            let Some(next) = rest.chars().next() else { break };
            out.push(next);
            at += next.len_utf8();
        }
    }
    out
}

fn after_name(out: &str) -> bool {
    out.ends_with(|last: char| last.is_alphanumeric() || last == '_')
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    let bytes = rest.as_bytes();
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The length of a raw text (`r"…"`, `br#"…"#`) that starts here.
fn raw_text(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr")).or_else(|| rest.strip_prefix('r'))?;
    let hashes = body.bytes().take_while(|byte| *byte == b'#').count();
    let text = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = text.find(&end).map_or(text.len(), |found| found + end.len());
    Some(rest.len() - text.len() + length)
}

fn text(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The length of a character, or of the quote of a lifetime.
fn character(rest: &str) -> usize {
    if rest[1..].starts_with('\\') {
        // `'\''` and `'\u{7f}'`: the closing quote comes after the escaped character.
        return rest.get(3..).and_then(|tail| tail.find('\'')).map_or(1, |end| end + 4);
    }
    match rest[1..].chars().next() {
        Some(inner) if rest[1 + inner.len_utf8()..].starts_with('\'') => inner.len_utf8() + 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{names, paths};

    fn named(source: &str, term: &str) -> bool {
        paths(source).iter().any(|path| names(path, term))
    }

    #[test]
    fn use_trees_are_spelled_out() {
        assert!(named("use std::{io, fs::{self, File}};", "std::fs"));
        assert!(named("use tonic::{Request, Response, Status as Answer};", "tonic::Status"));
        assert!(!named("use std::os::unix::fs::MetadataExt;", "std::fs"));
        assert!(!named("use std::{io, path::Path};", "std::fs"));
    }

    #[test]
    fn paths_in_expressions_and_macros_are_seen() {
        assert!(named("fn f() { let now = std::time::SystemTime::now(); }", "SystemTime::now"));
        assert!(named("fn f() { select! { _ = x => Instant :: now() } }", "Instant::now"));
        assert!(named("fn f() -> u64 { rand::random() }", "rand::random"));
        assert!(named("use rand::{Rng, rngs::OsRng};", "OsRng"));
        assert!(!named("fn f(getrandom: u64) -> u64 { getrandom }", "getrandom"));
    }

    #[test]
    fn comments_texts_and_tests_do_not_count() {
        assert!(!named("// std::fs\n/* std::fs /* std::fs */ std::fs */\nfn f() {}", "std::fs"));
        assert!(!named("const A: &str = \"std::fs::read \\\" std::fs\";", "std::fs"));
        assert!(!named("const A: &str = r#\"std::fs::read \" std::fs\"#;", "std::fs"));
        assert!(!named("#[cfg(test)]\nmod tests { use std::fs; fn f() { fs::read(); } }", "std::fs"));
        assert!(named("#[cfg(test)]\nmod tests { fn f() {} }\nuse std::fs;", "std::fs"));
        assert!(named("fn f<'a>(x: &'a str) { let c = '\"'; std::fs::read(x) }", "std::fs"));
        assert!(named("fn f() { let c = '\\''; std::fs::read(x) }", "std::fs"));
    }
}
