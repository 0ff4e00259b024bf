//! `init`: writes a target file that explains itself.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    path::PathBuf,
};

use clap::Args;

use super::usage;
use crate::exit;

/// The file; it is right as it stands.
const TEMPLATE: &str = include_str!("init.toml");

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The file to write [default: standard output].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the file if it is there.
    #[arg(long, requires = "output")]
    force: bool,
}

/// Writes the file; returns the exit code.
pub(super) fn write(args: &InitArgs) -> u8 {
    let Some(path) = &args.output else {
        print!("{TEMPLATE}");
        return exit::CONFORMANT;
    };
    let mut options = OpenOptions::new();
    options.write(true).truncate(true);
    let file = if args.force { options.create(true).open(path) } else { options.create_new(true).open(path) };
    let shown = path.display();
    match file.and_then(|mut file| file.write_all(TEMPLATE.as_bytes())) {
        Ok(()) => {
            println!(
                "{shown} is written. Edit the lines marked EDIT, then: notify-conformance doctor --target {shown}"
            );
            exit::CONFORMANT
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            usage(&format!("{shown} is there already; --force overwrites it"))
        }
        Err(error) => usage(&format!("cannot write {shown}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        cases,
        target::{CAPABILITIES, Target},
    };

    fn parse(text: &str) -> Target {
        let set = |name: &str| Some(format!("value-of-{name}"));
        Target::parse(text, Path::new(""), &set, &cases::ids()).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    /// Takes the comment sign from every line of a commented table, from its header to the end of its paragraph.
    fn uncommented(text: &str, header: &str) -> String {
        let mut within = false;
        let lines = text.lines().map(|line| {
            within = line.starts_with('#') && (within || line == header);
            if within { line.trim_start_matches('#').trim_start() } else { line }
        });
        lines.map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn the_file_is_right_as_it_stands() {
        let target = parse(TEMPLATE);
        assert_eq!(target.secrets["jwt_secret"], "value-of-JWT_SECRET");
        assert_eq!(target.url.as_deref(), Some("http://127.0.0.1:3000"));
    }

    #[test]
    fn what_it_offers_in_comments_is_right_as_well() {
        let all: Vec<_> = CAPABILITIES.iter().map(|name| format!("{name:?}")).collect();
        assert!(all.iter().all(|name| TEMPLATE.contains(name)), "every capability is explained");
        let mut text =
            TEMPLATE.replace("[\"polling\"]", &format!("[{}]", all.join(", "))).replace("\nurl = ", "\n# url = ");
        for header in ["# [sessions.create]", "# [origins]", "# [control]", "# [not_applicable]", "# [process]"] {
            assert!(text.contains(header), "{header}");
            text = uncommented(&text, header);
        }
        let target = parse(&text);
        assert!(target.sessions.is_some() && target.control.is_some() && target.process.is_some(), "{text}");
    }
}
