//! The page of the kill matrix: which case catches which mutant.

use std::{collections::BTreeMap, fmt::Write};

use super::page::{Page, anchor, text};
use crate::{
    selftest::{Fate, Matrix},
    spec,
};

/// How a case went on a mutant, as the page shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// The entry names the case, and it failed.
    Killed,
    /// The entry names the case, and it did not fail.
    Survived,
    /// It failed, as the entry says that it may.
    Explained,
    /// It failed, or could not be run, and the entry does not say so.
    Unexplained,
    /// It passed.
    Passed,
    /// It belongs to a profile that the mutant does not face.
    NotFaced,
}

impl Cell {
    fn of(fate: &Fate, case: &str) -> Self {
        let named = fate.mutant.killed_by.iter().any(|id| id == case);
        let failed = fate.failed.contains(case);
        match (named, failed) {
            (true, true) => Self::Killed,
            (true, false) => Self::Survived,
            _ if fate.unexplained.contains_key(case) => Self::Unexplained,
            _ if failed || fate.not_run.contains(case) => Self::Explained,
            _ if !faces(fate, case) => Self::NotFaced,
            _ => Self::Passed,
        }
    }

    /// Class, sign and words: nothing is told by colour alone.
    const fn shown(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Killed => ("k", "●", "catches it, as named"),
            Self::Survived => ("s", "✕", "named, and does not catch it"),
            Self::Explained => ("e", "·", "fails as well, as the entry says"),
            Self::Unexplained => ("u", "!", "fails, and the entry does not say so"),
            Self::Passed => ("", "", "passes"),
            Self::NotFaced => ("n", "", "not run: of a profile that the mutant is not there for"),
        }
    }
}

fn faces(fate: &Fate, case: &str) -> bool {
    let sentence = case.split('/').next().and_then(spec::sentence);
    sentence.is_none_or(|sentence| fate.profiles.contains(&sentence.profile))
}

/// The page.
pub fn render(matrix: &Matrix) -> String {
    let mut body = String::new();
    verdict(&mut body, matrix);
    trouble(&mut body, matrix);
    table(&mut body, matrix);
    mutants(&mut body, matrix);
    cases(&mut body, matrix);
    Page { title: "Kill matrix", style: include_str!("matrix.css"), script: "", body: &body }.render()
}

fn verdict(html: &mut String, matrix: &Matrix) {
    let killed = matrix.fates.iter().filter(|fate| fate.survived().is_empty()).count();
    let unexplained: usize = matrix.fates.iter().map(|fate| fate.unexplained.len()).sum();
    let (class, word, says) = if matrix.holds() {
        ("passed", "PROVEN", "Every case can fail, and fails for what it is there for.")
    } else {
        ("failed", "NOT PROVEN", "What is wrong stands below.")
    };
    let tile = |number: String, what: &str| format!("<li><b>{number}</b><span>{what}</span></li>");
    let tiles = [
        tile(format!("{killed}/{}", matrix.fates.len()), "mutants caught by the named cases"),
        tile(matrix.idle.len().to_string(), "MUST cases that catch none"),
        tile(unexplained.to_string(), "failures without an explanation"),
        tile(matrix.red_without_mutant.len().to_string(), "cases red on the sound server"),
    ];
    let _ = writeln!(
        html,
        "<section class=\"verdict {class}\"><p class=\"target\">Kill matrix: {} mutants, {} cases</p><h1>{word}</h1>\
         <p class=\"reason\">{says}</p><ul class=\"tiles\">{}</ul></section>",
        matrix.fates.len(),
        matrix.cases.len(),
        tiles.concat(),
    );
}

/// Everything that the verdict rests on where it is a bad one.
fn trouble(html: &mut String, matrix: &Matrix) {
    let mut told = Vec::new();
    for (id, seen) in &matrix.red_without_mutant {
        told.push(format!("{} is red on the sound server: {}", code(id), text(seen)));
    }
    for fate in &matrix.fates {
        let name = code(&fate.mutant.name);
        told.extend(fate.survived().iter().map(|id| format!("{name} is not caught by {}", code(id))));
        for (id, seen) in &fate.unexplained {
            told.push(format!("{name} is caught by {}, which its entry does not name: {}", code(id), text(seen)));
        }
    }
    told.extend(matrix.idle.iter().map(|id| format!("{} has caught no mutant", code(id))));
    if !told.is_empty() {
        let items: String = told.iter().map(|line| format!("<li>{line}</li>")).collect();
        let _ = writeln!(html, "<h2>What is wrong</h2><ul class=\"trouble\">{items}</ul>");
    }
}

