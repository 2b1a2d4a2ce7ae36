//! What is generated from the tables in the source.

pub mod pages;
