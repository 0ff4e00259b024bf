//! Reads TOML by asking for keys, and notes everything that is not as it was asked for, each with line and key.
//!
//! A key that nobody has asked for is unknown, so what is read is also what is allowed. Knows nothing of targets.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::{Map, Value as Json};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{hint, problem::Problem};

/// How many lines that are not TOML are told.
const SYNTAX_LINES: usize = 4;

/// What has been found out about one text while it was read.
pub(super) struct Notes<'t> {
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
    lines: RefCell<BTreeMap<String, usize>>,
}

/// A table of the text. [`Table::end`] has to be called once everything was asked for.
pub(super) struct Table<'a> {
    notes: &'a Notes<'a>,
    path: String,
    entries: &'a DeTable<'a>,
    asked: BTreeSet<&'static str>,
    missing: Vec<&'static str>,
}

/// A value of the text, with its place.
#[derive(Clone)]
pub(super) struct Item<'a> {
    notes: &'a Notes<'a>,
    /// Such as `sessions.create.method`.
    pub(super) path: String,
    value: &'a DeValue<'a>,
}

impl<'t> Notes<'t> {
    pub(super) fn on(text: &'t str) -> Self {
        Self { text, problems: RefCell::default(), lines: RefCell::default() }
    }

    /// Notes a problem at the key `path`, or at the nearest part of it that is there.
    pub(super) fn problem(&self, path: &str, message: impl Into<String>) {
        let lines = self.lines.borrow();
        let mut known = path;
        let line = loop {
            if let Some(line) = lines.get(known) {
                break *line;
            }
            let Some(end) = known.rfind(['.', '[']) else { break 1 };
            known = &known[..end];
        };
        self.problems.borrow_mut().push(Problem { line, key: path.to_owned(), message: message.into() });
    }

    /// Notes where the text is not TOML: once for a line, and not for many lines, since one bracket that is left open makes
    /// all that follows look wrong.
    pub(super) fn syntax(&self, errors: &[toml::de::Error]) {
        let mut lines = BTreeMap::new();
        for error in errors {
            let line = self.line(error.span().map_or(0, |span| span.start));
            lines.entry(line).or_insert_with(|| format!("this is not TOML: {}", error.message()));
        }
        let more = lines.len().saturating_sub(SYNTAX_LINES);
        for (at, (line, mut message)) in lines.into_iter().take(SYNTAX_LINES).enumerate() {
            if more > 0 && at + 1 == SYNTAX_LINES {
                message.push_str(&format!(" ({more} more lines look wrong, maybe only because of these)"));
            }
            self.problems.borrow_mut().push(Problem { line, key: String::new(), message });
        }
    }

    /// All that was noted, in the order of the lines.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort();
        problems.dedup();
        problems
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
    }

    fn place(&self, path: &str, at: usize) {
        self.lines.borrow_mut().insert(path.to_owned(), self.line(at));
    }
}

impl<'a> Table<'a> {
    /// The whole document.
    pub(super) fn root(notes: &'a Notes<'a>, entries: &'a DeTable<'a>) -> Self {
        Self { notes, path: String::new(), entries, asked: BTreeSet::new(), missing: Vec::new() }
    }

    /// Whether the key is there; does not count as asking for it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The value under `key`, whatever it is.
    pub(super) fn item(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.asked.insert(key);
        let (name, value) = self.entries.get_key_value(key)?;
        Some(self.named(name, value))
    }

    /// As [`Table::item`], and its absence is a problem.
    pub(super) fn needed(&mut self, key: &'static str) -> Option<Item<'a>> {
        let item = self.item(key);
        if item.is_none() {
            self.missing.push(key);
        }
        item
    }

    /// Notes a problem at this table.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.notes.problem(&self.path, message);
    }

    /// Every entry, whatever its key.
    pub(super) fn into_items(self) -> Vec<(String, Item<'a>)> {
        self.entries.iter().map(|(name, value)| (name.get_ref().to_string(), self.named(name, value))).collect()
    }

