//! The rooms of server, suite and load harness, which are the top-level modules of each crate, know each other in one direction. Reads the
//! source as text: what a room names of another by `crate::…` or by as many `super` as lead there. Unit tests may name whom they like.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Who names whom, and what of it in which files.
type Edges = BTreeMap<(String, String), BTreeSet<String>>;

#[test]
fn no_rooms_know_each_other_in_a_circle() {
    for (krate, from, to) in
        [("server", "app", "http"), ("conformance", "cases", "bench"), ("loadtest", "run", "ground")]
    {
        let edges = edges(&sources(&format!("{krate}/src")));
        assert!(edges.contains_key(&(from.into(), to.into())), "{krate}: what is known to be there was not found");
        let circle = circle(&edges);
        assert!(circle.is_empty(), "rooms of {krate} know each other in a circle:\n{}", circle.join("\n"));
    }
}

#[test]
fn files_of_cases_know_their_kit_and_not_each_other() {
    let edges = edges(&sources("conformance/src/cases"));
    assert!(edges.contains_key(&("acks".into(), "kit".into())), "what is known to be there was not found");
    let known: Vec<_> = edges.iter().filter(|((_, to), _)| to != "kit").collect();
    assert!(known.is_empty(), "{known:?}");
}

#[test]
fn a_circle_is_told_with_what_ties_it() {
    let sources = [
        ("lib.rs", "pub use a::Face;"),
        ("a.rs", "use crate::{\n    b::{One, inner::Two},\n    d, leaf,\n};\nuse b::Extern;"),
        (
            "b/inner.rs",
            "mod nested {\n    use super::super::{deep, super::c::Three};\n}\nuse super::super::leaf::Four;",
        ),
        (
            "c.rs",
            r##"const TEXT: &str = r#"}" crate::d::No"#; // crate::d::No
            fn f<'a>(_: &'a str) -> crate::Face { ('{', '\'', "\" crate::d::No"); }"##,
        ),
        ("d.rs", "pub(crate) use crate::{a, leaf};\n#[cfg(test)]\nmod tests { use crate::d2::No; }"),
        ("leaf.rs", "#[cfg(test)]\nmod tests {\n    use crate::a::No;\n}"),
    ];
    let told = [
        "a -> b: a.rs: One; a.rs: inner",
        "a -> d: a.rs: d",
        "b -> c: b/inner.rs: Three",
        "c -> a: c.rs: Face",
        "d -> a: d.rs: a",
    ];
    assert_eq!(circle(&edges(&sources.map(|(file, text)| (file.to_owned(), text.to_owned())))), told);
}

/// All files beneath a folder of the workspace, by their paths within it.
fn sources(folder: &str) -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(folder);
    let mut sources = Vec::new();
    read(&src, &src, &mut sources);
    sources
}

/// All files beneath a folder, by their paths within the source.
fn read(src: &Path, folder: &Path, sources: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            read(src, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(src).expect("it was found there").to_str().expect("names are ASCII");
            sources.push((file.replace('\\', "/"), fs::read_to_string(&path).expect("the file can be read")));
        }
    }
}

fn edges(sources: &[(String, String)]) -> Edges {
    let path = |file: &str| file.trim_end_matches(".rs").split('/').map(str::to_owned).collect::<Vec<_>>();
    let rooms: BTreeSet<_> = sources.iter().map(|(file, _)| path(file).swap_remove(0)).collect();
    // What the crate shows as its own belongs to a room all the same.
    let mut shown = Vec::new();
    let root = sources.iter().find(|(file, _)| file == "lib.rs").map_or_else(Vec::new, |(_, text)| tokens(text));
    (0..root.len()).filter(|at| root[*at] == "use").for_each(|at| follow(&root[at + 1..], 0, &mut shown));
    let mut edges = Edges::new();
    for (file, text) in sources.iter().filter(|(file, _)| !matches!(file.as_str(), "lib.rs" | "main.rs")) {
        let path = path(file);
        for (room, name) in named(&tokens(text), path.len()) {
            let of = shown.iter().find(|(_, shown)| *shown == room);
            let (room, name) = of.copied().unwrap_or((room, name));
            if room != path[0] && rooms.contains(room) {
                edges.entry((path[0].clone(), room.to_owned())).or_default().insert(format!("{file}: {name}"));
            }
        }
    }
    edges
}

