//! Pages for people: one file each, which loads nothing and can be read without scripts.

pub mod matrix;
pub mod page;
pub mod report;
mod timeline;
