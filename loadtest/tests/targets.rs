//! The shipped target files are right.

use std::{fs, path::Path};

use notify_conformance::ground;

#[test]
fn every_file_is_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
    let files: Vec<_> =
        fs::read_dir(&folder).expect("the folder exists").map(|it| it.expect("an entry").path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        ground::read_file(&path).unwrap_or_else(|error| panic!("{error}"));
    }
}