fn table(html: &mut String, matrix: &Matrix) {
    html.push_str("<h2>The matrix</h2><p class=\"legend\">");
    for cell in [Cell::Killed, Cell::Explained, Cell::Survived, Cell::Unexplained, Cell::NotFaced] {
        let (class, sign, words) = cell.shown();
        let _ = write!(html, "<span><i class=\"{class}\">{sign}</i> {words}</span> ");
    }
    html.push_str("</p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"The matrix\"><table class=\"matrix\"><thead><tr><th>mutant</th>");
    for id in &matrix.cases {
        let _ = write!(html, "<th scope=\"col\"><span>{}</span></th>", text(id));
    }
    html.push_str("</tr></thead><tbody>\n");
    for fate in &matrix.fates {
        let name = &fate.mutant.name;
        let _ = write!(html, "<tr><th scope=\"row\"><a href=\"#{}\">{}</a></th>", anchor(name), text(name));
        for id in &matrix.cases {
            let cell = Cell::of(fate, id);
            let (class, sign, words) = cell.shown();
            if cell == Cell::Passed {
                html.push_str("<td></td>");
            } else {
                let _ = write!(html, "<td class=\"{class}\" title=\"{}: {words}\">{sign}</td>", text(id));
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
}

fn mutants(html: &mut String, matrix: &Matrix) {
    html.push_str("<h2>Mutants</h2><dl class=\"entries\">\n");
    for fate in &matrix.fates {
        let (class, word) = match (fate.survived().is_empty(), fate.unexplained.is_empty()) {
            (false, _) => ("failed", "survived"),
            (true, false) => ("not-run", "unexplained"),
            (true, true) if !fate.mutant.passes.is_empty() => ("passed", "right"),
            (true, true) => ("passed", "caught"),
        };
        let also = fate.failed.len().saturating_sub(fate.mutant.killed_by.len());
        let _ = writeln!(
            html,
            "<div id=\"{}\"><dt>{} <span class=\"tag {class}\">{word}</span></dt><dd>{}: {}, by {}{}</dd></div>",
            anchor(&fate.mutant.name),
            code(&fate.mutant.name),
            text(&fate.mutant.breaks),
            word,
            fate.mutant.killed_by.iter().chain(&fate.mutant.passes).map(|id| code(id)).collect::<Vec<_>>().join(", "),
            if also > 0 { format!(" and {also} more") } else { String::new() },
        );
    }
    html.push_str("</dl>\n");
}

fn cases(html: &mut String, matrix: &Matrix) {
    let mut caught: BTreeMap<&str, (Vec<&str>, usize)> = BTreeMap::new();
    for fate in &matrix.fates {
        for id in &fate.failed {
            let entry = caught.entry(id).or_default();
            if fate.mutant.killed_by.contains(id) { entry.0.push(&fate.mutant.name) } else { entry.1 += 1 }
        }
    }
    html.push_str("<h2>Cases</h2><dl class=\"entries\">\n");
    for id in &matrix.cases {
        let (named, others) = caught.get(id.as_str()).cloned().unwrap_or_default();
        let mut parts: Vec<_> = named.iter().map(|name| code(name)).collect();
        if others > 0 {
            parts.push(format!("{others} that others are there for"));
        }
        let says = if parts.is_empty() { "no mutant yet".to_owned() } else { parts.join(", ") };
        let _ = writeln!(html, "<div><dt>{}</dt><dd>catches {says}</dd></div>", code(id));
    }
    html.push_str("</dl>\n");
}

fn code(name: &str) -> String {
    format!("<code>{}</code>", text(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::selftest::Mutant;

    fn matrix() -> Matrix {
        let own = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let mutant = Mutant {
            name: "m<1>".into(),
            breaks: "a & b".into(),
            killed_by: own(&["A-01/x", "A-02/x"]),
            also: own(&["B"]),
            passes: Vec::new(),
        };
        let failed = own(&["A-01/x", "B-01/x", "C-01/x"]).into_iter().collect();
        Matrix {
            cases: own(&["A-01/x", "A-02/x", "B-01/x", "C-01/x", "D-01/x"]),
            red_without_mutant: BTreeMap::new(),
            fates: vec![Fate {
                mutant,
                failed,
                not_run: BTreeSet::new(),
                unexplained: [("C-01/x".to_owned(), "seen <here>".to_owned())].into(),
                profiles: BTreeSet::new(),
                took_s: 1.0,
            }],
            idle: own(&["D-01/x"]).into_iter().collect(),
        }
    }

    #[test]
    fn each_cell_says_what_the_case_did() {
        let matrix = matrix();
        let cells: Vec<_> = matrix.cases.iter().map(|id| Cell::of(&matrix.fates[0], id)).collect();
        assert_eq!(cells, [Cell::Killed, Cell::Survived, Cell::Explained, Cell::Unexplained, Cell::Passed]);
    }

    #[test]
    fn the_page_names_all_that_is_wrong_and_escapes_it() {
        let page = render(&matrix());
        assert!(page.contains("NOT PROVEN") && page.contains("m&lt;1&gt;") && !page.contains("m<1>"));
        for told in [
            "is not caught by <code>A-02/x",
            "<code>C-01/x</code>, which its entry",
            "<code>D-01/x</code> has caught no",
        ] {
            assert!(page.contains(told), "{told}");
        }
    }
}
