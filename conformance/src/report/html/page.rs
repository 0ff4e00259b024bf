//! The frame of every page that the suite and the load harness write: head, style, theme, and what scripts all pages share. Knows nothing of what
//! a page shows.
//!
//! A page is made of a [`Page`]; whatever goes into its body as text goes through [`text`]. `page.css` has the colours of both
//! themes as variables, and classes that pages share: `.tag` and `.bar` with an ending (`failed`, `not-run`,
//! `known-failing`, `not-applicable`, `passed`), `.verdict`, `.tiles`, `.facts`, `.note`, `.scroll` around a wide table, `.copy`. `page.js` has the theme's
//! button and `data-copy="…"`; what is of no use without scripts carries the class `needs-script`.

use super::super::xml;

/// One page.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// Its title, as text.
    pub title: &'a str,
    /// Style of its own.
    pub style: &'a str,
    /// A script of its own.
    pub script: &'a str,
    /// What it shows, as HTML.
    pub body: &'a str,
}

impl Page<'_> {
    /// The whole document, as the suite writes it.
    pub fn render(&self) -> String {
        self.written_by("notify-conformance")
    }

    /// The whole document, written by the workspace's tool of this name.
    pub fn written_by(&self, tool: &str) -> String {
        let tool = text(tool);
        let title = text(self.title);
        let (style, script) = (concat!("\n", include_str!("page.css")), include_str!("page.js"));
        let (own_style, own_script, body) = (self.style, self.script, self.body);
        let version = env!("CARGO_PKG_VERSION");
        // Only the page's own scripts run, and nothing is loaded, should anything ever get past the escaping.
        let nonce = format!("{:032x}", rand::random::<u128>());
        format!(
            r##"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'"/>
<meta name="color-scheme" content="light dark"/>
<meta name="generator" content="{tool} {version}"/>
<title>{title}</title>
<style>{style}{own_style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<div class="top"><span class="brand">{tool}</span><button type="button" id="theme" class="needs-script">Theme: system</button></div>
<main id="main">
{body}
</main>
<footer>Written by {tool} {version}. This page loads nothing and sends nothing.</footer>
<script nonce="{nonce}">{script}{own_script}</script>
</body>
</html>
"##
        )
    }
}

/// Any text, for the content of an element or for an attribute between double quotes.
pub fn text(text: &str) -> String {
    xml::escape(text)
}

/// A name for the attribute `id` and for links to it.
pub fn anchor(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}