    /// Notes the keys that nobody asked for, and those that are missing.
    pub(super) fn end(mut self) {
        for (name, value) in self.entries {
            let name_text: &str = name.get_ref();
            if self.asked.contains(name_text) {
                continue;
            }
            let path = self.named(name, value).path;
            let absent = self.asked.iter().copied().filter(|key| !self.entries.contains_key(*key));
            let meant = hint::meant(name_text, absent).or_else(|| hint::meant(name_text, self.asked.iter().copied()));
            // The one word is then the answer to both questions: what is too much, and what is missing.
            self.missing.retain(|key| Some(*key) != meant);
            let hint = match meant {
                Some(meant) => format!("; did you mean {meant:?}?"),
                None => format!("; here may stand {}", self.asked.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            self.notes.problem(&path, format!("unknown key{hint}"));
        }
        for key in &self.missing {
            self.notes.problem(&join(&self.path, key), "is missing");
        }
    }

    fn named(&self, name: &'a Spanned<std::borrow::Cow<'a, str>>, value: &'a Spanned<DeValue<'a>>) -> Item<'a> {
        let path = join(&self.path, name.get_ref());
        self.notes.place(&path, name.span().start);
        Item { notes: self.notes, path, value: value.get_ref() }
    }
}

impl<'a> Item<'a> {
    /// Notes a problem at this value.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.notes.problem(&self.path, message);
    }

    /// The value as a text that is not empty.
    pub(super) fn text(&self) -> Option<String> {
        match self.value {
            DeValue::String(text) if text.trim().is_empty() => self.wrong("is empty"),
            DeValue::String(text) => Some(text.to_string()),
            _ => self.unlike("a text in quotes"),
        }
    }

    /// The value as a text, which may be empty.
    pub(super) fn any_text(&self) -> Option<String> {
        match self.value {
            DeValue::String(text) => Some(text.to_string()),
            _ => self.unlike("a text in quotes"),
        }
    }

    /// The value as a table.
    pub(super) fn table(&self) -> Option<Table<'a>> {
        match self.value {
            DeValue::Table(entries) => Some(Table {
                notes: self.notes,
                path: self.path.clone(),
                entries,
                asked: BTreeSet::new(),
                missing: Vec::new(),
            }),
            _ => self.unlike("a table"),
        }
    }

    /// The value as a list.
    pub(super) fn list(&self) -> Option<Vec<Self>> {
        let DeValue::Array(items) = self.value else { return self.unlike("a list in square brackets") };
        let item = |(index, value): (usize, &'a Spanned<DeValue<'a>>)| {
            let path = format!("{}[{index}]", self.path);
            self.notes.place(&path, value.span().start);
            Item { notes: self.notes, path, value: value.get_ref() }
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// Whether the value is a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    /// The value as a list of texts with at least one entry.
    pub(super) fn words(&self) -> Option<Vec<String>> {
        let items = self.list()?;
        if items.is_empty() {
            return self.wrong("is empty");
        }
        items.iter().map(Item::any_text).collect()
    }

    /// The value as a table of texts.
    pub(super) fn texts(&self) -> Option<BTreeMap<String, String>> {
        let entries = self.table()?.into_items();
        entries.into_iter().map(|(name, item)| Some((name, item.any_text()?))).collect()
    }

    /// The value as a whole number.
    pub(super) fn number(&self) -> Option<i64> {
        match self.value {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        }
        .or_else(|| self.unlike("a whole number"))
    }

    /// The value as JSON.
    pub(super) fn json(&self) -> Option<Json> {
        match self.value {
            DeValue::String(text) => Some(Json::from(text.as_ref())),
            DeValue::Boolean(value) => Some(Json::Bool(*value)),
            DeValue::Integer(_) => self.number().map(Json::from),
            DeValue::Float(number) => match number.as_str().parse::<f64>().ok().map(Json::from) {
                Some(Json::Null) | None => self.wrong("is no number of JSON"),
                number => number,
            },
            DeValue::Datetime(_) => self.wrong("is a date, which JSON does not have; put it in quotes"),
            DeValue::Array(_) => self.list()?.iter().map(Item::json).collect(),
            DeValue::Table(_) => {
                let mut members = Map::new();
                for (name, item) in self.table()?.into_items() {
                    members.insert(name, item.json()?);
                }
                Some(Json::Object(members))
            }
        }
    }

    fn unlike<T>(&self, expected: &str) -> Option<T> {
        self.wrong(format!("must be {expected}, and is {}", kind(self.value)))
    }

    fn wrong<T>(&self, message: impl Into<String>) -> Option<T> {
        self.problem(message);
        None
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A key that is no plain word is quoted, as TOML does.
fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let key = if plain { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
