//! A run as one page, which loads nothing and can be read without scripts.

mod charts;
mod page;
mod scale;
mod svg;

pub use page::render;