/// The edges of whatever circles there are, as they are to be told.
fn circle(edges: &Edges) -> Vec<String> {
    let mut reached: BTreeSet<_> = edges.keys().map(|(from, to)| (from, to)).collect();
    loop {
        let further = reached
            .iter()
            .flat_map(|(from, by)| edges.keys().filter(move |(next, _)| next == *by).map(move |(_, to)| (*from, to)));
        let more: BTreeSet<_> = further.chain(reached.iter().copied()).collect();
        if more.len() == reached.len() {
            break;
        }
        reached = more;
    }
    let tied = edges.iter().filter(|((from, to), _)| reached.contains(&(to, from)));
    let told = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join("; ");
    tied.map(|((from, to), names)| format!("{from} -> {to}: {}", told(names))).collect()
}

/// The rooms that a module names, so many levels beneath the root, and what of them.
fn named<'a>(tokens: &[&'a str], depth: usize) -> Vec<(&'a str, &'a str)> {
    let (mut found, mut at) = (Vec::new(), 0);
    // For each brace that is open, whether it is that of a module.
    let mut open = Vec::new();
    while at < tokens.len() {
        match tokens[at..] {
            ["#", "[", "cfg", "(", "test", ")", "]", ..] => at = end_of_item(tokens, at + 7),
            ["{", ..] => open.push(at >= 2 && tokens[at - 2] == "mod"),
            ["}", ..] => drop(open.pop()),
            ["crate" | "super", "::", ..] if at == 0 || tokens[at - 1] != "::" => {
                let inner = open.iter().filter(|is_module| **is_module).count();
                follow(&tokens[at..], depth + inner, &mut found);
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The last token of the item that begins here.
fn end_of_item(tokens: &[&str], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < tokens.len() {
        match tokens[at] {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" if depth == 1 => return at,
            "}" => depth -= 1,
            ";" if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Follows a path, or a tree of them, from this depth to what it names at the root.
fn follow<'a>(path: &[&'a str], depth: usize, found: &mut Vec<(&'a str, &'a str)>) {
    match *path {
        ["crate", "::", ref rest @ ..] => follow(rest, 0, found),
        ["super", "::", ref rest @ ..] => follow(rest, depth - 1, found),
        ["{", ref rest @ ..] => branches(rest).into_iter().for_each(|branch| follow(branch, depth, found)),
        [room, "::", "{", ref rest @ ..] if depth == 0 => {
            found.extend(branches(rest).into_iter().filter_map(|branch| Some((room, *branch.first()?))));
        }
        [room, "::", name, ..] if depth == 0 => found.push((room, name)),
        // The whole of it.
        [room, ..] if depth == 0 => found.push((room, room)),
        _ => {}
    }
}

/// The branches of a tree of paths, from behind its brace.
fn branches<'t, 'a>(tokens: &'t [&'a str]) -> Vec<&'t [&'a str]> {
    let (mut depth, mut end) = (0, tokens.len());
    let mut commas = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "{" => depth += 1,
            "}" if depth == 0 => {
                end = at;
                break;
            }
            "}" => depth -= 1,
            "," if depth == 0 => commas.push(at),
            _ => {}
        }
    }
    let begins = std::iter::once(0).chain(commas.iter().map(|comma| comma + 1));
    begins.zip(commas.iter().copied().chain([end])).map(|(begin, end)| &tokens[begin..end]).collect()
}

/// Words, `::`, and other characters one by one; no white space, no comments, and nothing of texts.
fn tokens(text: &str) -> Vec<&str> {
    let (mut tokens, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(rest.len());
        let (length, counts) = match first {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            '"' | '\'' => (literal(rest), false),
            ':' if rest.starts_with("::") => (2, true),
            _ if first.is_whitespace() => (first.len_utf8(), false),
            _ if word == 0 => (first.len_utf8(), true),
            _ => match (&rest[..word], raw(&rest[word..])) {
                ("r" | "br", Some(length)) => (word + length, false),
                _ => (word, true),
            },
        };
        let (token, after) = rest.split_at(length);
        tokens.extend(counts.then_some(token));
        rest = after;
    }
    tokens
}

/// How long a text or a character is, with its quotes; of a lifetime, its quote.
fn literal(text: &str) -> usize {
    let (quote, body) = text.split_at(1);
    let mut escaped = false;
    let end = body.find(|it: char| {
        let ends = !escaped && quote.starts_with(it);
        escaped = !escaped && it == '\\';
        ends
    });
    let end = end.unwrap_or(body.len());
    let is_lifetime = quote == "'" && !body.starts_with('\\') && body[..end].chars().count() != 1;
    if is_lifetime { 1 } else { end + 2 }
}

/// How long a raw text is, from behind its `r`; `None` where it is none.
fn raw(text: &str) -> Option<usize> {
    let hashes = text.bytes().take_while(|it| *it == b'#').count();
    let body = text[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    body.find(&end).map(|at| hashes + 1 + at + end.len())
}
